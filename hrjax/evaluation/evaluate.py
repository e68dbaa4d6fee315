"""Evaluation: a split → predictions → metrics, tables, files and a picture."""

import dataclasses
import functools
import logging
import math
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import skeletons
from data_pipelines.batching import loading
from data_pipelines.splits import Split
from data_pipelines.transforms import chains
from hrjax import experiment, heatmaps, models, visualize
from hrjax.evaluation import distance_metrics, reports, scoring
from hrjax.evaluation.scoring import Predictions, score_name
from hrjax.runtime import distributed
from hrjax.weights import restoring

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Result:
    """Metrics by name, the one number that ranks checkpoints, a table and a picture to look at."""

    numbers: dict[str, float]
    score: float
    table: str
    picture: np.ndarray


def evaluate(
    config: ConfigDict,
    workdir: pathlib.Path,
    *,
    checkpoint: str,
    output: str = "",
    mesh: Mesh | None = None,
) -> Result:
    """Evaluates a checkpoint or a file of weights; see `report` for what is written."""
    mesh = mesh or distributed.make_mesh()
    experiment.check_divisible(config.eval.batch_size, mesh, "config.eval.batch_size")
    scoring.check(config)
    reports.check_output(config, output)
    split = experiment.open_held_out(config)
    whole = NamedSharding(mesh, PartitionSpec())
    found, graph, restored = restoring.restore(
        config.model.name, experiment.model_fields(config), checkpoint, whole
    )
    logger.info("evaluating %s", found)
    step = make_predict_step(graph, mesh, config, split.skeleton)
    predictions = predict(step, restored, config, split, mesh)
    result = report(config, split, predictions, workdir, output=output)
    if jax.process_index() == 0:
        print(result.table)
    return result


def make_predict_step(
    graph, mesh: Mesh, config: ConfigDict, skeleton: skeletons.Skeleton
) -> Callable:
    """A jitted step: (weights, batch) → index, mask, keypoints (n, k, 2) in image pixels, scores.

    `weights` is {"params", "stats"}. The flip test averages the heatmaps of the crop and of its
    mirror image. What comes back is whole on every process.
    """
    udp, kernel = experiment.uses_udp(config), heatmaps.dark_kernel(config.heatmap.sigma)
    if config.eval.decode not in heatmaps.DECODERS:
        raise ValueError(
            f"unknown config.eval.decode {config.eval.decode!r}; choose one of: "
            f"{', '.join(heatmaps.DECODERS)}"
        )

    def network(weights, images):
        network = (graph, weights["params"], weights["stats"])
        if config.eval.fold_batch_norm:
            # In every step, which costs one pass over the weights, so that an evaluation during
            # training keeps no second copy of them.
            network = models.fold_batch_norm(*network)
        with jax.default_matmul_precision("highest"):
            return models.apply(*network, images)[0]

    @functools.partial(jax.jit, out_shardings=NamedSharding(mesh, PartitionSpec()))
    def predict_step(weights, batch):
        images = models.normalize(batch["image"], config.data.color)
        if config.eval.flip_test:
            # Both go through the network in one call. A crop and its mirror image are neighbours,
            # so that they stay on the device that holds the crop.
            pairs = jax.numpy.stack([images, images[:, :, ::-1]], axis=1)
            maps = network(weights, pairs.reshape(-1, *images.shape[1:]))
            mirrored = heatmaps.flip_back(maps[1::2], skeleton.flip_order, shift=not udp)
            maps = 0.5 * (maps[::2] + mirrored)
        else:
            maps = network(weights, images)
        cells, scores = heatmaps.decode(maps, config.eval.decode, kernel=kernel)
        size = maps.shape[1:3]
        strides = heatmaps.strides(size, images.shape[1] // size[0], udp=udp)
        keypoints = heatmaps.to_image(cells, strides, batch["to_original"])
        same = {key: batch[key] for key in ("index", "mask")}
        return {**same, "keypoints": keypoints, "scores": scores}

    return predict_step


def predict(step, weights, config: ConfigDict, split: Split, mesh: Mesh, stop=None):
    """Predictions of a whole split by `make_predict_step`'s step; None if `stop` wants to end."""
    batches = loading.eval_batches(
        split,
        chains.eval_ops(
            config.data.input_size,
            strict=config.data.strict,
            udp=experiment.uses_udp(config),
        ),
        batch_size=config.eval.batch_size,
        workers=config.data.workers,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    count = split.skeleton.num_joints
    keypoints = np.full((len(split), count, 2), np.nan, np.float32)
    joint_scores = np.full((len(split), count), np.nan, np.float32)
    if not len(split):
        return Predictions(keypoints, joint_scores)  # a detector may have found nobody
    quiet = jax.process_index() > 0
    bar = tqdm.tqdm(
        *((), "evaluating", len(split)), unit=" people", leave=False, mininterval=1, disable=quiet
    )
    with batches, bar:
        for found in _found(step, weights, batches, mesh, stop):
            rows = found["index"][found["mask"]]
            keypoints[rows] = found["keypoints"][found["mask"]]
            joint_scores[rows] = found["scores"][found["mask"]]
            bar.update(len(rows))
    return None if stop and stop.signal else Predictions(keypoints, joint_scores)


def _found(step, weights, batches, mesh, stop):
    """What the step finds, batch by batch; the next batch is under way while one is looked at."""
    ahead = None
    for batch in batches:
        if stop and stop.signal:
            return
        inputs = {key: batch[key] for key in ("image", "to_original", "index", "mask")}
        current, ahead = ahead, step(weights, distributed.shard(inputs, mesh))
        if current is not None:
            yield jax.device_get(current)
    yield jax.device_get(ahead)


def report(
    config: ConfigDict,
    split: Split,
    predictions: Predictions,
    workdir: pathlib.Path,
    *,
    output: str = "",
) -> Result:
    """Scores predictions and writes them down, in <workdir>/eval/<split>; see `reports.write`."""
    scored = scoring.score(config, split, predictions)
    picture = reports.draw(split, predictions)
    if jax.process_index() == 0:
        folder = workdir / "eval" / split.name
        reports.write(config, split, predictions, scored, folder)
        visualize.save(picture, folder / "predictions.jpg")
        if output:
            reports.save_results(scored, predictions, pathlib.Path(output))
    table = f"{reports.title(config, split)}\n{scored.table}"
    ranking = scored.numbers.get(score_name(config), math.nan)
    return Result(scored.numbers, ranking, table, picture)


def score_mean_pose(config: ConfigDict, split: Split, held_out: Split) -> float:
    """What the mean pose of `split`, put into every box of `held_out`, scores there."""
    columns = [split.columns[key] for key in ("keypoints", "visible", "center", "size")]
    places = (held_out.columns[key] for key in ("center", "size"))
    keypoints = distance_metrics.place_pose(distance_metrics.mean_pose(*columns), *places)
    scored = scoring.score(config, held_out, Predictions(keypoints, np.ones(keypoints.shape[:2])))
    return scored.numbers.get(score_name(config), math.nan)

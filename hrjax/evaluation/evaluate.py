"""Evaluation: a split → predictions → metrics, tables, files and a picture."""

import dataclasses
import logging
import math
import pathlib

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines.batching import loading
from data_pipelines.splits import Split
from data_pipelines.transforms import chains
from hrjax import experiment, inference, visualize
from hrjax.evaluation import distance_metrics, reports, scoring
from hrjax.evaluation.scoring import Predictions, score_name
from hrjax.runtime import distributed
from hrjax.weights import source

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
    checkpoint: str | source.Source,
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
    weights = source.open(checkpoint)
    graph, params, stats = weights.restore(
        whole, variant=config.model.name, fields=experiment.model_fields(config)
    )
    logger.info("evaluating %s", weights.location)
    settings = experiment.prediction_settings(config)
    step = inference.make_predict_step(graph, mesh, settings, split.skeleton)
    predictions = predict(step, {"params": params, "stats": stats}, config, split, mesh)
    result = report(config, split, predictions, workdir, output=output)
    if jax.process_index() == 0:
        print(result.table)
    return result


def predict(step, weights, config: ConfigDict, split: Split, mesh: Mesh, stop=None):
    """Predictions of a whole split by `make_predict_step`'s step; None if `stop` wants to end."""
    batches = loading.eval_batches(
        split,
        chains.eval_ops(
            config.data.input_size,
            strict=config.data.strict,
            udp=experiment.prediction_settings(config).udp,
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

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
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import geometry, pipeline, skeletons, synthetic
from data_pipelines.dataset import Split
from hrjax import heatmaps, metrics, models, reports, restoring, scores, visualize
from hrjax.scores import Predictions, score_name


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
    mesh = mesh or make_mesh()
    check_divisible(config.eval.batch_size, mesh, "config.eval.batch_size")
    reports.check_output(config, output)
    split = open_held_out(config)
    whole = NamedSharding(mesh, PartitionSpec())
    found, graph, restored = restoring.restore(
        config.model.name, model_fields(config), checkpoint, whole
    )
    logging.info("evaluating %s", found)
    step = make_predict_step(graph, mesh, config, split.skeleton)
    predictions = predict(step, restored, config, split, mesh)
    result = report(config, split, predictions, workdir, output=output)
    if jax.process_index() == 0:
        print(result.table)
    return result


def open_held_out(config: ConfigDict) -> Split:
    """The people that the config evaluates on, in annotated boxes or in a detector's."""
    scores.check(config)
    options = {"boxes": config.eval.boxes, "threshold": config.eval.box_threshold}
    if config.eval.dataset:
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.data.dataset, config.data.root = config.eval.dataset, config.eval.root
            config.data.records, config.data.draw.train_images = False, 0
    split = open_split(config, config.eval.split, **options)
    if config.eval.boxes != "gt" or config.eval.clip_boxes or "box" not in split.columns:
        return split
    center, size = geometry.box_center_size(split.columns["box"])
    places = {"center": center.astype(np.float32), "size": size.astype(np.float32)}
    return dataclasses.replace(split, columns={**split.columns, **places})


def open_split(config: ConfigDict, name: str, **options) -> Split:
    """The split `name` of the config's dataset; draws the people first where the config says so.

    `options` are those of `pipeline.read_config`.
    """
    data = config.data
    if data.draw.train_images:
        synthetic.ensure(
            data.root,
            train_images=data.draw.train_images,
            val_images=data.draw.val_images,
            seed=data.draw.seed,
        )
    split = pipeline.read_config(data, name, **options)
    if split.skeleton.num_joints != config.model.num_joints:
        raise ValueError(
            f"the network has {config.model.num_joints} joints (config.model.num_joints) and the "
            f"people of {data.dataset} have {split.skeleton.num_joints}; make them the same"
        )
    dropped = ", ".join(f"{count} {reason}" for reason, count in split.dropped.items() if count)
    logging.info("%s %s: %d people%s", data.dataset, name, len(split), dropped and f" ({dropped})")
    return split


def create_model(config: ConfigDict):
    """The config's network from its seed: training graph, evaluation graph, params, stats."""
    model = models.create(config.model.name, config.seed, **model_fields(config))
    graph, params, stats = models.split(model)
    model.eval()
    eval_graph, _, _ = models.split(model)
    return graph, eval_graph, params, stats


def model_fields(config: ConfigDict) -> dict:
    """What the config says of the network, without the variant's name."""
    return {key: value for key, value in config.model.items() if key != "name"}


def uses_udp(config: ConfigDict) -> bool:
    """Whether crops, cells and the flip test follow UDP's grid instead of the classic one."""
    if config.heatmap.encoding not in heatmaps.ENCODINGS:
        raise ValueError(
            f"unknown config.heatmap.encoding {config.heatmap.encoding!r}; choose one of: "
            f"{', '.join(heatmaps.ENCODINGS)}"
        )
    return config.heatmap.encoding == "udp"


def make_mesh(devices=None) -> Mesh:
    """A line of all devices; batches are split along it."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)


def check_divisible(batch_size: int, mesh: Mesh, name: str, *, parts: int = 1) -> None:
    """Raises ValueError unless the devices can share each of `parts` parts of a batch evenly.

    `name` is the config field of the batch's size.
    """
    if parts < 1:
        raise ValueError(f"config.train.accumulate is {parts}; take 1 or more parts")
    count = mesh.devices.size * parts
    if batch_size < 1 or batch_size % count:
        near = max(count, round(batch_size / count) * count)
        inside = f" in {parts} parts (config.train.accumulate)" if parts > 1 else ""
        raise ValueError(
            f"{name} is {batch_size}, which {mesh.devices.size} devices cannot share evenly"
            f"{inside}; take a multiple of {count}, e.g. --{name}={near}"
        )


def shard(batch: dict, mesh: Mesh) -> dict:
    """This process's slice of a batch as arrays that are split over all devices."""
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return {
        key: jax.make_array_from_process_local_data(rows, value) for key, value in batch.items()
    }


def make_predict_step(
    graph, mesh: Mesh, config: ConfigDict, skeleton: skeletons.Skeleton
) -> Callable:
    """A jitted step: (weights, batch) → index, mask, keypoints (n, k, 2) in image pixels, scores.

    `weights` is {"params", "stats"}. The flip test averages the heatmaps of the crop and of its
    mirror image. What comes back is whole on every process.
    """
    udp, kernel = uses_udp(config), heatmaps.dark_kernel(config.heatmap.sigma)
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
    batches = pipeline.eval_batches(
        split,
        pipeline.eval_ops(
            config.data.input_size,
            strict=config.data.strict,
            udp=uses_udp(config),
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
        current, ahead = ahead, step(weights, shard(inputs, mesh))
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
    scored = scores.score(config, split, predictions)
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
    keypoints = metrics.place_pose(metrics.mean_pose(*columns), *places)
    scored = scores.score(config, held_out, Predictions(keypoints, np.ones(keypoints.shape[:2])))
    return scored.numbers.get(score_name(config), math.nan)

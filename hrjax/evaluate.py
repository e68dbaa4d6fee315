"""Evaluation: a split → predictions → metrics, tables, files and a picture."""

import dataclasses
import functools
import json
import logging
import pathlib
from collections.abc import Callable

import jax
import numpy as np
import tqdm
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from data_pipelines import geometry, ops, pipeline, skeletons, synthetic
from data_pipelines.dataset import Split
from hrjax import (
    checkpoints,
    heatmaps,
    launch,
    metrics,
    models,
    visualize,
    weight_files,
    weights,
)

PICTURE_PEOPLE = 12
PICTURE_SIZE = (320, 320)
DRAWN_SCORE = 0.2
BOXES = {"gt": "ground truth"}  # as reports call them; other boxes by their file


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One row per person of a split: keypoints (n, k, 2) in image pixels, scores (n, k)."""

    keypoints: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class Result:
    """Metrics by name, the one number that ranks checkpoints, a table and a picture to look at."""

    numbers: dict[str, float]
    score: float
    table: str
    picture: np.ndarray


def evaluate(
    config: ConfigDict, workdir: pathlib.Path, *, checkpoint: str, mesh: Mesh | None = None
) -> Result:
    """Evaluates a checkpoint or a file of weights; see `report` for what is written."""
    mesh = mesh or make_mesh()
    check_divisible(config.eval.batch_size, mesh, "config.eval.batch_size")
    split = open_held_out(config)
    _, graph, params, stats = create_model(config)
    whole = NamedSharding(mesh, PartitionSpec())
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
        {"params": params, "stats": stats},
    )
    found, restored = restore_weights(config, checkpoint, target)
    logging.info("evaluating %s", found)
    step = make_predict_step(graph, mesh, config, split.skeleton)
    result = report(config, split, predict(step, restored, config, split, mesh), workdir)
    if jax.process_index() == 0:
        print(result.table)
    return result


def open_held_out(config: ConfigDict) -> Split:
    """The people that the config evaluates on, in annotated boxes or in a detector's."""
    options = {"boxes": config.eval.boxes, "threshold": config.eval.box_threshold}
    return open_split(config, config.eval.split, **options)


def open_split(config: ConfigDict, name: str, **options) -> Split:
    """The split `name` of the config's dataset; draws the people first where the config says so.

    `options` are those of `pipeline.read`.
    """
    data = config.data
    if data.draw.train_images:
        synthetic.ensure(
            data.root,
            train_images=data.draw.train_images,
            val_images=data.draw.val_images,
            seed=data.draw.seed,
        )
    split = pipeline.read(data.dataset, data.root, name, **options)
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


def restore_weights(config: ConfigDict, path: str, target: dict) -> tuple[pathlib.Path, dict]:
    """The weights of a checkpoint, or of a file or address of a published one, and where they were.

    `target` has the shapes and shardings of {"params", "stats"}.
    """
    file = weight_files.find(path)
    if file is None:
        return checkpoints.restore_weights(path, target)
    content = weight_files.read(file)
    _, params, stats = weights.from_torch(config.model.name, content, **model_fields(config))
    sharding = jax.tree.leaves(target)[0].sharding
    return file, launch.place({"params": params, "stats": stats}, sharding)


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
    scores = np.full((len(split), count), np.nan, np.float32)
    if not len(split):
        return Predictions(keypoints, scores)  # a detector may have found nobody
    with batches:
        silent = jax.process_index() > 0
        for batch in tqdm.tqdm(
            batches, desc="evaluating", unit="batch", leave=False, mininterval=1, disable=silent
        ):
            if stop and stop.signal:
                return None
            inputs = {key: batch[key] for key in ("image", "to_original", "index", "mask")}
            found = jax.device_get(step(weights, shard(inputs, mesh)))
            rows = found["index"][found["mask"]]
            keypoints[rows] = found["keypoints"][found["mask"]]
            scores[rows] = found["scores"][found["mask"]]
    return Predictions(keypoints, scores)


def report(
    config: ConfigDict, split: Split, predictions: Predictions, workdir: pathlib.Path
) -> Result:
    """Scores predictions and writes them down.

    In <workdir>/eval/<split>: metrics.json (AP as fractions, PCKh in percent), results.json (the
    predictions, in COCO's format for COCO) and predictions.jpg.
    """
    results, numbers, table = _score(config, split, predictions)
    protocol = {
        "dataset": config.data.dataset,
        "split": split.name,
        "people": len(split),
        "boxes": BOXES.get(config.eval.boxes, config.eval.boxes),
        "flip_test": config.eval.flip_test,
        "decode": config.eval.decode,
    }
    picture = draw(split, predictions)
    if jax.process_index() == 0:
        folder = workdir / "eval" / split.name
        folder.mkdir(parents=True, exist_ok=True)
        contents = {**numbers, "protocol": protocol}
        (folder / "metrics.json").write_text(json.dumps(contents, indent=1) + "\n")
        (folder / "results.json").write_text(json.dumps(results) + "\n")
        visualize.save(picture, folder / "predictions.jpg")
    flip = "with" if config.eval.flip_test else "without"
    people = f"{config.data.dataset} {split.name}: {len(split)} people"
    boxes = "ground-truth" if config.eval.boxes == "gt" else "detected"
    title = f"{people}, {boxes} boxes, {flip} flip test, {config.eval.decode} decoding"
    return Result(numbers, numbers[score_name(config)], f"{title}\n{table}", picture)


def draw(split: Split, predictions: Predictions) -> np.ndarray:
    """A sheet of people, evenly spaced over the split, with their predicted skeletons."""
    if not len(split):
        return np.zeros((*PICTURE_SIZE, 3), np.uint8)
    rows = np.unique(np.linspace(0, len(split) - 1, PICTURE_PEOPLE).round().astype(int))
    decode, crop = ops.Decode(strict=False), ops.Crop(PICTURE_SIZE)
    tiles = []
    for row in rows:
        example = {**split[row], "keypoints": predictions.keypoints[row]}
        example = crop(decode(example, None), None)
        tiles.append(
            visualize.draw_skeleton(
                example["image"],
                example["keypoints"],
                predictions.scores[row],
                split.skeleton,
                threshold=DRAWN_SCORE,
            )
        )
    return visualize.grid(tiles, columns=4)


def score_mean_pose(config: ConfigDict, split: Split, held_out: Split) -> float:
    """What the mean pose of `split`, put into every box of `held_out`, scores there."""
    columns = [split.columns[key] for key in ("keypoints", "visible", "center", "size")]
    places = (held_out.columns[key] for key in ("center", "size"))
    keypoints = metrics.place_pose(metrics.mean_pose(*columns), *places)
    scores = np.ones(keypoints.shape[:2])
    _, numbers, _ = _score(config, held_out, Predictions(keypoints, scores))
    return numbers[score_name(config)]


def score_name(config: ConfigDict) -> str:
    """The number that ranks checkpoints on the config's dataset."""
    return {"pckh": "PCKh@0.5", "coco_ap": "AP"}[pipeline.DATASETS[config.data.dataset].metric]


def _score(config, split, predictions):
    metric = pipeline.DATASETS[config.data.dataset].metric
    return {"pckh": _pckh, "coco_ap": _coco_ap}[metric](config, split, predictions)


def _pckh(config, split, predictions):
    columns = split.columns
    table = metrics.pckh_table(
        predictions.keypoints,
        columns["truth_keypoints"],
        columns["truth_visible"],
        columns["head_size"],
    )
    rows = [["", *next(iter(table.values()))]]
    rows += [
        [name, *(f"{value:.2f}" for value in groups.values())] for name, groups in table.items()
    ]
    numbers = {name: groups["Mean"] for name, groups in table.items()}
    numbers |= {
        f"{name} {group}": value
        for name, groups in table.items()
        for group, value in groups.items()
        if group != "Mean"
    }
    results = [
        {"image": path, "keypoints": keypoints.tolist(), "scores": scores.tolist()}
        for path, keypoints, scores in zip(
            columns["image_path"], predictions.keypoints, predictions.scores, strict=True
        )
    ]
    return results, numbers, metrics.format_table(rows)


def _coco_ap(config, split, predictions):
    columns = split.columns
    box_scores = columns.get("box_score", np.ones(len(split)))
    person_scores = metrics.rescore(predictions.scores, box_scores)
    areas = geometry.fit_aspect(columns["size"], config.data.input_size).prod(axis=-1)
    kept = []
    for rows in _rows_by_image(columns["image_id"]):
        best_first = metrics.oks_nms(
            predictions.keypoints[rows],
            person_scores[rows],
            areas[rows],
            split.skeleton.sigmas,
            config.eval.oks_threshold,
        )
        kept.append(rows[best_first])
    kept = np.concatenate([np.empty(0, np.int64), *kept])
    results = metrics.coco_results(
        predictions.keypoints[kept],
        predictions.scores[kept],
        person_scores[kept],
        columns["image_id"][kept],
    )
    numbers = metrics.coco_ap(results, split.annotation_file)
    rows = [list(numbers), [f"{value:.4f}" for value in numbers.values()]]
    return results, numbers, metrics.format_table(rows)


def _rows_by_image(image_ids):
    order = np.argsort(image_ids, kind="stable")
    starts = np.flatnonzero(np.diff(image_ids[order])) + 1
    return np.split(order, starts)

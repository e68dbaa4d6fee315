"""Benchmarks that start from files: data for training, and prediction from images to joints."""

import collections
import functools
import pathlib
import statistics
import time
from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.timing import Numbers, random_batch, time_jitted
from data_pipelines import datasets, geometry, images
from data_pipelines.batching import loading
from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import Split
from data_pipelines.transforms import chains, ops
from hrjax import experiment, heatmaps, inference, models
from hrjax.prediction.predictor import Predictor
from hrjax.prediction.trained_network import Network
from hrjax.runtime import distributed
from hrjax.training import train

Op = Callable[[dict, np.random.Generator | None], dict]  # of data_pipelines.transforms


def open_data(
    config: ConfigDict, wrap: Callable[[Op], Op] = lambda op: op
) -> tuple[Split, loading.Batches]:
    """The training split and an endless stream of its batches; `wrap` is applied to each op."""
    split = experiment.open_split(config, "train")
    chain = chains.train_ops(config.augment, split.skeleton, config.data.input_size, strict=True)
    batches = loading.train_batches(
        split,
        [wrap(op) for op in chain],
        batch_size=config.train.batch_size,
        seed=0,
        workers=config.data.workers,
        group_images=config.data.group_images,
    )
    return split, batches


def time_data(config: ConfigDict, seconds: float) -> Numbers:
    """Milliseconds per batch, and the time per person in one thread with a breakdown."""
    _, batches = open_data(config)
    with batches:
        next(batches)
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            count += 1
        spent = time.perf_counter() - start
    return {
        "ms": 1000 * spent / count,
        "images_per_second": count * config.train.batch_size / spent,
        **time_person(config, seconds / 2),
    }


def time_person(config: ConfigDict, seconds: float) -> Numbers:
    """CPU milliseconds per person in one thread, a breakdown, and those of bare image decoding.

    The two are measured alternately, batch by batch, so that other load affects both alike.
    """
    cv2.setNumThreads(1)
    parts = dict.fromkeys(("decode", "crop"), 0.0)
    split, batches = open_data(config, functools.partial(timed, parts))
    batches[0]  # fills the file cache
    parts |= dict.fromkeys(parts, 0.0)
    person, bare = [], []
    while len(person) < 4 or sum(person) * config.train.batch_size < seconds:
        start = time.thread_time()
        rows = batches[1 + len(person)]["index"].tolist()
        person.append((time.thread_time() - start) / len(rows))
        bare.append(statistics.mean(time_bare_decode(split[row]) for row in rows))
    total = sum(person) * config.train.batch_size
    ratios = [spent / decoding for spent, decoding in zip(person, bare, strict=True)]
    return {
        "person_ms": 1000 * statistics.median(person),
        "people_per_second_per_core": 1 / statistics.median(person),
        "share_decode": parts["decode"] / total,
        "share_crop": parts["crop"] / total,
        "share_rest": 1 - sum(parts.values()) / total,
        "imdecode_ms": 1000 * statistics.median(bare),
        "person_in_imdecodes": statistics.median(ratios),
    }


TIMED = {ops.Decode: "decode", ops.RandomCrop: "crop"}


def timed(parts: dict[str, float], op: Op) -> Op:
    """The op; if it is one of TIMED, it adds its CPU seconds to `parts`."""

    def run(example, rng):
        start = time.thread_time()
        example = op(example, rng)
        parts[TIMED[type(op)]] += time.thread_time() - start
        return example

    return run if type(op) in TIMED else op


def time_bare_decode(example: dict) -> float:
    """Seconds that OpenCV takes to decode an example's image, without reading the file."""
    encoded = example.get("encoded") or pathlib.Path(example["image_path"]).read_bytes
    data = np.frombuffer(encoded(), np.uint8)
    start = time.thread_time()
    cv2.imdecode(data, cv2.IMREAD_COLOR)
    return time.thread_time() - start


def time_end_to_end(config: ConfigDict, seconds: float) -> Numbers:
    """Training from files: milliseconds per step, and the fraction spent waiting for data."""
    setup, state = train.prepare(config, distributed.make_mesh(jax.devices()[:1]))
    _, batches = open_data(config)
    waits, times = [], []
    with batches:
        while len(times) < 4 or sum(times[1:]) < seconds:
            start = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - start)
            inputs = {key: batch[key] for key in ("image", "keypoints", "visible")}
            state, numbers = setup.train_step(state, distributed.shard(inputs, setup.mesh))
            jax.block_until_ready(numbers)
            times.append(time.perf_counter() - start)
    median = statistics.median(times[1:])
    return {
        "ms": 1000 * median,
        "images_per_second": config.train.batch_size / median,
        "first_step_seconds": times[0],
        "share_waiting": sum(waits[1:]) / sum(times[1:]),
    }


def time_predict(config: ConfigDict, seconds: float) -> Numbers:
    """Prediction from files to joints: people per second, and where the time per person goes."""
    _, graph, params, stats = experiment.create_model(config)
    params = jax.tree.map(lambda x: x.astype(config.train.dtype), params)
    skeleton = datasets.DATASETS[config.data.dataset].skeleton
    mesh = distributed.make_mesh(jax.devices()[:1])
    settings = experiment.prediction_settings(config)
    step = inference.make_predict_step(graph, mesh, settings, skeleton)
    network, after = split_predict_step(settings, graph, skeleton)
    batch, weights = random_batch(config), {"params": params, "stats": stats}
    numbers = time_jitted(step, (weights, batch), seconds / 3)
    network_ms = time_jitted(network, (weights, batch["image"]), seconds / 3)["ms"]
    maps = network(weights, batch["image"])
    after_ms = time_jitted(after, (maps, batch["to_original"]), seconds / 6)["ms"]
    paths, boxes = find_people(config)
    count = sum(map(len, boxes))
    times = {
        **time_reading(config, paths, boxes),
        "network": network_ms / config.train.batch_size,
        "after_network": after_ms / config.train.batch_size,
    }
    network = Network(settings, skeleton, graph, params, stats)
    power_of_two = 1 << (config.train.batch_size.bit_length() - 1)
    predictor = Predictor(network, batch_size=power_of_two)
    predictor(paths, boxes)  # compiles
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < seconds / 3:
        predictor(paths, boxes)
        rounds += 1
    spent, total = time.perf_counter() - start, sum(times.values())
    return {
        **numbers,
        "people_per_second": rounds * count / spent,
        **{f"share_{name}": value / total for name, value in times.items()},
        "after_network_by_network": times["after_network"] / times["network"],
    }


def time_reading(config: ConfigDict, paths: list[str], boxes: list[np.ndarray]) -> Numbers:
    """Milliseconds per person of image decoding and of cropping, in one thread."""
    crop, count = ops.Crop(config.data.input_size), sum(map(len, boxes))
    start = time.perf_counter()
    pixels = [images.read_image(path) for path in paths]
    decoded = time.perf_counter()
    for image, image_boxes in zip(pixels, boxes, strict=True):
        for center, size in zip(*geometry.box_center_size(image_boxes), strict=True):
            example = {"image": image, "center": center, "size": size}
            crop({**example, "keypoints": np.zeros((0, 2))}, None)
    cropped = time.perf_counter()
    return {
        "decode": 1000 * (decoded - start) / count,
        "crop": 1000 * (cropped - decoded) / count,
    }


def split_predict_step(
    settings: inference.PredictionSettings, graph: models.Graph, skeleton: Skeleton
) -> tuple[Callable, Callable]:
    """`inference.make_predict_step` as two jitted functions: images → heatmaps → joints."""

    @jax.jit
    def network(weights, images):
        parts = (graph, weights["params"], weights["stats"])
        if settings.fold_batch_norm:
            parts = models.fold_batch_norm(*parts)
        images = models.normalize(images, settings.color)
        if settings.flip_test:
            pairs = jnp.stack([images, images[:, :, ::-1]], axis=1)
            images = pairs.reshape(-1, *images.shape[1:])
        with jax.default_matmul_precision("highest"):
            return models.apply(*parts, images)[0]

    @jax.jit
    def after(maps, to_original):
        if settings.flip_test:
            mirrored = heatmaps.flip_back(maps[1::2], skeleton.flip_order, shift=not settings.udp)
            maps = 0.5 * (maps[::2] + mirrored)
        return inference.read_keypoints(maps, to_original, settings.input_size[0], settings)

    return network, after


def find_people(config: ConfigDict) -> tuple[list[str], list[np.ndarray]]:
    """The held-out images, and the boxes (n, 4) in each."""
    split = experiment.open_split(config, "val")
    center, size = split.columns["center"], split.columns["size"] / geometry.BOX_PADDING
    boxes = collections.defaultdict(list)
    for path, middle, (height, width) in zip(
        split.columns["image_path"], center, size, strict=True
    ):
        boxes[str(path)].append([*(middle - (width / 2, height / 2)), width, height])
    return list(boxes), [np.array(image_boxes) for image_boxes in boxes.values()]

"""Benchmarks that start from files: data for training, and prediction from pictures to joints."""

import collections
import functools
import pathlib
import statistics
import time

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import random_batch, time_jitted
from data_pipelines import datasets, geometry, images
from data_pipelines.batching import loading
from data_pipelines.transforms import chains, ops
from hrjax import experiment, heatmaps, inference, models
from hrjax.prediction.network import Network
from hrjax.prediction.predictor import Predictor
from hrjax.runtime import distributed
from hrjax.training import train


def open_data(config, wrap=lambda op: op):
    """The training split and endless batches of it; `wrap` is put around each op."""
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


def time_data(config, seconds):
    """Milliseconds a batch; then, in one thread, those of a person and where they go."""
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


def time_person(config, seconds):
    """CPU milliseconds of a person in one thread, their parts, and those of bare decoding.

    The two take turns, batch by batch, so that what else the machine does falls on both.
    """
    cv2.setNumThreads(1)
    parts = dict.fromkeys(("decode", "crop"), 0.0)
    split, batches = open_data(config, functools.partial(timed, parts))
    batches[0]  # files that were never read come from the disk
    parts |= dict.fromkeys(parts, 0.0)
    person, bare = [], []
    while len(person) < 4 or sum(person) * config.train.batch_size < seconds:
        start = time.thread_time()
        rows = batches[1 + len(person)]["index"].tolist()
        person.append((time.thread_time() - start) / len(rows))
        bare.append(statistics.mean(time_bare_decode(split[row]) for row in rows))
    total = sum(person) * config.train.batch_size
    ratios = [one / other for one, other in zip(person, bare, strict=True)]
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


def timed(parts, op):
    """The op, which adds its CPU seconds to `parts` if it is one of TIMED."""

    def run(example, rng):
        start = time.thread_time()
        example = op(example, rng)
        parts[TIMED[type(op)]] += time.thread_time() - start
        return example

    return run if type(op) in TIMED else op


def time_bare_decode(example):
    """Seconds that OpenCV takes to decode the example's image, without reading it."""
    encoded = example.get("encoded") or pathlib.Path(example["image_path"]).read_bytes
    data = np.frombuffer(encoded(), np.uint8)
    start = time.thread_time()
    cv2.imdecode(data, cv2.IMREAD_COLOR)
    return time.thread_time() - start


def time_end_to_end(config, seconds):
    """Training from files: milliseconds a step and the share of them spent waiting for data."""
    job, state = train.prepare(config, distributed.make_mesh(jax.devices()[:1]))
    _, batches = open_data(config)
    waits, times = [], []
    with batches:
        while len(times) < 4 or sum(times[1:]) < seconds:
            start = time.perf_counter()
            batch = next(batches)
            waits.append(time.perf_counter() - start)
            inputs = {key: batch[key] for key in ("image", "keypoints", "visible")}
            state, numbers = job.train_step(state, distributed.shard(inputs, job.mesh))
            jax.block_until_ready(numbers)
            times.append(time.perf_counter() - start)
    median = statistics.median(times[1:])
    return {
        "ms": 1000 * median,
        "images_per_second": config.train.batch_size / median,
        "first_step_seconds": times[0],
        "share_waiting": sum(waits[1:]) / sum(times[1:]),
    }


def time_predict(config, seconds):
    """From files to joints: people a second, and the shares of what is done for a person."""
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


def time_reading(config, paths, boxes):
    """Milliseconds for each person of decoding pictures and of cropping, in one thread."""
    crop, count = ops.Crop(config.data.input_size), sum(map(len, boxes))
    start = time.perf_counter()
    images = [images.read_image(path) for path in paths]
    decoded = time.perf_counter()
    for image, found in zip(images, boxes, strict=True):
        for center, size in zip(*geometry.box_center_size(found), strict=True):
            example = {"image": image, "center": center, "size": size}
            crop({**example, "keypoints": np.zeros((0, 2))}, None)
    cropped = time.perf_counter()
    return {
        "decode": 1000 * (decoded - start) / count,
        "crop": 1000 * (cropped - decoded) / count,
    }


def split_predict_step(settings, graph, skeleton):
    """What `inference.make_predict_step` does as two jitted functions."""

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


def find_people(config):
    """The held-out images and each one's boxes (n, 4)."""
    split = experiment.open_split(config, "val")
    center, size = split.columns["center"], split.columns["size"] / geometry.BOX_PADDING
    found = collections.defaultdict(list)
    for path, middle, (height, width) in zip(
        split.columns["image_path"], center, size, strict=True
    ):
        found[str(path)].append([*(middle - (width / 2, height / 2)), width, height])
    return list(found), [np.array(boxes) for boxes in found.values()]

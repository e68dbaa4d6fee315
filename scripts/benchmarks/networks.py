"""Benchmarks of networks: the forward pass, a training step, decoding, and memory."""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from benchmarks.timing import Numbers, program_memory, random_batch, time_jitted
from hrjax import experiment, heatmaps, models, text_tables
from hrjax.runtime import distributed
from hrjax.training import optimizers, train


def time_forward(config: ConfigDict, seconds: float) -> Numbers:
    """Tracing, compiling and running the network alone, with batch norm folded as in evaluation."""
    _, graph, params, stats = experiment.create_model(config)
    dtype = jnp.dtype(config.train.dtype)
    if config.eval.fold_batch_norm:
        graph, params, stats = models.fold_batch_norm(graph, params, stats)
    params = jax.tree.map(lambda x: x.astype(dtype), params)
    step = jax.jit(lambda *arguments: models.apply(graph, *arguments)[0])
    images = models.normalize(random_batch(config)["image"]).astype(dtype)
    return time_jitted(step, (params, stats, images), seconds)


def time_training(config: ConfigDict, seconds: float) -> Numbers:
    """Tracing, compiling and running a training step."""
    graph, _, params, stats = experiment.create_model(config)
    step, make_state, batch = training_step(config, graph)
    return time_jitted(step, (make_state(params, stats), batch), seconds, carry=True)


def time_decoding(config: ConfigDict, seconds: float) -> Numbers:
    """Milliseconds of the network, and the time of each decoding method as a fraction of it."""
    graph, params, stats = models.fold_batch_norm(*experiment.create_model(config)[1:])
    network = jax.jit(lambda weights, images: models.apply(graph, *weights, images)[0])
    images = models.normalize(random_batch(config)["image"])
    numbers = time_jitted(network, ((params, stats), images), seconds)
    maps = network((params, stats), images)
    kernel = heatmaps.dark_kernel(config.heatmap.sigma)
    for method in heatmaps.DECODERS:
        decode = functools.partial(heatmaps.decode, method=method, kernel=kernel)
        times = time_jitted(jax.jit(lambda _, maps, f=decode: f(maps)), ((), maps), seconds / 4)
        numbers[f"share_{method}"] = times["ms"] / numbers["ms"]
    return numbers


def training_step(config: ConfigDict, graph: models.Graph) -> tuple[Callable, Callable, dict]:
    """A step with Adam, a function from params and stats to its state, and a batch of noise."""
    optimizer = optimizers.optimizer(config.optimizer, learning_rate := lambda step: 1e-3)
    make_state = functools.partial(train.create_state, optimizer=optimizer, average=False)
    mesh = distributed.make_mesh(jax.devices()[:1])
    step = train.make_train_step(graph, mesh, optimizer, learning_rate, config)
    batch = random_batch(config)
    return step, make_state, {key: batch[key] for key in ("image", "keypoints", "visible")}


def sweep_memory(config: ConfigDict) -> str:
    """A table of the memory and the compilation time of training steps."""
    rows = [("batch", "modules", "setting", "MiB", "MiB per crop", "compile seconds")]
    batch_size, dtype = config.train.batch_size, config.train.dtype
    for batch, depth, setting in memory_cases(batch_size, config.model.get("modules", ())):
        with config.unlocked():
            config.train.update({"batch_size": batch, "accumulate": 1, "remat": False})
            config.train.update({"dtype": dtype, **setting})
            if depth:
                config.model.modules = depth
        fields = experiment.model_fields(config)
        graph, params, stats = models.shapes(config.model.name, training=True, **fields)
        step, make_state, inputs = training_step(config, graph)
        start = time.perf_counter()
        compiled = step.lower(jax.eval_shape(make_state, params, stats), inputs).compile()
        seconds, mib = time.perf_counter() - start, program_memory(compiled)
        changed = " ".join(f"{key}={value}" for key, value in setting.items()) or "-"
        shape = "x".join(map(str, depth)) or "-"
        figures = (f"{x:.0f}" for x in (mib, mib / batch, seconds))
        rows.append((str(batch), shape, changed, *figures))
    return text_tables.format_table(rows)


def memory_cases(batch: int, modules: tuple[int, ...]) -> list[tuple[int, tuple, dict]]:
    """The cases of `sweep_memory`: batch size, modules of each stage, changed setting."""
    settings = {"accumulate": 2, "remat": True, "dtype": "bfloat16"}
    return [
        *((count * batch, modules, {}) for count in (1, 2, 4)),
        *((batch, tuple(times * n for n in modules), {}) for times in (2, 4) if modules),
        *((batch, modules, {name: value}) for name, value in settings.items()),
    ]

"""Benchmarks of networks: the forward pass, a training step, decoding, and memory."""

import functools
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from benchmarks.timing import Numbers, program_memory, random_batch, time_jitted
from data_pipelines import datasets
from hrjax import experiment, heatmaps, inference, models, text_tables
from hrjax.runtime import distributed
from hrjax.training import optimizers, train
from hrjax.training.state import create_state, pack_state, to_device_form


def time_forward(config: ConfigDict, seconds: float) -> Numbers:
    """Tracing, compiling and running the network alone, specialized as `Predictor` does."""
    return time_jitted(*forward_call(config), seconds)


def time_training(config: ConfigDict, seconds: float) -> Numbers:
    """Tracing, compiling and running a training step."""
    return time_jitted(*training_call(config), seconds, carry=True)


def forward_call(config: ConfigDict) -> tuple[Callable, tuple]:
    """The jitted network alone and its arguments, which lie as the device wants them."""
    _, graph, params, stats = experiment.create_model(config)
    dtype = jnp.dtype(config.train.dtype)
    if config.eval.fold_batch_norm:
        graph, params, stats = models.specialize(graph, params, stats)
    params = models.in_layouts(jax.tree.map(lambda x: x.astype(dtype), params))
    forward = jax.jit(lambda params, stats, x: models.apply(graph, params, stats, x)[0])
    images = models.normalize(random_batch(config)["image"]).astype(dtype)
    return forward, (params, stats, images)


def training_call(config: ConfigDict) -> tuple[Callable, tuple]:
    """The jitted training step with Adam, its state and a batch."""
    graph, _, params, stats = experiment.create_model(config)
    step, make_state, batch = training_step(config, graph)
    return step, (to_device_form(make_state(params, stats)), batch)


def lower_forward(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """The network alone as `time_forward` runs it, for the devices of a mesh."""
    fields = experiment.model_fields(config)
    graph, *weights = models.shapes(config.model.name, **fields)
    graphs = []  # the graph, which `eval_shape` cannot return

    def specialize(params, stats):
        specialized, *arrays = models.specialize(graph, params, stats)
        graphs.append(specialized)
        return arrays

    platform = mesh.devices.flat[0].platform
    with models.lowering_for(platform):
        params, stats = jax.eval_shape(specialize, *weights)
    dtype = jnp.dtype(config.train.dtype)
    params = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype), params)
    images = jax.ShapeDtypeStruct((config.train.batch_size, *config.data.input_size, 3), dtype)
    forward = jax.jit(lambda params, stats, x: models.apply(graphs[0], params, stats, x)[0])
    with models.lowering_for(platform):
        return forward.lower(*_placed((params, stats), mesh), _sharded(images, mesh))


def lower_training(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """A training step with Adam, for the devices of a mesh."""
    fields = experiment.model_fields(config)
    graph, params, stats = models.shapes(config.model.name, training=True, **fields)
    step, make_state, batch = training_step(config, graph, mesh)
    state = jax.eval_shape(make_state, params, stats)
    if models.PLATFORMS[mesh.devices.flat[0].platform] == "gpu":
        state = jax.eval_shape(pack_state, state)
    whole = NamedSharding(mesh, PartitionSpec())
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole), state)
    return step.lower(state, _sharded(batch, mesh))


def lower_prediction(config: ConfigDict, mesh: Mesh) -> jax.stages.Lowered:
    """From crops to joints with the flip test, as evaluation runs it, for the devices of a mesh."""
    fields = experiment.model_fields(config)
    graph, params, stats = models.shapes(config.model.name, **fields)
    settings = experiment.prediction_settings(config)
    skeleton = datasets.find(config.data.dataset).skeleton
    step = inference.make_predict_step(graph, mesh, settings, skeleton)
    names = ("image", "to_original", "index", "mask")
    batch = {name: value for name, value in random_batch(config).items() if name in names}
    return step.lower(_placed({"params": params, "stats": stats}, mesh), _sharded(batch, mesh))


def _placed(weights, mesh):
    whole = NamedSharding(mesh, PartitionSpec())

    def place(x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=models.weight_format(x.shape, whole))

    return jax.tree.map(place, weights)


def _sharded(batch, mesh):
    rows = NamedSharding(mesh, PartitionSpec("data"))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), batch)


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


def training_step(
    config: ConfigDict, graph: models.Graph, mesh: Mesh | None = None
) -> tuple[Callable, Callable, dict]:
    """A step with Adam, a function from params and stats to its state, and a batch of noise.

    It runs on the devices of `mesh`, by default on the first one.
    """
    optimizer = optimizers.optimizer(config.optimizer, learning_rate := lambda step: 1e-3)
    make_state = functools.partial(create_state, optimizer=optimizer, average=False)
    mesh = mesh or distributed.make_mesh(jax.devices()[:1])
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

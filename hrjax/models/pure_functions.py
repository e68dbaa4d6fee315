"""Networks as pure functions of plain dicts of arrays, and the normalization of their input."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data_pipelines.messages import choices
from hrjax.models.layers import (
    BatchNorm,
    ConvBN,
    enable_remat,
    give_draws,
    remove_streams,
    set_batch_norm_size,
    target_platform,
)

# ImageNet's, of RGB / 255, which the references of all families train with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True, repr=False)
class Graph:
    """A network without its arrays: hashable, a static argument under `jax.jit`.

    In `training` mode batch norm uses the batch's own statistics and updates the running ones, and
    drop path is active. Otherwise the graph evaluates: each image's heatmaps depend on that image
    alone.
    """

    structure: nnx.GraphDef
    training: bool

    def __repr__(self) -> str:
        return f"Graph({self.structure.nodes[0].type.__name__}, training={self.training})"


def split(model: nnx.Module) -> tuple[Graph, dict, dict]:
    """The structure of `model`, its params and its batch statistics, as nested dicts of arrays.

    The graph keeps the mode of the model: it trains after `create` or `model.train()` and
    evaluates after `model.eval()`, as `graph.training` says. Random streams of drop path stay
    behind: `apply` takes a key instead.
    """
    structure, params, stats, streams = nnx.split(model, nnx.Param, nnx.BatchStat, nnx.RngState)
    if streams:
        copy = nnx.merge(structure, params, stats, streams)
        remove_streams(copy)
        structure, params, stats = nnx.split(copy, nnx.Param, nnx.BatchStat)
    return Graph(structure, _trains(model)), _with_string_keys(params), _with_string_keys(stats)


def _trains(model):
    """Whether a module of `model` is in training mode, by the attributes that NNX sets."""
    return any(
        not getattr(module, "use_running_average", True)
        or not getattr(module, "deterministic", True)
        for _, module in nnx.iter_modules(model)
    )


def merge(graph: Graph, params: dict, stats: dict) -> nnx.Module:
    """The network that `split` took apart."""
    return nnx.merge(graph.structure, _with_indices(params), _with_indices(stats))


def update(model: nnx.Module, params: dict, stats: dict) -> None:
    """Sets the params and batch statistics of `model`, which are nested dicts as of `split`."""
    nnx.update(model, _with_indices(params), _with_indices(stats))


def apply(
    graph: Graph,
    params: dict,
    stats: dict,
    images: jax.Array,
    key: jax.Array | None = None,
    *,
    remat: bool = False,
    batch_norm_size: int = 0,
    share: tuple[jax.Array | int, int] = (0, 1),
) -> tuple[jax.Array, dict]:
    """Heatmaps (n, h/s, w/s, k) of normalized images (n, h, w, 3), and the statistics afterwards.

    A pure function, for jit and grad; it trains or evaluates as `graph.training` says. Drop path
    needs a `key` in training; networks without it need none. With `remat` the insides of blocks are
    recomputed for gradients instead of kept. In training, batch norm uses the statistics of the
    batch, or of each group of `batch_norm_size` neighboring images if that is not 0. `share` is
    (number, count) where the images are one of `count` equal shares of a batch, as of a device
    under `jax.shard_map`: drop path then drops what it would of the whole batch.
    """
    model = merge(graph, params, stats)
    if key is not None:
        give_draws(model, key, len(images), share)
    if remat:
        enable_remat(model)
    if batch_norm_size:
        set_batch_norm_size(model, batch_norm_size)
    heatmaps = model(images)
    return heatmaps, _with_string_keys(nnx.state(model, nnx.BatchStat))


def features(graph: Graph, params: dict, stats: dict, images: jax.Array) -> list[jax.Array]:
    """The branches' feature maps (n, h/4, w/4, c), (n, h/8, w/8, 2c), … of normalized images.

    They are the outputs of the last stage, before any head. Networks that read only their largest
    branch, like HRNet, compute no others at the end, and return that one. The graph must evaluate,
    since updated statistics are not returned.
    """
    if graph.training:
        raise ValueError(
            "features are for evaluation, but the graph is in training mode; "
            "call `model.eval()` before `split`"
        )
    return merge(graph, params, stats).features(images)


def fold_batch_norm(graph: Graph, params: dict, stats: dict) -> tuple[Graph, dict, dict]:
    """The network for evaluation only, with batch norms folded into the preceding convolutions.

    Fewer operations, and the same heatmaps up to rounding. Batch norms that do not follow a
    convolution remain.
    """
    model = merge(graph, params, stats)
    model.eval()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, ConvBN):
            module.fold()
    return split(model)


def specialize(graph: Graph, params: dict, stats: dict) -> tuple[Graph, dict, dict]:
    """The network for evaluation only, in the form that its platform computes fastest.

    Batch norms are folded, as by `fold_batch_norm`. For GPUs and TPUs, where a launch costs more
    than a small layer does, modules that have a method `specialize` also join layers or pad their
    kernels, except in networks that round to eight bits. The heatmaps are the same up to rounding.
    The platform is that of `lowering_for`, or of the devices in use.
    """
    folded = fold_batch_norm(graph, params, stats)
    model = merge(*folded)
    modules = [module for _, module in nnx.iter_modules(model)]
    rounds = any(getattr(module, "rounding", None) is not None for module in modules)
    done = getattr(model, "is_specialized", False)
    if target_platform() not in ("gpu", "tpu") or rounds or done:
        return folded
    for module in modules:
        if hasattr(module, "specialize"):
            module.specialize()
    model.is_specialized = True
    return split(model)


def backbone_parts(params: Mapping) -> list[tuple[str, ...]]:
    """The paths in `params` of the backbone's parts, in the order in which images pass them.

    The first is the stem, the others are the stages. The backbone is what `features` computes; the
    head and the layer that makes the heatmaps are not among its parts.
    """
    stem, stages = ("conv1", "layers") if "layers" in params else ("stem", "stages")
    return [(stem,), *((stages, number) for number in sorted(params[stages], key=int))]


def freeze(model: nnx.Module, count: int, *, batch_norm: bool = False) -> None:
    """Switches the first `count` parts of the backbone to evaluation mode.

    Their batch norms then use the running statistics and leave them as they are, and their drop
    paths are inactive, also where the rest of the network trains. With `batch_norm` all batch norms
    of the network do so.
    """
    _, params, _ = split(model)
    for path in backbone_parts(params)[:count]:
        part = getattr(model, path[0])
        (part[int(path[1])] if path[1:] else part).eval()
    if batch_norm:
        for _, module in nnx.iter_modules(model):
            if isinstance(module, BatchNorm):
                module.use_running_average = True


def normalize(images: jax.Array | np.ndarray, color: str = "rgb") -> jax.Array:
    """The input of networks, float32, from RGB images uint8: (image / 255 - mean) / std.

    The mean and the standard deviation are ImageNet's. With `color` "bgr" the channels are
    reversed but the mean and the deviation are not, which is how the official Pose-ResNet was
    trained.
    """
    if color not in ("rgb", "bgr"):
        raise ValueError(choices.unknown("color", color, ("rgb", "bgr")))
    images = images if color == "rgb" else images[..., ::-1]
    mean, std = jnp.asarray(MEAN, jnp.float32), jnp.asarray(STD, jnp.float32)
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std


def _with_string_keys(state) -> dict:
    """Nested dicts with string keys throughout, which checkpoints and archives return unchanged."""
    return _rekeyed(nnx.to_pure_dict(state), str)


def _with_indices(tree: dict) -> dict:
    return _rekeyed(tree, lambda key: int(key) if key.isdigit() else key)


def _rekeyed(tree, rename) -> dict:
    if not isinstance(tree, dict):
        return tree
    return {rename(key): _rekeyed(value, rename) for key, value in tree.items()}

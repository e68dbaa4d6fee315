"""The only door to the networks: make one by name, take it apart, apply it."""

import dataclasses
import re
import types
import typing

import jax.numpy as jnp
from flax import nnx

from hrjax.models import (
    blocks,
    ditehrnet,
    efenet,
    hrformer,
    hrnet,
    hrnext,
    litehrnet,
    resnet,
    widehrnet,
)
from hrjax.models.layers import ConvBN, Keys, give_draws

FAMILIES = types.MappingProxyType(
    {
        name: family
        for family in (
            *(hrnet, resnet, litehrnet, ditehrnet, widehrnet),
            *(hrformer, hrnext, efenet),
        )
        for name in family.VARIANTS
    }
)
VARIANTS = types.MappingProxyType(
    {name: family.VARIANTS[name] for name, family in FAMILIES.items()}
)

Graph = nnx.GraphDef  # a network without its numbers; static under jax.jit

# ImageNet's, of RGB / 255: what the references of all families were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def create(name: str, seed: int = 0, **overrides) -> nnx.Module:
    """A new network in training mode: images (n, h, w, 3) float → heatmaps (n, h/s, w/s, k).

    The stride s is 4, EFENet's 2. `overrides` replace fields of `VARIANTS[name]`.
    """
    return _build(name, overrides, Keys(seed))


def split_size(model: str) -> tuple[str, tuple[int, int] | None]:
    """The variant and the input size in `hrnet_w32_256x192`; None where no size is appended."""
    name, height, width = re.fullmatch(r"(.*?)(?:_(\d+)x(\d+))?", model).groups()
    return name, (int(height), int(width)) if height else None


def shapes(name: str, *, training: bool = False, **overrides) -> tuple[Graph, dict, dict]:
    """The graph, params and stats of `create`, with shapes instead of arrays: cheap.

    The graph evaluates, or trains with `training`.
    """
    model = _build(name, overrides, Keys(None))
    if not training:
        model.eval()
    return split(model)


def _build(name, overrides, keys):
    config = configure(name, **overrides)
    return FAMILIES[name].build(config, rngs=keys)


def configure(name: str, **overrides):
    """`VARIANTS[name]` with some of its fields replaced."""
    if name not in VARIANTS:
        raise ValueError(f"unknown model {name!r}; choose one of: {', '.join(sorted(VARIANTS))}")
    variant = VARIANTS[name]
    fields = {field.name: field.type for field in dataclasses.fields(variant)}
    wrong = [
        f"{key}={value!r}"
        for key, value in overrides.items()
        if key not in fields or not _has_type(value, fields[key])
    ]
    if wrong:
        names = [
            f"{key}: {kind.__name__ if type(kind) is type else kind}"
            for key, kind in fields.items()
        ]
        raise ValueError(
            f"{name} cannot take {', '.join(wrong)}; its fields are {', '.join(names)}"
        )
    return dataclasses.replace(variant, **overrides)


def heatmap_stride(config) -> int:
    """Input pixels per heatmap cell, along each side, of the network of a variant's dataclass."""
    if isinstance(config, resnet.PoseResNetConfig):
        return 2 ** (len(config.blocks) + 1 - config.deconvs)
    return 2 if isinstance(config, efenet.EFENetConfig) else 4


def _has_type(value, kind) -> bool:
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(type(entry) is int for entry in value)
    return type(value) is kind or (kind is float and type(value) is int)


def split(model: nnx.Module) -> tuple[Graph, dict, dict]:
    """The structure of `model` (hashable), its params and its batch statistics, as nested dicts.

    A graph made after `model.eval()` evaluates; one made from a fresh `create` trains.
    """
    graph, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graph, _plain(params), _plain(stats)


def apply(graph: Graph, params: dict, stats: dict, images, key=None, *, remat: bool = False):
    """Heatmaps (n, h/s, w/s, k) of normalised images (n, h, w, 3), and the statistics after them.

    Pure: fit for jit and grad. `key` is what drop path draws from in training; networks without it
    need none. With `remat` the insides of blocks are computed again for gradients, not kept.
    """
    model = assemble(graph, params, stats)
    if key is not None:
        give_draws(model, key, len(images))
    if remat:
        blocks.compute_again(model)
    heatmaps = model(images)
    return heatmaps, _plain(nnx.state(model, nnx.BatchStat))


def features(graph: Graph, params: dict, stats: dict, images) -> list:
    """The branches' feature maps (n, h/4, w/4, c), (n, h/8, w/8, 2c), … of normalised images.

    They are what the last stage puts out, before any head. Networks that read their largest branch
    alone, like HRNet, compute no others at the end, and give that one.
    """
    return assemble(graph, params, stats).features(images)


def fold_batch_norm(graph: Graph, params: dict, stats: dict) -> tuple[Graph, dict, dict]:
    """The network for evaluation only, with each batch norm inside the convolution before it.

    Fewer operations and the same heatmaps but for rounding. Batch norms that follow something else
    than a convolution stay.
    """
    model = assemble(graph, params, stats)
    model.eval()
    for _, module in nnx.iter_modules(model):
        if isinstance(module, ConvBN):
            module.fold()
    return split(model)


def assemble(graph: Graph, params: dict, stats: dict) -> nnx.Module:
    """The network that `split` took apart."""
    return nnx.merge(graph, _by_index(params), _by_index(stats))


def update(model: nnx.Module, params: dict, stats: dict) -> None:
    """Sets the params and batch statistics of `model` to those of `split`'s dicts."""
    nnx.update(model, _by_index(params), _by_index(stats))


def normalize(images, color: str = "rgb"):
    """Networks' input, float32, from RGB images uint8: less ImageNet's mean, by its deviation.

    With `color` "bgr" the channels are turned round first, and the mean and the deviation are not:
    so the official Pose-ResNet was trained.
    """
    if color not in ("rgb", "bgr"):
        raise ValueError(f"unknown color {color!r}; choose one of: rgb, bgr")
    images = images if color == "rgb" else images[..., ::-1]
    mean, std = jnp.asarray(MEAN, jnp.float32), jnp.asarray(STD, jnp.float32)
    return (jnp.asarray(images, jnp.float32) / 255 - mean) / std


def _plain(state) -> dict:
    """Dicts with string keys throughout, which checkpoints and archives give back as they were."""
    return _rekeyed(nnx.to_pure_dict(state), str)


def _by_index(tree: dict) -> dict:
    return _rekeyed(tree, lambda key: int(key) if key.isdigit() else key)


def _rekeyed(tree, rename) -> dict:
    if not isinstance(tree, dict):
        return tree
    return {rename(key): _rekeyed(value, rename) for key, value in tree.items()}

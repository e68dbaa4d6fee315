"""Networks by name: the list of them, their configurations, and building one."""

import dataclasses
import fnmatch
import re
import types
import typing

from flax import nnx

from data_pipelines.messages import choices
from hrjax.models import (
    ditehrnet,
    efenet,
    hrformer,
    hrnet,
    hrnext,
    litehrnet,
    resnet,
    widehrnet,
)
from hrjax.models.layers import HostInitializer
from hrjax.models.pure_functions import Graph, split

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


def list_models(pattern: str = "*") -> list[str]:
    """The names that `create` accepts, sorted; only those that match, as in "hrformer*"."""
    return sorted(fnmatch.filter(VARIANTS, pattern))


def create(
    name: str, seed: int = 0, *, rngs: nnx.Rngs | None = None, **overrides: typing.Any
) -> nnx.Module:
    """A new network in training mode: images (n, h, w, 3) float → heatmaps (n, h/s, w/s, k).

    The stride s is 4, EFENet's 2. `overrides` replace fields of the variant, for example
    `num_joints=16`. Initial values are drawn on the host from `seed`, which compiles nothing, or
    from the streams "params" and "dropout" of `rngs`. `model.eval()` switches to evaluation.
    """
    if rngs is not None and not isinstance(rngs, nnx.Rngs):
        raise ValueError(f"rngs={rngs!r} is not an nnx.Rngs; pass seed=0 or rngs=nnx.Rngs(0)")
    return _build(name, overrides, HostInitializer(seed) if rngs is None else rngs)


def shapes(
    name: str, *, training: bool = False, **overrides: typing.Any
) -> tuple[Graph, dict, dict]:
    """The graph, params and stats of `create`, with shapes in place of arrays, at little cost.

    The graph is in evaluation mode, or in training mode if `training`.
    """
    model = _build(name, overrides, HostInitializer(None))
    if not training:
        model.eval()
    return split(model)


def _build(name, overrides, rngs):
    config = configure(name, **overrides)
    return FAMILIES[name].build(config, rngs=rngs)


def configure(name: str, **overrides: typing.Any) -> typing.Any:
    """The configuration dataclass of the variant `name`, with some of its fields replaced."""
    if name not in VARIANTS:
        raise ValueError(choices.unknown("model", name, sorted(VARIANTS)))
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


def heatmap_stride(config: typing.Any) -> int:
    """Input pixels per heatmap cell, along each side, of a network of this configuration."""
    if isinstance(config, resnet.PoseResNetConfig):
        return 2 ** (len(config.blocks) + 1 - config.deconvs)
    return 2 if isinstance(config, efenet.EFENetConfig) else 4


def _has_type(value, kind) -> bool:
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(type(entry) is int for entry in value)
    return type(value) is kind or (kind is float and type(value) is int)


def split_size(model: str) -> tuple[str, tuple[int, int] | None]:
    """The variant and the input size in `hrnet_w32_256x192`; the size is None if not appended."""
    name, height, width = re.fullmatch(r"(.*?)(?:_(\d+)x(\d+))?", model).groups()
    return name, (int(height), int(width)) if height else None

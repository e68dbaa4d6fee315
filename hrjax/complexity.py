"""The cost of a network: parameters, multiply-accumulates and activations per module."""

import contextlib
import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from data_pipelines.messages import sizes
from hrjax import models, text_tables

# The names of parameters that a layer multiplies its input with. MIXED holds several kernels along
# its first axis, which a call mixes into one.
MIXED = "kernels"
WEIGHTS = ("kernel", MIXED, "transposed", "matrix")


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module: its path, its input and output shapes, and its multiply-accumulates.

    Shapes are for one image, and None for modules that take lists of branches. A call is `repeated`
    if the module was called before. `relus` are the sizes of the ReLUs that the module itself
    applies, in order.
    """

    path: tuple[str, ...]
    module: nnx.Module
    repeated: bool
    inputs: tuple[int, ...] | None
    outputs: tuple[int, ...] | None
    macs: int
    relus: list[int]


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a reference's tool counts what its tables call FLOPs, in units of `unit`.

    Every tool counts multiply-accumulates, and counts a module that is called twice only once. The
    fields say what else it counts, per output value: `bias` 1 (for linear layers, 1 per channel),
    `batch_norms` and `layer_norms` 2, `relus` 1, `upsamples` 1 (or 1 per pixel, if "pixels"). The
    references reuse one ReLU module, of which some tools see only the "last" call and others "all".
    `pools` includes adaptive pooling to one cell. `output_pixels` counts transposed convolutions as
    if the whole kernel applied to each output pixel. `skipped` are the names of modules that the
    tool does not see.
    """

    name: str
    unit: int
    suffix: str
    bias: bool = True
    batch_norms: bool = False
    layer_norms: bool = False
    relus: str = ""
    upsamples: str = ""
    pools: bool = False
    output_pixels: bool = False
    skipped: tuple[str, ...] = ()


SUMMARY = Convention("HRNet's summary", 1024**3, "G", bias=False, output_pixels=True)
TORCHSTAT = Convention(
    "torchstat", 1024**2, "M", batch_norms=True, relus="last", upsamples="pixels", pools=True
)
# WideHRNet's published numbers exclude batch norm; so do mmcv's of HRFormer, which uses SyncBN.
TORCHSTAT_NO_BN = dataclasses.replace(TORCHSTAT, unit=10**9, suffix="G", batch_norms=False)
MMCV = Convention(
    "mmcv", 10**9, "G", layer_norms=True, relus="all", upsamples="values", skipped=("out",)
)
PLAIN = Convention("convolutions and linear layers", 10**9, "G", bias=False, skipped=("out",))
# By family. EFENet's README and all families not listed here use PLAIN.
CONVENTIONS = {
    "hrnet": SUMMARY,
    "resnet": SUMMARY,
    "litehrnet": TORCHSTAT,
    "ditehrnet": TORCHSTAT,
    "widehrnet": TORCHSTAT_NO_BN,
    "hrformer": MMCV,
    "hrnext": dataclasses.replace(TORCHSTAT, unit=1024**3, suffix="G"),
}


def count_params(tree: Any) -> int:
    """The number of values in a tree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def trace(graph: models.Graph, params: dict, stats: dict, size: tuple[int, int]) -> list[Call]:
    """All module calls for one image of `size` (height, width).

    Nothing is computed, and `params` and `stats` may be shapes.
    """
    calls: dict[int, Call] = {}

    def run(params, stats, images):
        model = models.merge(graph, params, stats)
        with _recorded(model, calls):
            return model(images)

    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(run)(params, stats, images)
    _record_relus(jaxpr.jaxpr, calls)
    return list(calls.values())


@contextlib.contextmanager
def _recorded(model: nnx.Module, calls: dict[int, Call]) -> Iterator[None]:
    """Records the module calls of `model` by number; the jaxpr's named scopes hold the numbers."""
    paths = {id(module): tuple(map(str, path)) for path, module in nnx.iter_modules(model)}
    classes = {type(module) for _, module in nnx.iter_modules(model)}
    originals = {cls: cls.__call__ for cls in classes if "__call__" in cls.__dict__}
    seen, numbers = set(), itertools.count()

    def record(original):
        def call(self, *arguments, **options):
            repeated, number = id(self) in seen, next(numbers)
            seen.add(id(self))
            with jax.named_scope(f"call{number}"):
                outputs = original(self, *arguments, **options)
            shapes = [getattr(x, "shape", None) for x in (arguments[0], outputs)]
            macs = _macs(self, *shapes)
            calls[number] = Call(paths[id(self)], self, repeated, *shapes, macs, [])
            return outputs

        return call

    for cls, original in originals.items():
        cls.__call__ = record(original)
    try:
        yield
    finally:
        for cls, original in originals.items():
            cls.__call__ = original


def _macs(module, inputs, outputs):
    for name in WEIGHTS:
        weight = getattr(module, name, None)
        if weight is None:
            continue
        if name == "transposed":
            return math.prod(inputs[:-1]) * math.prod(weight.shape)
        shape = weight.shape[1:] if name == MIXED else weight.shape
        return math.prod(outputs[:-1]) * math.prod(shape)
    return 0


def _record_relus(jaxpr, calls, outside=""):
    for equation in jaxpr.eqns:
        scope = f"{outside}/{equation.source_info.name_stack}"
        if equation.primitive.name in ("pjit", "jit") and equation.params["name"] == "relu":
            number = re.findall(r"call(\d+)", scope)[-1]
            calls[int(number)].relus.append(math.prod(equation.outvars[0].aval.shape))
            continue
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    _record_relus(inner, calls, scope)


def convention_of(name: str) -> Convention:
    """The convention that the authors of a variant count by."""
    return CONVENTIONS.get(models.FAMILIES[name].__name__.rpartition(".")[2], PLAIN)


def convention_count(calls: list[Call], convention: Convention) -> int:
    """The number that the reference's own tool reports, before division by its unit."""
    total = 0
    for call in calls:
        if call.repeated or set(call.path[-1:]) & set(convention.skipped):
            continue
        if convention.relus:
            total += sum(call.relus if convention.relus == "all" else call.relus[-1:])
        kind, values = type(call.module).__name__, math.prod(call.outputs or ())
        if call.macs:
            total += call.macs
            if kind == "TransposedConv" and convention.output_pixels:
                total += call.macs * (
                    math.prod(call.outputs[1:3]) // math.prod(call.inputs[1:3]) - 1
                )
            if convention.bias and call.module.bias is not None:
                total += call.outputs[-1] if kind == "Linear" else values
        if kind == "BatchNorm" and convention.batch_norms:
            total += 2 * values
        if kind == "LayerNorm" and convention.layer_norms:
            total += 2 * values
        if kind == "Enlarge" and convention.upsamples:
            total += values if convention.upsamples == "values" else math.prod(call.outputs[1:3])
        if kind in ("SqueezeExcite", "DynamicConv") and convention.pools:
            _, height, width, channels = call.inputs
            total += (height + 1) * (width + 1) * channels
    return total


def summarize(name: str, size: tuple[int, int], *, depth: int = 3, **overrides: Any) -> str:
    """A table of a variant's modules, `depth` levels deep, and the totals."""
    graph, params, stats = models.shapes(name, **overrides)
    calls = trace(graph, params, stats, size)
    rows = [("", "parameters", "MACs", "unique", "activations")]
    rows += [
        ("  " * (len(path) - 1) + path[-1], *_costs(path, params, calls))
        for path in _paths(calls, depth)
    ]
    _, *totals = _costs((), params, calls)
    convention = convention_of(name)
    published = convention_count(calls, convention) / convention.unit
    return "\n".join(
        [
            text_tables.format_table(rows),
            "",
            f"{name}, one image of {sizes.pixels(size)}",
            f"parameters          {count_params(params):,}",
            f"MACs as executed    {totals[0]}",
            f"unique modules      {totals[1]}",
            f"activations         {totals[2]} in float32",
            f"reference count     {published:.4g}{convention.suffix} ({convention.name})",
        ]
    )


def _paths(calls, depth):
    """The paths of the modules to show, sorted; the inside of layers is not shown."""
    layers = {call.path for call in calls if call.macs}
    paths = {call.path[:end] for call in calls for end in range(1, min(depth, len(call.path)) + 1)}
    inside = {path for path in paths if any(path[:end] in layers for end in range(len(path)))}
    return sorted(paths - inside, key=lambda path: [key.zfill(4) for key in path])


def _costs(path, params, calls):
    for key in path:
        params = params.get(key, {})
    inside = [call for call in calls if call.path[: len(path)] == path]
    leaves = [call for call in inside if not _has_modules(call.module)]
    return (
        f"{count_params(params):,}",
        _engineering(sum(call.macs for call in inside)),
        _engineering(sum(call.macs for call in inside if not call.repeated)),
        _engineering(4 * sum(math.prod(call.outputs) for call in leaves)) + "B",
    )


def _has_modules(module):
    return sum(1 for _ in nnx.iter_modules(module)) > 1


def _engineering(value):
    for unit, suffix in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if value >= unit:
            return f"{value / unit:.2f}{suffix}"
    return f"{value} "

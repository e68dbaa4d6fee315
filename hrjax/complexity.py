"""What a network costs: parameters, multiply-accumulates and activations, module by module."""

import contextlib
import dataclasses
import itertools
import math
import re

import jax
import jax.numpy as jnp
from flax import nnx

from hrjax import models

# The names of parameters that a layer multiplies its input with. Of MIXED a call uses one in all,
# mixed from the several along the first axis.
MIXED = "kernels"
WEIGHTS = ("kernel", MIXED, "transposed", "matrix")


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module: where, what went in and out, and its multiply-accumulates.

    Shapes are those of arrays, for one image; modules that take lists of branches have none.
    `repeated` calls are of modules that were called before. `relus` are the numbers of values of
    the ReLUs that the module itself applies, in order.
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

    It counts multiply-accumulates, of modules that are called twice only one call, and of what else
    is named here. For each value that they put out: `bias` 1 (of linear layers 1 for each
    channel), `batch_norms` and `layer_norms` 2, `relus` 1 (a module's several ReLUs are one in the
    references, of which some tools see the "last" call and others "all"), `upsamples` 1 (or 1 for
    each of the "pixels"). `pools`: adaptive pooling to one cell. `output_pixels`: transposed
    convolutions as if each pixel of their output had the whole kernel. `skipped`: names of modules
    that it does not see.
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
# The published numbers of WideHRNet leave batch norm out; mmcv's of HRFormer too, with SyncBN.
TORCHSTAT_NO_BN = dataclasses.replace(TORCHSTAT, unit=10**9, suffix="G", batch_norms=False)
MMCV = Convention(
    "mmcv", 10**9, "G", layer_norms=True, relus="all", upsamples="values", skipped=("out",)
)
PLAIN = Convention("convolutions and linear layers", 10**9, "G", bias=False, skipped=("out",))
# By family; EFENet's README, and families that say nothing, count plainly.
CONVENTIONS = {
    "hrnet": SUMMARY,
    "resnet": SUMMARY,
    "litehrnet": TORCHSTAT,
    "ditehrnet": TORCHSTAT,
    "widehrnet": TORCHSTAT_NO_BN,
    "hrformer": MMCV,
    "hrnext": dataclasses.replace(TORCHSTAT, unit=1024**3, suffix="G"),
}


def count_params(tree) -> int:
    """The number of values in a tree of arrays or of their shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def trace(graph, params, stats, size: tuple[int, int]) -> list[Call]:
    """All calls of modules for one image of (height, width).

    Nothing is computed: `params` and `stats` may be shapes.
    """
    calls: dict[int, Call] = {}

    def run(params, stats, images):
        model = models.merge(graph, params, stats)
        with _watched(model, calls):
            return model(images)

    images = jax.ShapeDtypeStruct((1, *size, 3), jnp.float32)
    jaxpr = jax.make_jaxpr(run)(params, stats, images)
    _note_relus(jaxpr.jaxpr, calls)
    return list(calls.values())


@contextlib.contextmanager
def _watched(model, calls):
    """Notes the calls of all modules of `model` by number, which the jaxpr's scopes hold too."""
    paths = {id(module): tuple(map(str, path)) for path, module in nnx.iter_modules(model)}
    classes = {type(module) for _, module in nnx.iter_modules(model)}
    originals = {cls: cls.__call__ for cls in classes if "__call__" in cls.__dict__}
    seen, numbers = set(), itertools.count()

    def watch(original):
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
        cls.__call__ = watch(original)
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


def _note_relus(jaxpr, calls, outside=""):
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
                    _note_relus(inner, calls, scope)


def convention_of(name: str) -> Convention:
    """How the authors of a variant count."""
    return CONVENTIONS.get(models.FAMILIES[name].__name__.rpartition(".")[2], PLAIN)


def convention_count(calls: list[Call], convention: Convention) -> int:
    """What the reference's own tool counts."""
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


def summarize(name: str, size: tuple[int, int], *, depth: int = 3, **overrides) -> str:
    """A table of the modules of a variant, `depth` levels deep, and the totals."""
    graph, params, stats = models.shapes(name, **overrides)
    calls = trace(graph, params, stats, size)
    rows = [("", "parameters", "MACs", "each once", "activations")]
    rows += [
        ("  " * (len(path) - 1) + path[-1], *_costs(path, params, calls))
        for path in _paths(calls, depth)
    ]
    _, *totals = _costs((), params, calls)
    convention = convention_of(name)
    published = convention_count(calls, convention) / convention.unit
    height, width = size
    return "\n".join(
        [
            *_aligned(rows),
            "",
            f"{name}, one image of {height}x{width}",
            f"parameters          {count_params(params):,}",
            f"MACs as executed    {totals[0]}",
            f"each module once    {totals[1]}",
            f"activations         {totals[2]} in float32",
            f"by the reference    {published:.4g}{convention.suffix} ({convention.name})",
        ]
    )


def _paths(calls, depth):
    """The modules to show, sorted by path; none inside a layer."""
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


def _aligned(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for name, *numbers in rows:
        cells = [number.rjust(width) for number, width in zip(numbers, widths[1:], strict=True)]
        yield "  ".join([name.ljust(widths[0]), *cells])

"""JAX's primitives as operations of ONNX.

A translation takes the graph, the values that go in, the shape and dtype of the first result, and
the primitive's parameters; it returns a value, or a list of them.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike

from hrjax.export.translation import contractions, values
from hrjax.export.translation.onnx_graph import Graph
from hrjax.export.translation.values import Value

FIRST = -(2**63) + 1  # where a slice that runs backward ends
LAST = 2**63 - 1


def compute(equation: Any, inputs: Sequence[Value]) -> list[Value]:
    """The results of an equation whose inputs are all known."""
    name, layout = equation.primitive.name, None
    if name in ELEMENTWISE:
        # As they are stored: a constant that is repeated for each sample stays one.
        layout = values.common_layout(inputs)
        sizes = values.combined_sizes(inputs, layout)
        arrays = [np.broadcast_to(values.arranged_array(x, layout), sizes) for x in inputs]
    else:
        arrays = [values.full_array(value) for value in inputs]
    outs = [variable.aval for variable in equation.outvars]
    if name in NUMPY:
        results = [NUMPY[name](*arrays).astype(outs[0].dtype)]
    else:
        with jax.default_device(jax.devices("cpu")[0]):
            results = equation.primitive.bind(*arrays, **equation.params)
        results = results if equation.primitive.multiple_results else [results]
    label = next((value.label for value in inputs if value.label), "")
    results = [values.constant(np.asarray(x), label) for x in results]
    if layout is None:
        return results
    (x,) = results
    return [values.Value(x.data, outs[0].shape, x.dtype, layout, x.sizes, label)]


def elementwise(
    graph: Graph, op: str, inputs: Sequence[Value], out: jax.ShapeDtypeStruct, **attributes: Any
) -> Value:
    """One operation on values that broadcast against each other."""
    layout = values.common_layout(inputs)
    names = [values.fit(graph, value, layout) for value in inputs]
    (name,) = graph.add(op, names, **attributes)
    return Value(name, out.shape, out.dtype, layout, values.combined_sizes(inputs, layout))


def _plain(op):
    """The translation of a primitive that is an operation of ONNX on each entry."""
    return lambda graph, inputs, out, params: elementwise(graph, op, inputs, out)


def _same(graph, inputs, out, params):
    """The value itself."""
    return inputs[0]


def like(value: Value, array: ArrayLike) -> Value:
    """A constant number of the value's dtype."""
    return values.constant(np.asarray(array, value.dtype))


def _convert(graph, inputs, out, params):
    """Another dtype."""
    (x,) = inputs
    if x.dtype == out.dtype:
        return x
    return elementwise(graph, "Cast", [x], out, to=np.dtype(out.dtype))


def _add(graph, inputs, out, params):
    """A sum; twice a value as a product, whose factor may go into what makes the value."""
    x, y = inputs
    tensors = not x.is_constant and not y.is_constant
    if tensors and (x.data, x.layout) == (y.data, y.layout):
        return elementwise(graph, "Mul", [x, like(x, 2)], out)
    return elementwise(graph, "Add", inputs, out)


def _square(graph, inputs, out, params):
    """x times x."""
    return elementwise(graph, "Mul", inputs * 2, out)


def _integer_pow(graph, inputs, out, params):
    """A whole power."""
    if params["y"] == 2:
        return _square(graph, inputs, out, params)
    return elementwise(graph, "Pow", [*inputs, like(inputs[0], params["y"])], out)


def _rsqrt(graph, inputs, out, params):
    """The inverse square root."""
    root = elementwise(graph, "Sqrt", inputs, out)
    return elementwise(graph, "Reciprocal", [root], out)


def _not_equal(graph, inputs, out, params):
    """Whether entries differ."""
    return elementwise(graph, "Not", [elementwise(graph, "Equal", inputs, out)], out)


def _select(graph, inputs, out, params):
    """The second value where the first is true, otherwise the first."""
    if len(inputs) != 3 or inputs[0].dtype != bool:
        raise ValueError("select_n is translated for a condition and two cases alone")
    condition, when_false, when_true = inputs
    return elementwise(graph, "Where", [condition, when_true, when_false], out)


def _clamp(graph, inputs, out, params):
    """Entries within two bounds."""
    low, x, high = inputs
    return elementwise(graph, "Min", [elementwise(graph, "Max", [x, low], out), high], out)


def _remainder(graph, inputs, out, params):
    """The remainder with the sign of the first, as in C."""
    return elementwise(graph, "Mod", inputs, out, fmod=1)


def _broadcast(graph, inputs, out, params):
    """Axes that are repeated stay unstored."""
    (x,) = inputs
    return x.relabeled(dict(enumerate(params["broadcast_dimensions"])), out.shape)


def _transpose(graph, inputs, out, params):
    """Other numbers for the same stored axes."""
    (x,) = inputs
    return x.relabeled({old: new for new, old in enumerate(params["permutation"])}, out.shape)


def _squeeze(graph, inputs, out, params):
    """Axes of size 1 lose their numbers."""
    (x,) = inputs
    kept = [axis for axis in range(len(x.shape)) if axis not in params["dimensions"]]
    return x.relabeled({old: new for new, old in enumerate(kept)}, out.shape)


def _reshape(graph, inputs, out, params):
    """Splits and merges axes, each group where it is stored."""
    (x,) = inputs
    groups = _axis_groups(x.shape, out.shape)
    changed = [group for group in groups if len(group[0]) != 1 or len(group[1]) != 1]
    if x.is_constant and changed:
        return values.constant(values.full_array(x).reshape(out.shape), x.label)
    x = values.expand(graph, x, [axis for old, _ in changed for axis in old])
    new = {old[0]: new[0] for old, new in groups if len(old) == len(new) == 1}
    if not changed:
        return x.relabeled(new, out.shape)
    layout = _adjacent([axis for axis in x.layout if axis in x.real], [old for old, _ in changed])
    starts = {old[0]: (old, new) for old, new in changed}
    merged, labels = {axis for old, _ in changed for axis in old}, []
    for axis in layout:
        if axis in starts:
            labels += starts[axis][1]
        elif axis not in merged:
            labels.append(new[axis])
    # A first axis of a group may be of size 1, and so missing: its successor stands for it.
    sizes = [out.shape[axis] for axis in labels]
    name = values.arrange(graph, x, tuple(layout))
    if sizes != [*values.sizes_in(x, tuple(layout))]:
        (name,) = graph.add("Reshape", [name, graph.sizes(sizes)])
    return Value(name, out.shape, out.dtype, tuple(labels), tuple(sizes))


def _axis_groups(old, new):
    """The axes of two shapes in groups of equal size, without axes of size 1: [(old, new), …]."""
    old_axes = [axis for axis, size in enumerate(old) if size != 1]
    new_axes = [axis for axis, size in enumerate(new) if size != 1]
    groups = []
    while old_axes or new_axes:
        a, b = [old_axes.pop(0)], [new_axes.pop(0)]
        while (have := math.prod(old[i] for i in a)) != (want := math.prod(new[i] for i in b)):
            if have < want:
                a.append(old_axes.pop(0))
            else:
                b.append(new_axes.pop(0))
        groups.append((a, b))
    return groups


def _adjacent(layout, groups):
    """The layout with the axes of each group side by side, in their order, where its first was."""
    for group in groups:
        first = next(i for i, axis in enumerate(layout) if axis in group)
        before = [axis for axis in layout[:first] if axis not in group]
        after = [axis for axis in layout[first:] if axis not in group]
        layout = [*before, *group, *after]
    return layout


def _stored_at(graph, x, axes):
    """The value with these axes stored, also where their size is 1, and their places."""
    x = values.expand(graph, x, axes)
    layout = functools.reduce(values.insert, axes, x.layout)
    x = values.stored(values.arrange(graph, x, layout), x, layout, values.sizes_in(x, layout))
    return x, [x.place(axis) for axis in axes]


def _cut(graph, x, out, bounds):
    """A slice: `bounds` has first, end and step by axis."""
    bounds = {axis: bound for axis, bound in bounds.items() if axis in x.real}
    x, places = _stored_at(graph, x, [*bounds])
    names = [graph.integers(numbers) for numbers in zip(*bounds.values(), strict=True)]
    name = x.data
    if bounds:
        first, end, step = names
        (name,) = graph.add("Slice", [name, first, end, graph.integers(places), step])
    sizes = [
        size if size == 1 or axis is None else out.shape[axis]
        for axis, size in zip(x.layout, x.sizes, strict=True)
    ]
    return Value(name, out.shape, out.dtype, x.layout, tuple(sizes))


def _slice(graph, inputs, out, params):
    """Every n-th entry between two bounds."""
    (x,) = inputs
    steps = params["strides"] or (1,) * len(x.shape)
    bounds = {}
    limits = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    for axis, (first, end, step) in enumerate(limits):
        if (first, end, step) != (0, x.shape[axis], 1):
            if graph.is_batch(first) or (graph.is_batch(x.shape[axis]) and end != x.shape[axis]):
                raise ValueError("a slice that depends on the number of samples")
            bounds[axis] = (first, LAST if end == x.shape[axis] else end, step)
    return _cut(graph, x, out, bounds)


def _reverse(graph, inputs, out, params):
    """Axes from end to start."""
    return _cut(graph, inputs[0], out, dict.fromkeys(params["dimensions"], (-1, FIRST, -1)))


def _split(graph, inputs, out, params):
    """Parts along an axis."""
    x, axis, sizes = inputs[0], params["axis"], params["sizes"]
    if len(sizes) == 1:
        return [x]
    x, (place,) = _stored_at(graph, x, [axis])
    names = graph.add("Split", [x.data, graph.integers(sizes)], count=len(sizes), axis=place)
    results = []
    for name, size in zip(names, sizes, strict=True):
        shape = tuple(size if i == axis else n for i, n in enumerate(x.shape))
        stored = tuple(size if i == place else n for i, n in enumerate(x.sizes))
        results.append(Value(name, shape, x.dtype, x.layout, stored))
    return results


def _unstack(graph, inputs, out, params):
    """The entries of an axis, without it."""
    (x,), axis = inputs, params["axis"]
    parts = _split(graph, inputs, out, {"axis": axis, "sizes": [1] * x.shape[axis]})
    dropped = {"dimensions": (axis,)}
    return [_squeeze(graph, [part], out, dropped) for part in parts]


def _join(graph, inputs, out, axis):
    """Values one after another along an axis."""
    if len(inputs) == 1:
        return inputs[0]
    axes = [i for i in range(len(out.shape)) if i != axis]
    real = {i for x in inputs for i in x.real}
    inputs = [values.expand(graph, x, [axis, *(i for i in axes if i in real)]) for x in inputs]
    layout = values.insert(values.common_layout(inputs), axis)
    place = layout.index(axis)
    sizes = [*values.combined_sizes(inputs, layout)]
    sizes[place] = out.shape[axis]
    without = layout[:place] + layout[place + 1 :]
    stacked = place < len(without) and not any(axis in x.layout for x in inputs)
    # Where no input stores the axis, the next one can be joined instead: the same numbers in the
    # same order, and one Reshape afterwards instead of one for each input.
    names = [values.arrange(graph, x, without if stacked else layout) for x in inputs]
    (name,) = graph.add("Concat", names, axis=place)
    if stacked:
        (name,) = graph.add("Reshape", [name, graph.sizes(sizes)])
    return Value(name, out.shape, out.dtype, layout, tuple(sizes))


def _concatenate(graph, inputs, out, params):
    """Values one after another."""
    return _join(graph, inputs, out, params["dimension"])


def _stack(graph, inputs, out, params):
    """Values one after another along a new axis."""
    axis = params["axis"]
    shape = tuple(1 if i == axis else size for i, size in enumerate(out.shape))
    kept = [i for i in range(len(shape)) if i != axis]
    return _join(graph, [x.relabeled(dict(enumerate(kept)), shape) for x in inputs], out, axis)


def _pad(graph, inputs, out, params):
    """More entries at the ends of axes."""
    x, filler = inputs
    padding = params["padding_config"]
    axes = [axis for axis, (low, high, _) in enumerate(padding) if low or high]
    if any(inside or low < 0 or high < 0 for low, high, inside in padding):
        raise ValueError("padding between entries, or by a negative number of them")
    x, places = _stored_at(graph, x, axes)
    low, high = ([0] * len(x.sizes) for _ in range(2))
    for axis, place in zip(axes, places, strict=True):
        low[place], high[place] = padding[axis][:2]
    names = [x.data, graph.integers([*low, *high]), graph.constant(filler.data.reshape(()))]
    (name,) = graph.add("Pad", names, mode="constant")
    sizes = [a + size + b for a, size, b in zip(low, x.sizes, high, strict=True)]
    return Value(name, out.shape, out.dtype, x.layout, tuple(sizes))


def _reduce(graph, op, x, out, axes):
    """One operation along axes.

    One axis remains in storage with size 1, as the softmax needs it. Several do not: what is left
    of an image is a vector, and its products are no 1x1 convolutions, which are slower.
    """
    x, places = _stored_at(graph, x, axes)
    names = [x.data, graph.integers(sorted(places))]
    summed, keep = math.prod(x.sizes[i] for i in places), len(axes) == 1
    (name,) = graph.add(op, names, keepdims=int(keep), summed=summed)
    left = [i for i in range(len(x.layout)) if keep or i not in places]
    layout = tuple(x.layout[i] for i in left)
    sizes = tuple(1 if i in places else x.sizes[i] for i in left)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    result = Value(name, x.shape, np.dtype(out.dtype), layout, sizes)
    return result.relabeled({old: new for new, old in enumerate(kept)}, out.shape)


def _reduction(op):
    """The translation of a reduction."""
    return lambda graph, inputs, out, params: _reduce(graph, op, inputs[0], out, params["axes"])


def _logical_reduction(op):
    """The translation of a reduction of truth values, by numbers."""

    def translate(graph, inputs, out, params):
        number = jax.ShapeDtypeStruct(inputs[0].shape, np.int32)
        x = _convert(graph, inputs, number, {})
        x = _reduce(graph, op, x, jax.ShapeDtypeStruct(out.shape, np.int32), params["axes"])
        return _convert(graph, [x], out, {})

    return translate


def _gather(graph, inputs, out, params):
    """Entries along one axis: at the same places everywhere, or at an own place for each result."""
    x, index = inputs
    numbers = params["dimension_numbers"]
    if len(numbers.start_index_map) != 1 or numbers.collapsed_slice_dims != numbers.start_index_map:
        raise ValueError("a gather along several axes")
    (axis,) = numbers.start_index_map
    others = [i for i in range(len(x.shape)) if i != axis]
    last = len(index.shape) - 1
    index = index.relabeled({i: i for i in range(last)}, index.shape[:-1])
    matching = dict(
        zip(numbers.start_indices_batching_dims, numbers.operand_batching_dims, strict=True)
    )
    along = [matching.get(i, axis) for i in range(last)]  # the axis of x for each of index
    if along.count(axis) != 1 or any(
        params["slice_sizes"][i] != (1 if i in along else x.shape[i]) for i in others
    ):
        raise ValueError("a gather of slices")
    results = [i for i in range(len(out.shape)) if i not in numbers.offset_dims]
    new = dict(zip(along, results, strict=True))
    new |= dict(zip([i for i in others if i not in along], numbers.offset_dims, strict=True))
    x, _ = _stored_at(graph, x, [axis])
    if last == 1:
        op, layout, names = "Gather", x.layout, [x.data, values.arrange(graph, index, (0,))]
        sizes = [index.shape[0] if i == axis else n for i, n in zip(layout, x.sizes, strict=True)]
    else:
        op, x = "GatherElements", values.expand(graph, x, others)
        shape = [index.shape[along.index(i)] if i in along else 1 for i in range(len(x.shape))]
        index = index.relabeled(dict(enumerate(along)), shape)
        index = values.expand(graph, index, range(len(shape)))
        layout = tuple(i for i in x.layout if i is not None)
        names = [values.arrange(graph, y, layout) for y in (x, index)]
        sizes = values.sizes_in(index, layout)
    (name,) = graph.add(op, names, axis=layout.index(axis))
    result = Value(name, x.shape, np.dtype(out.dtype), layout, tuple(sizes))
    return result.relabeled(new, out.shape)


UNARY = {
    **{name: name.capitalize() for name in ("exp", "log", "tanh", "sqrt", "abs", "sign", "floor")},
    **{name: name.capitalize() for name in ("erf", "neg", "ceil", "not", "sin", "cos")},
    "logistic": "Sigmoid",
}
BINARY = {
    **{name: name.capitalize() for name in ("sub", "mul", "div", "max", "min", "pow")},
    **{name: name.capitalize() for name in ("and", "or", "xor")},
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}
ELEMENTWISE = {
    **{name: _plain(op) for name, op in {**UNARY, **BINARY}.items()},
    "add": _add,
    "ne": _not_equal,
    "rem": _remainder,
    "clamp": _clamp,
    "select_n": _select,
    "square": _square,
    "integer_pow": _integer_pow,
    "rsqrt": _rsqrt,
    "convert_element_type": _convert,
}
# Where nothing must be compiled for each shape of a constant.
NUMPY = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide}
NUMPY |= {"rsqrt": lambda x: 1 / np.sqrt(x), "convert_element_type": lambda x: x}
LAZY = {
    **dict.fromkeys(("stop_gradient", "copy", "optimization_barrier"), _same),
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "squeeze": _squeeze,
}
KNOWN = {
    **ELEMENTWISE,
    **LAZY,
    "reshape": _reshape,
    "slice": _slice,
    "rev": _reverse,
    "split": _split,
    "concatenate": _concatenate,
    "stack": _stack,
    "unstack": _unstack,
    "pad": _pad,
    "iota": None,  # always known, since it has no inputs
    "gather": _gather,
    "reduce_sum": _reduction("ReduceSum"),
    "reduce_max": _reduction("ReduceMax"),
    "reduce_min": _reduction("ReduceMin"),
    "reduce_and": _logical_reduction("ReduceMin"),
    "reduce_or": _logical_reduction("ReduceMax"),
    "dot_general": contractions.dot_general,
    "conv_general_dilated": contractions.convolution,
}

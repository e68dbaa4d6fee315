"""Convolutions and products of tensors."""

import math

import jax
import numpy as np

from hrjax.export.translation import values
from hrjax.export.translation.onnx_graph import Graph
from hrjax.export.translation.values import Value


def convolution(
    graph: Graph, inputs: list[Value], out: jax.ShapeDtypeStruct, params: dict
) -> Value:
    """A convolution, or with spread inputs a transposed one."""
    x, kernel = inputs
    numbers = params["dimension_numbers"]
    if params["batch_group_count"] != 1:
        raise ValueError("a convolution in groups of samples")
    spatial = len(x.shape) - 2
    shapes = ((x, numbers.lhs_spec), (kernel, numbers.rhs_spec), (out, numbers.out_spec))
    pixels = math.prod(array.shape[axis] for array, spec in shapes for axis in spec[2:]) == 1
    plain = params["feature_group_count"] == 1 and not np.any(params["padding"])
    if pixels and plain and kernel.is_constant:
        return _on_pixels(graph, x, kernel, out, numbers)
    x = values.expand(graph, x, range(len(x.shape)))
    name = values.arrange(graph, x, tuple(numbers.lhs_spec))
    low, high = zip(*params["padding"], strict=True)
    options = {"dilations": [*params["rhs_dilation"]], "group": params["feature_group_count"]}
    options["kernel_shape"] = [kernel.shape[axis] for axis in numbers.rhs_spec[2:]]
    spread = params["lhs_dilation"]
    op, order = "Conv", tuple(numbers.rhs_spec)
    if any(step != 1 for step in spread):
        op, order = "ConvTranspose", (order[1], order[0], *order[2:])
        kernel = _flipped(kernel, numbers.rhs_spec[2:], options, params)
        reach = [size - 1 for size in options["kernel_shape"]]
        low, high = ([n - pad for n, pad in zip(reach, pads, strict=True)] for pads in (low, high))
    else:
        spread = params["window_strides"]
    options |= {"strides": [*spread], "pads": [*low, *high]}
    label = kernel.label.removesuffix(".kernel")
    weights = values.arrange(graph, kernel, order)
    (name,) = graph.add(op, [name, weights], label=label, **options)
    layout = tuple(numbers.out_spec)
    assert len(layout) == spatial + 2
    return Value(name, out.shape, out.dtype, layout, tuple(out.shape[axis] for axis in layout))


def _on_pixels(graph, x, kernel, out, numbers):
    """A 1x1 convolution of images of one pixel, as a product of vectors and a matrix.

    Runtimes rearrange the channels of images before and after each convolution.
    """
    sample, channel = numbers.lhs_spec[:2]
    vectors = x.relabeled({sample: 0, channel: 1}, (x.shape[sample], x.shape[channel]))
    vectors = values.expand(graph, vectors, (0, 1))
    name = values.arrange(graph, vectors, (0, 1))
    vectors = values.stored(name, vectors, (0, 1), vectors.shape)
    outputs, inputs = numbers.rhs_spec[:2]
    sizes = (kernel.shape[inputs], kernel.shape[outputs])
    matrix = kernel.relabeled({inputs: 0, outputs: 1}, sizes)
    sides = [_Side(vectors, (1,), ()), _Side(matrix, (0,), ())]
    shape = (vectors.shape[0], sizes[1])
    product = _by_matrix(graph, sides, jax.ShapeDtypeStruct(shape, out.dtype))
    return product.relabeled(dict(enumerate(numbers.out_spec[:2])), out.shape)


def _flipped(kernel, axes, options, params):
    """The kernel of a transposed convolution, which ONNX wants mirrored."""
    plain = (options["group"] == 1, *(step == 1 for step in params["window_strides"]))
    if not all(plain) or not kernel.is_constant or any(n != 1 for n in options["dilations"]):
        raise ValueError("a transposed convolution with a stride, groups, or dilation")
    return values.constant(np.flip(values.full_array(kernel), axes), kernel.label)


def dot_general(
    graph: Graph, inputs: list[Value], out: jax.ShapeDtypeStruct, params: dict
) -> Value:
    """A product of two arrays, summed over the axes that they contract."""
    (contract, batch) = params["dimension_numbers"]
    sides = [_Side(value, *axes) for value, *axes in zip(inputs, contract, batch, strict=True)]
    known = [side for side in sides if side.value.is_constant]
    if known and not sides[0].batch and len(sides[0].contract) == 1:
        return _by_matrix(graph, sides, out)
    return _product(graph, sides, out)


class _Side:
    """One of two arrays, and its axes: contracted, shared with the other, or its own."""

    def __init__(self, value, contract, batch):
        self.value, self.contract, self.batch = value, tuple(contract), tuple(batch)
        used = {*contract, *batch}
        self.free = tuple(axis for axis in range(len(value.shape)) if axis not in used)


def _result_axes(sides):
    """The numbers in the result of the axes of both arrays."""
    shared = len(sides[0].batch)
    split = shared + len(sides[0].free)
    starts = (shared, split)
    return [
        {
            **{axis: i for i, axis in enumerate(side.batch)},
            **{axis: start + i for i, axis in enumerate(side.free)},
        }
        for side, start in zip(sides, starts, strict=True)
    ]


def _by_matrix(graph, sides, out):
    """A product with a constant, along one axis: a 1x1 convolution or a matrix product."""
    first_known = sides[0].value.is_constant
    matrix, side = sides if first_known else reversed(sides)
    to_matrix, to_side = _result_axes(sides) if first_known else reversed(_result_axes(sides))
    (axis,), x = side.contract, values.expand(graph, side.value, side.contract)
    weights = values.full_array(matrix.value)
    weights = np.moveaxis(weights, matrix.contract[0], 0).reshape(x.shape[axis], -1)
    weights_label = matrix.value.label
    label = weights_label.removesuffix(".matrix").removesuffix(".kernel")
    layout, name = x.layout, values.name_of(graph, x)
    place = x.place(axis)
    if place == len(layout) - 2:
        (name,) = graph.add("MatMul", [graph.constant(weights.T, weights_label), name], label=label)
    elif place == 1 and len(layout) > 2:
        kernel = weights.T.reshape(*weights.T.shape, *[1] * (len(layout) - 2))
        (name,) = graph.add("Conv", [name, graph.constant(kernel, weights_label)], label=label)
    else:
        layout = (*(other for other in layout if other != axis), axis)
        name = values.arrange(graph, x, layout)
        op = "Gemm" if len(layout) == 2 else "MatMul"
        (name,) = graph.add(op, [name, graph.constant(weights, weights_label)], label=label)
        place = len(layout) - 1
    sizes = [*values.sizes_in(x, layout)]
    new = [to_matrix[i] for i in matrix.free]
    layout = [to_side.get(other) for other in layout]
    if len(new) == 1:
        layout[place], sizes[place] = new[0], weights.shape[1]
    else:
        layout[place : place + 1] = new
        sizes[place : place + 1] = [matrix.value.shape[i] for i in matrix.free]
        (name,) = graph.add("Reshape", [name, graph.sizes(sizes)])
    return Value(name, out.shape, out.dtype, tuple(layout), tuple(sizes))


def _product(graph, sides, out):
    """A product of two tensors by matrices of their own for each of the shared axes."""
    left, right = sides
    rounded = [bool(side.value.label) and not side.value.is_constant for side in sides]
    for side in sides:
        side.value = values.expand(graph, side.value, [*side.contract, *side.free])
    batch = _ordered(left, left.batch)
    contract = _ordered(left, left.contract)
    orders = []
    for side in sides:
        twins = dict(zip(left.batch + left.contract, side.batch + side.contract, strict=True))
        shared, summed = [twins[axis] for axis in batch], [twins[axis] for axis in contract]
        orders.append((shared, _ordered(side, side.free), summed))

    def layouts(side, order):
        shared, free, summed = order
        return (*shared, *free, *summed), (*shared, *summed, *free)

    rows, columns = zip(*map(layouts, sides, orders), strict=True)
    cost = [
        _moves(left, rows[0]) + _moves(right, columns[1]),
        _moves(right, rows[1]) + _moves(left, columns[0]),
    ]
    first = 0 if cost[0] <= cost[1] else 1
    if rounded[first] and not rounded[1 - first]:
        # Weights in eight bits, with a step for each output, come second: onnxruntime takes but one
        # step of what comes first, and fails when it multiplies (on x86 without VNNI).
        first = 1 - first
    names = [
        _as_matrices(graph, sides[number], orders[number], table[number], in_rows=table is rows)
        for number, table in ((first, rows), (1 - first, columns))
    ]
    (name,) = graph.add("MatMul", names)
    labels = _result_axes(sides)
    free = [[labels[i][axis] for axis in orders[i][1]] for i in (first, 1 - first)]
    shared = [labels[0][axis] for axis in batch]
    layout = (*shared, *(free[0] or [None]), *(free[1] or [None]))
    sizes = tuple(1 if axis is None else out.shape[axis] for axis in layout)
    if any(len(part) > 1 for part in free):
        (name,) = graph.add("Reshape", [name, graph.sizes(sizes)])
    return Value(name, out.shape, out.dtype, layout, sizes)


def _ordered(side, axes):
    """Axes in the order in which they are stored."""
    places = {axis: side.value.place(axis) for axis in axes}
    return sorted(axes, key=lambda axis: (places[axis] is None, places[axis] or 0, axis))


def _moves(side, layout):
    """Whether the array must be transposed for this layout."""
    real = side.value.real
    return not side.value.is_constant and [axis for axis in layout if axis in real] != real


def _as_matrices(graph, side, order, layout, *, in_rows):
    """The array as matrices (…, free, contracted) if `in_rows`, otherwise (…, contracted, free)."""
    shared, free, summed = order
    name = values.arrange(graph, side.value, layout)
    sizes = values.sizes_in(side.value, layout)
    counts = [math.prod(side.value.shape[axis] for axis in axes) for axes in (free, summed)]
    wanted = (*sizes[: len(shared)], *(counts if in_rows else counts[::-1]))
    if wanted != sizes:
        (name,) = graph.add("Reshape", [name, graph.sizes(wanted)])
    return name

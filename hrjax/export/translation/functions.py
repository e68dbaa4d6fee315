"""Functions that a traced program calls by name and that ONNX has operations for.

A translation takes the graph, the values that go in and the shape and dtype of the result; None
where the function must be translated by what it is made of.
"""

import math

import numpy as np

from hrjax.export.translation import primitives, values
from hrjax.export.translation.values import Value
from hrjax.models.layers.fake_quantization import LARGEST_BIAS, STEPS

CHANNELS_FIRST = (0, 3, 1, 2)  # of images (n, h, w, c)
POSITIVE = ("Relu", "Sigmoid", "Softmax")  # operations whose results are never negative
UNSIGNED_IF_INPUT = (  # and those that keep this so
    *("MaxPool", "AveragePool", "Reshape", "Transpose", "Resize", "Slice", "Split"),
    *("ReduceMean", "Unsqueeze", "Squeeze", "Gather"),
)
FEW = 2  # kernels of a mixture, up to which each convolves and the results are mixed


def _relu(graph, inputs, out):
    """The positive part."""
    return primitives.elementwise(graph, "Relu", inputs, out)


def _gelu(graph, inputs, out):
    """The exact GELU in the form that runtimes recognize: by erf, at the dtype of its input."""
    (x,) = inputs
    scaled = primitives.elementwise(graph, "Div", [x, primitives.like(x, math.sqrt(2))], out)
    error = primitives.elementwise(graph, "Erf", [scaled], out)
    factor = primitives.elementwise(graph, "Add", [error, primitives.like(x, 1)], out)
    product = primitives.elementwise(graph, "Mul", [x, factor], out)
    return primitives.elementwise(graph, "Mul", [product, primitives.like(x, 0.5)], out)


def _layer_norm(graph, inputs, out):
    """The channels of each pixel normalized, scaled and shifted."""
    x, scale, bias, epsilon = inputs
    channel = len(x.shape) - 1
    if not all(value.is_constant for value in (scale, bias, epsilon)):
        return None
    x = values.expand(graph, x, [channel])
    layout = (*(axis for axis in x.layout if axis != channel), channel)
    names = [values.arrange(graph, x, layout)]
    names += [graph.constant(values.full_array(v), v.label) for v in (scale, bias)]
    label = scale.label.removesuffix(".scale")
    options = {"axis": -1, "epsilon": float(epsilon.data), "label": label}
    (name,) = graph.add("LayerNormalization", names, **options)
    return Value(name, out.shape, out.dtype, layout, values.sizes_in(x, layout))


def _images(graph, x):
    """The name of a tensor of images, channels first."""
    return values.arrange(graph, values.expand(graph, x, range(4)), CHANNELS_FIRST)


def _reshape(graph, name, *sizes):
    """The name of a tensor in another shape."""
    return graph.add("Reshape", [name, graph.sizes(sizes)])[0]


def _on_images(graph, x, out, op, extra=(), **attributes):
    """An operation on images that may change their size."""
    (name,) = graph.add(op, [_images(graph, x), *extra], **attributes)
    sizes = tuple(out.shape[axis] for axis in CHANNELS_FIRST)
    return Value(name, out.shape, out.dtype, CHANNELS_FIRST, sizes)


def _resizing(**attributes):
    """The translation of a resizing to the size of the result."""

    def translate(graph, inputs, out):
        (x,) = inputs
        if x.shape == out.shape:
            return x
        factors = [b / a for a, b in zip(x.shape[1:3], out.shape[1:3], strict=True)]
        scales = graph.constant(np.array([1, 1, *factors], np.float32), "scales")
        return _on_images(graph, x, out, "Resize", ["", scales], **attributes)

    return translate


def _max_pool(graph, inputs, out):
    """Maxima of 3x3 windows at stride 2."""
    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    return _on_images(graph, inputs[0], out, "MaxPool", **window)


def _average_pool(graph, inputs, out):
    """Means of cells that do not overlap."""
    (x,) = inputs
    sizes = [*zip(x.shape[1:3], out.shape[1:3], strict=True)]
    if any(a % b for a, b in sizes):
        return None
    cell = [a // b for a, b in sizes]
    if cell == [1, 1]:
        return x
    return _on_images(graph, x, out, "AveragePool", kernel_shape=cell, strides=cell)


def _softmax_mean(graph, inputs, out):
    """The mean of an image's pixels, weighted by a softmax: their product with one vector."""
    x, logits = inputs
    n, height, width, channels = x.shape
    logits = _reshape(graph, _images(graph, logits), n, height * width)
    (weights,) = graph.add("Softmax", [logits], axis=1)
    names = [_reshape(graph, _images(graph, x), n, channels, height * width)]
    names += [_reshape(graph, weights, n, height * width, 1)]
    (name,) = graph.add("MatMul", names)
    return Value(name, out.shape, out.dtype, (0, 1, None), (n, channels, 1))


def _convolve_mixture(graph, inputs, out):
    """A convolution of each sample with its own mixture of kernels.

    1x1 kernels are mixed first, since a product with an own matrix for each sample is as fast as
    with one for all. Few depthwise kernels, or with a stride, are faster the other way round: the
    images are convolved with each kernel, and the results are mixed.
    """
    x, weights, kernels = inputs
    size = kernels.shape[1]
    stride = round(x.shape[1] / out.shape[1])
    if not kernels.is_constant or (size == 1 and stride > 1):
        return None
    images = _images(graph, x)
    sizes = tuple(out.shape[axis] for axis in CHANNELS_FIRST)
    if size > 1 and (stride > 1 or kernels.shape[0] <= FEW):
        name = _mixed_results(graph, images, weights, kernels, stride)
    else:
        name = _reshape(graph, _mixed_kernels(graph, images, x.shape, weights, kernels), *sizes)
    return Value(name, out.shape, out.dtype, CHANNELS_FIRST, sizes)


def _window(kernels, stride):
    """The attributes of a depthwise convolution, and the kernels in ONNX's order."""
    size, outputs = kernels.shape[1], kernels.shape[4]
    window = {"pads": [size // 2] * 4, "strides": [stride] * 2, "kernel_shape": [size] * 2}
    options = {"label": kernels.label.removesuffix(".kernels"), "group": outputs, **window}
    return options, values.full_array(kernels).transpose(0, 4, 3, 1, 2)


def _mixed_results(graph, images, weights, kernels, stride):
    """The sum of the images convolved with each kernel, times its weight."""
    options, arrays = _window(kernels, stride)
    count = len(arrays)
    factors = values.arrange(graph, weights, (0, 1, None, None))
    factors = graph.add("Split", [factors, graph.integers([1] * count)], count=count, axis=1)
    total = None
    for array, factor in zip(arrays, factors, strict=True):
        names = [images, graph.constant(array, kernels.label)]
        part = graph.add("Mul", [*graph.add("Conv", names, **options), factor])
        total = graph.add("Add", [*total, *part]) if total else part
    return total[0]


def _mixed_kernels(graph, images, shape, weights, kernels):
    """The images convolved with the sum of the kernels, each times its weight.

    ONNX's groups are constants: the channels of a fixed number of samples are those of one image,
    any number of samples is convolved one by one.
    """
    n, height, width, channels = shape
    options, arrays = _window(kernels, 1)
    _, outputs, per_group, size, _ = arrays.shape
    table = graph.constant(arrays.reshape(len(arrays), -1), kernels.label)
    (mixed,) = graph.add("MatMul", [values.arrange(graph, weights, (0, 1)), table])
    if size == 1:
        pixels = _reshape(graph, images, n, channels, height * width)
        names = [_reshape(graph, mixed, n, outputs, channels), pixels]
        return graph.add("MatMul", names, label=options["label"])[0]
    if graph.samples:
        pixels = _reshape(graph, images, 1, n * channels, height, width)
        names = [pixels, _reshape(graph, mixed, n * outputs, per_group, size, size)]
        return graph.add("Conv", names, **{**options, "group": graph.samples * outputs})[0]
    shapes = (1, channels, height, width), (outputs, per_group, size, size)
    names = [_reshape(graph, x, n, *y) for x, y in zip((images, mixed), shapes, strict=True)]
    shapes = (*shapes, (1, outputs, height, width))
    return graph.for_each_sample("Conv", names, shapes, kernels.dtype, **options)[0]


def _quantize_activations(graph, inputs, out):
    """Activations rounded to eight bits on either side of zero, clipped first where that matters.

    What is above the scale becomes 127 in any case, but what is below it would become -128.
    """
    x, alpha, scale = inputs
    bound, highest = min(float(alpha.data), float(scale.data)), float(scale.data)
    if bound < highest or not _is_positive(graph, x):
        limits = [graph.constant(np.asarray(n, out.dtype), "bound") for n in (-bound, bound)]
        (name,) = graph.add("Clip", [values.name_of(graph, x), *limits])
        x = values.stored(name, x, x.layout, x.sizes)
    step = graph.constant(scale.data.astype(out.dtype) / out.dtype.type(STEPS), "step")
    around = [step, graph.constant(np.zeros((), np.int8), "zero")]
    (levels,) = graph.add("QuantizeLinear", [values.name_of(graph, x), *around])
    (name,) = graph.add("DequantizeLinear", [levels, *around])
    return values.stored(name, x, x.layout, x.sizes)


def _is_positive(graph, x):
    """Whether a tensor cannot be negative, as far as the operations around tell that make it."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    node = makers.get(values.name_of(graph, x))
    while node and node.op in UNSIGNED_IF_INPUT:
        node = makers.get(node.inputs[0])
    return node is not None and node.op in POSITIVE


def _quantize_weights(graph, inputs, out):
    """Weights as constants of eight bits with a step for each output channel."""
    (weights,) = inputs
    if not weights.is_constant:
        return None
    array = values.full_array(weights)
    layout = (array.ndim - 1, array.ndim - 2, *range(array.ndim - 2))
    array = array.transpose(layout)
    steps = np.abs(array).reshape(len(array), -1).max(1) / array.dtype.type(STEPS)
    ratio = array / np.where(steps > 0, steps, 1).reshape(-1, *[1] * (array.ndim - 1))
    levels = np.trunc(ratio + np.copysign(0.5, ratio)).astype(np.int8)
    names = [graph.constant(levels, weights.label), graph.constant(steps, f"{weights.label}.step")]
    # Of their own: where onnxruntime makes weights unsigned (on x86 without VNNI), it fails if two
    # kernels share them.
    zeros = graph.constant(np.zeros(len(array), np.int8), f"{weights.label}.zeros", owner=names[0])
    (name,) = graph.add("DequantizeLinear", [*names, zeros], axis=0)
    return Value(name, out.shape, out.dtype, layout, array.shape, weights.label)


def _quantize_bias(graph, inputs, out):
    """Biases of convolutions as numbers; `simplify` makes integers of them."""
    if not all(value.is_constant for value in inputs):
        return None
    bias, weights, scale = map(values.full_array, inputs)
    steps = np.abs(weights).reshape(-1, len(bias)).max(0) / weights.dtype.type(STEPS)
    steps *= scale / scale.dtype.type(STEPS)
    levels = np.rint(np.divide(bias, steps, out=np.zeros_like(bias), where=steps > 0))
    fits = (steps > 0) & (np.abs(levels) < LARGEST_BIAS)
    return values.constant(np.where(fits, levels * steps, bias), inputs[0].label)


KNOWN = {
    "quantize_bias": _quantize_bias,
    "quantize_activations": _quantize_activations,
    "quantize_weights": _quantize_weights,
    "convolve_mixture": _convolve_mixture,
    "softmax_mean": _softmax_mean,
    "relu": _relu,
    "gelu": _gelu,
    "layer_norm": _layer_norm,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "nearest": _resizing(
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "bilinear_align_corners": _resizing(
        mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "bilinear_half_pixel": _resizing(mode="linear", coordinate_transformation_mode="half_pixel"),
}

"""How products, norms, GELU and long chains of blocks are computed: what speed depends on.

Each function is exact; only the way to the result depends on the backend. The longer halves of
derivatives written by hand are under jit, which saves 40% of a training step's tracing.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata


def convolve(x, kernel, *, stride: int, groups: int, dilation: int = 1):
    """`x` (n, h, w, c) convolved with `kernel` (k, k, c / groups, outputs), padded by k // 2.

    With a `dilation` the kernel's taps are that many pixels apart, and the padding grows with it.

    Here alone is decided how convolutions are computed. A 1x1 is a matrix product everywhere. On
    GPU and TPU the rest is left to XLA. XLA's CPU backend is near the peak on dense convolutions,
    but 15 to 50 times slower than PyTorch on grouped ones: depthwise ones become shifted
    multiply-adds there, and other grouped ones a dense convolution for each group.
    """
    size, _, _, outputs = kernel.shape
    if size == 1 and groups == 1:
        return multiply(x[:, ::stride, ::stride], kernel[0, 0])
    if groups == 1 or jax.default_backend() != "cpu":
        return _xla_convolve(x, kernel, stride, groups, dilation)
    if groups == x.shape[-1] == outputs:
        return _depthwise(x, kernel[:, :, 0], stride, dilation)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_xla_convolve(*part, stride, 1, dilation) for part in parts], axis=-1)


@jax.custom_vjp
def multiply(x, matrix):
    """`x` (…, i) times `matrix` (i, o): what 1x1 convolutions and linear layers are."""
    return x @ matrix


def _multiply_forward(x, matrix):
    return x @ matrix, (x, matrix)


def _multiply_backward(saved, gradient):
    x, matrix = saved
    columns = _multiply_columns(_as_rows(x), _as_rows(gradient))
    return gradient @ matrix.T, columns.astype(matrix.dtype)


def _as_rows(x):
    return x.reshape(-1, x.shape[-1])


def _multiply_columns(x, y):
    """`x` (n, i) transposed times `y` (n, o).

    By itself XLA's CPU backend first writes one of them down transposed, column by column, together
    with whatever computes it, which takes up to thirty times as long as the product. Not so if that
    stands behind a wall; and the product is twice as fast with the narrower one first.
    """
    rows = (((0,), (0,)), ((), ()))
    if jax.default_backend() != "cpu":
        return lax.dot_general(x, y, rows)
    if x.shape[1] <= y.shape[1]:
        return lax.dot_general(_wall(x), y, rows)
    return _wall(lax.dot_general(_wall(y), x, rows)).T


multiply.defvjp(_multiply_forward, _multiply_backward)


def convolve_each(x, kernels, *, stride: int, groups: int):
    """`convolve` with each sample's own of `kernels` (n, k, k, c / groups, outputs).

    They must be 1x1 (one batched matrix product) or depthwise (shifted multiply-adds, on all
    backends: no convolution of XLA's takes a kernel for each sample).
    """
    size = kernels.shape[1]
    if size == 1 and groups == 1:
        return jax.vmap(multiply)(x[:, ::stride, ::stride], kernels[:, 0, 0])
    if not groups == x.shape[-1] == kernels.shape[-1]:
        raise ValueError(
            f"kernels for each sample must be 1x1 or depthwise, not {size}x{size} in {groups} "
            f"groups from {x.shape[-1]} to {kernels.shape[-1]} channels"
        )
    return _depthwise(x, jnp.moveaxis(kernels, 0, 2)[:, :, :, None], stride, 1)


def convolve_transposed(x, kernel):
    """`x` enlarged twice by the transpose of a 4x4 convolution of stride 2, padded by 1.

    `kernel` is (4, 4, c, outputs), not mirrored. On CPU the outputs at even and at odd rows and
    columns are four 2x2 convolutions: XLA's backend there would multiply by the zeros between the
    pixels, and takes up to a hundred times as long for the gradients.
    """
    kernel = kernel[::-1, ::-1]
    if jax.default_backend() != "cpu":
        return _padded_convolve(x, kernel, ((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def phase(row, column):
        pad = ((1 - row, row), (1 - column, column))
        return _padded_convolve(x, kernel[row::2, column::2], pad)

    rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
    n, height, width, _ = x.shape
    return jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, -1)


def _xla_convolve(x, kernel, stride, groups, dilation):
    pad = (kernel.shape[0] // 2 * dilation,) * 2
    options = {"rhs_dilation": (dilation, dilation), "feature_group_count": groups}
    return _padded_convolve(x, kernel, (pad, pad), window_strides=(stride, stride), **options)


def _padded_convolve(x, kernel, padding, *, window_strides=(1, 1), **options):
    options["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, window_strides, padding, **options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, stride, dilation):
    """Depthwise convolution as a sum of shifted products, which XLA fuses into one loop.

    `kernel` is (k, k, c), or (k, k, n, 1, 1, c) with taps of its own for each sample. Sums in
    float32 or better and returns the dtype of `x`.
    """
    taps = _shifted(x.astype(_exact(x)), kernel.shape[0], stride, dilation)
    return sum(tap * kernel[i, j] for (i, j), tap in taps.items()).astype(x.dtype)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _depthwise_forward(x, kernel, stride, dilation):
    return _depthwise(x, kernel, stride, dilation), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _depthwise_backward(stride, dilation, saved, gradient):
    x, kernel = saved
    size = kernel.shape[0]
    # Otherwise XLA computes the gradient anew for each row of taps.
    gradient = settle(gradient)
    taps = _shifted(x.astype(_exact(x)), size, stride, dilation)
    products = [tap * gradient for tap in taps.values()]
    axes = (0, 1, 2) if kernel.ndim == 3 else (1, 2)
    sums = [
        total
        for row in range(0, len(products), size)
        for total in _sum_together(products[row : row + size], axes)
    ]
    kernel_gradient = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
    # What the strided slices skipped got no gradient: put it back between the rows and columns.
    spread = [(0, 0, 0), *((0, (n - 1) % stride, stride - 1) for n in x.shape[1:3]), (0, 0, 0)]
    gradient = lax.pad(gradient, np.zeros((), x.dtype), spread)
    return _depthwise(gradient, kernel[::-1, ::-1], 1, dilation), kernel_gradient


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _exact(x):
    return jnp.promote_types(x.dtype, jnp.float32)


def _sum_together(arrays, axes):
    """The sums of arrays (n, h, w, c) over `axes`, h and w among them, in one go over their terms.

    XLA's CPU backend computes a reduction of several arrays sum by sum, without vector
    instructions, unless it is short enough to be unrolled. So there up to eight rows are added
    first, which leaves images an eighth as high that it adds up fast: a fifth of the time in all.
    """
    if jax.default_backend() != "cpu":
        return [jnp.sum(x, axes) for x in arrays]
    height = arrays[0].shape[1]
    rows = next(rows for rows in range(8, 0, -1) if height % rows == 0)
    split = [x.reshape(x.shape[0], height // rows, rows, *x.shape[2:]) for x in arrays]
    zeros = [np.zeros((), x.dtype) for x in arrays]
    return [jnp.sum(part, axes) for part in lax.reduce(split, zeros, _add_all, (2,))]


def _add_all(first, second):
    return [a + b for a, b in zip(first, second, strict=True)]


def _shifted(x, size, stride, dilation):
    """The input under each tap (i, j) of a `size` x `size` kernel, at every output position."""
    n, height, width, channels = x.shape
    pad = size // 2 * dilation
    rows, columns = (height - 1) // stride * stride + 1, (width - 1) // stride * stride + 1
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    offsets = range(0, size * dilation, dilation)
    return {
        (i, j): lax.slice(
            x, (0, top, left, 0), (n, top + rows, left + columns, channels), (1, stride, stride, 1)
        )
        for (i, top), (j, left) in itertools.product(enumerate(offsets), repeat=2)
    }


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def standardize(x, scale, bias, epsilon):
    """`x` with the given scale and bias in place of its own, and the mean and variance it had.

    The mean and the variance are for running statistics: no gradient flows through them.
    """
    mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    return (x - mean) * (scale * lax.rsqrt(var + epsilon)) + bias, mean, var


@functools.partial(jax.jit, static_argnums=3)
def _standardize_forward(x, scale, bias, epsilon):
    y, mean, var = standardize(x, scale, bias, epsilon)
    return (y, mean, var), (x, scale, mean, lax.rsqrt(var + epsilon))


@functools.partial(jax.jit, static_argnums=0)
def _standardize_backward(epsilon, saved, gradients):
    # By hand, since autodiff makes five passes over the images where two sums say everything: a
    # training step of widehrnet_18 takes 40% less time and 30% less memory.
    x, scale, mean, factor = saved
    gradient, _, _ = gradients
    count = x.size // x.shape[-1]
    bias_gradient, product = _sum_together([gradient, gradient * x], (0, 1, 2))
    scale_gradient = factor * (product - mean * bias_gradient)
    shared = bias_gradient + (x - mean) * (factor * scale_gradient)
    return scale * factor * (gradient - shared / count), scale_gradient, bias_gradient


standardize.defvjp(_standardize_forward, _standardize_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def standardize_pixels(x, scale, bias, epsilon):
    """`x` with the given scale and bias for the mean and variance over the channels of a pixel."""
    centred, factor = _pixel_statistics(x, epsilon)
    return centred * factor * scale + bias


def _pixel_statistics(x, epsilon):
    """`x` less its mean, and one by its standard deviation, in each pixel."""
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred, lax.rsqrt(jnp.mean(jnp.square(centred), -1, keepdims=True) + epsilon)


@functools.partial(jax.jit, static_argnums=3)
def _standardize_pixels_forward(x, scale, bias, epsilon):
    return standardize_pixels(x, scale, bias, epsilon), (x, scale)


@functools.partial(jax.jit, static_argnums=0)
def _standardize_pixels_backward(epsilon, saved, gradient):
    # By hand, since autodiff keeps the scale and the factor as large as the images.
    x, scale = saved
    centred, factor = _pixel_statistics(x, epsilon)
    y = centred * factor
    pixels = tuple(range(x.ndim - 1))
    inner = gradient * scale
    shared = jnp.mean(inner, -1, keepdims=True) + y * jnp.mean(inner * y, -1, keepdims=True)
    return factor * (inner - shared), jnp.sum(gradient * y, pixels), jnp.sum(gradient, pixels)


standardize_pixels.defvjp(_standardize_pixels_forward, _standardize_pixels_backward)


@jax.custom_vjp
def gelu(x):
    """The exact GELU, in float32 or better."""
    y = x.astype(_exact(x))
    return (y * _normal_share(y)).astype(x.dtype)


def _normal_share(y):
    """How much of the standard normal distribution lies below `y`."""
    # By erf as PyTorch has it; jax.nn.gelu's erfc takes half as long again.
    return 0.5 + 0.5 * lax.erf(y * math.sqrt(0.5))


@jax.jit
def _gelu_forward(x):
    return gelu(x), x


@jax.jit
def _gelu_backward(x, gradient):
    # By hand, so that nothing is kept but `x`.
    y = x.astype(_exact(x))
    density = jnp.exp(-0.5 * jnp.square(y)) * (1 / math.sqrt(2 * math.pi))
    return (((_normal_share(y) + y * density) * gradient).astype(x.dtype),)


gelu.defvjp(_gelu_forward, _gelu_backward)


def settle(x):
    """`x` itself; on CPU, behind a wall that XLA does not fuse across, in both directions.

    Along a chain of residual blocks XLA's CPU backend recomputes the whole chain before each
    convolution that reads it and before each weight gradient, so that time grows with the square
    of the depth. With a wall after each block, a training step of 24 basic blocks takes a quarter
    of the time, evaluating hrnet_w32 a fifth less and compiling that a seventh. XLA sees through
    `lax.optimization_barrier` and `jax.checkpoint`, but not through a call of a function that it is
    told not to inline.
    """
    return _settle(x) if jax.default_backend() == "cpu" else x


def _wall(x):
    with set_xla_metadata(inlineable="false"):
        return _same(x)


@jax.jit
def _same(x):
    with set_xla_metadata(inlineable=None):  # the call's, not the barrier's
        return lax.optimization_barrier(x)


_settle = jax.custom_vjp(_wall)
_settle.defvjp(lambda x: (_wall(x), None), lambda _, gradient: (_wall(gradient),))

"""How each backend computes convolutions, matrix products, sums and long chains of blocks.

All functions are exact; only the way to the result depends on the `target_platform`. The longer
halves of handwritten derivatives are under jit, which saves 40% of the time to trace a training
step.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.xla_metadata import set_xla_metadata

from hrjax.models.layers.target import kept_whole, target_platform

Padding = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int, groups: int, dilation: int = 1
) -> jax.Array:
    """`x` (n, h, w, c) convolved with `kernel` (k, k, c / groups, outputs), padded by k // 2.

    With a `dilation` the kernel's taps are that many pixels apart, and the padding grows with it.

    This function alone decides how convolutions are computed. A 1x1 convolution is a matrix product
    everywhere. On GPU and TPU the rest is left to XLA, except for depthwise convolutions on GPU
    that need no gradient, and the gradients of their inputs: as shifted multiply-adds these share a
    kernel with their neighbors, where cuDNN's are kernels of their own. XLA's CPU backend is near
    peak speed on dense convolutions, but not on the gradients of their kernels, which are matrix
    products here, and 15 to 50 times slower than PyTorch on grouped convolutions: depthwise ones
    become shifted multiply-adds, other grouped ones a dense convolution for each group. ONNX has
    convolutions of every kind.
    """
    size, _, _, outputs = kernel.shape
    pad = (size // 2 * dilation,) * 2
    if size == 1 and groups == 1 and target_platform() != "onnx":
        if target_platform() == "gpu" and x.shape[1:3] == (1, 1):
            return _small_product(x, kernel[0, 0])
        return matmul(x[:, ::stride, ::stride], kernel[0, 0])
    depthwise = groups == x.shape[-1] == outputs
    if target_platform() == "gpu" and depthwise:
        return _depthwise_on_gpu(x, kernel, stride, dilation)
    if target_platform() != "cpu":
        options = {"rhs_dilation": (dilation, dilation), "feature_group_count": groups}
        return _xla_convolve(x, kernel, stride, (pad, pad), **options)
    if groups == 1:
        return _dense(x, kernel, stride, (pad, pad), dilation)
    if depthwise:
        return _depthwise(x, kernel[:, :, 0], stride, dilation)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_dense(*part, stride, (pad, pad), dilation) for part in parts], axis=-1)


@jax.custom_vjp
def matmul(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """`x` (…, i) times `matrix` (i, o), as 1x1 convolutions and linear layers need it."""
    return x @ matrix


def _matmul_forward(x, matrix):
    return x @ matrix, (x, matrix)


def _matmul_backward(saved, gradient):
    x, matrix = saved
    product = _transposed_product(_as_rows(x), _as_rows(gradient))
    return gradient @ matrix.T, product.astype(matrix.dtype)


def _small_product(x, matrix):
    """`matmul` of a row for each image, where cuBLAS needs channels padded to multiples of 8.

    As sums of products it shares kernels with its neighbors. For matrices this small, a training
    step of litehrnet_18 had about 200 kernels of padding.
    """
    dtype = accumulation_dtype(x)
    product = jnp.sum(x[..., None].astype(dtype) * matrix.astype(dtype), -2)
    return product.astype(x.dtype)


def _as_rows(x):
    return x.reshape(-1, x.shape[-1])


def _transposed_product(x, y):
    """`x` (n, i) transposed times `y` (n, o).

    Left alone, XLA's CPU backend first writes a transposed copy of one operand, column by column,
    fused with whatever computes it, which takes up to thirty times as long as the product. A fusion
    barrier prevents that; and the product is twice as fast with the narrower operand first.
    """
    rows = (((0,), (0,)), ((), ()))
    if target_platform() != "cpu":
        return lax.dot_general(x, y, rows)
    if x.shape[1] <= y.shape[1]:
        return lax.dot_general(_identity_call(x), y, rows)
    return _identity_call(lax.dot_general(_identity_call(y), x, rows)).T


matmul.defvjp(_matmul_forward, _matmul_backward)


@kept_whole("stride", "groups")
def convolve_mixture(
    x: jax.Array, weights: jax.Array, kernels: jax.Array, *, stride: int, groups: int
) -> jax.Array:
    """`convolve` of each sample with a sum of `kernels` (K, k, k, c / groups, outputs).

    `weights` (n, K) are those of the sum, different for each sample.
    """
    mixed = jnp.tensordot(weights, kernels, 1)
    return convolve_per_sample(x, mixed, stride=stride, groups=groups)


def convolve_per_sample(x: jax.Array, kernels: jax.Array, *, stride: int, groups: int) -> jax.Array:
    """`convolve` with a kernel for each sample, `kernels` (n, k, k, c / groups, outputs).

    They must be 1x1 (one batched matrix product) or depthwise (shifted multiply-adds on all
    backends, since none of XLA's convolutions takes a kernel for each sample).
    """
    size = kernels.shape[1]
    if size == 1 and groups == 1:
        return jax.vmap(matmul)(x[:, ::stride, ::stride], kernels[:, 0, 0])
    if not groups == x.shape[-1] == kernels.shape[-1]:
        raise ValueError(
            f"kernels for each sample must be 1x1 or depthwise, not {size}x{size} in {groups} "
            f"groups from {x.shape[-1]} to {kernels.shape[-1]} channels"
        )
    return _depthwise(x, jnp.moveaxis(kernels, 0, 2)[:, :, :, None], stride, 1)


def convolve_transposed(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`x` at twice its size, by the transpose of a 4x4 convolution with stride 2 and padding 1.

    `kernel` is (4, 4, c, outputs), not mirrored. On CPU the outputs at even and at odd rows and
    columns are four 2x2 convolutions: XLA's CPU backend would multiply by the zeros between the
    pixels, and takes up to a hundred times as long for the gradients.
    """
    kernel = kernel[::-1, ::-1]
    if target_platform() != "cpu":
        return _xla_convolve(x, kernel, 1, ((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def phase(row, column):
        pad = ((1 - row, row), (1 - column, column))
        return _dense(x, kernel[row::2, column::2], 1, pad, 1)

    rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
    n, height, width, _ = x.shape
    return jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, -1)


def _xla_convolve(x, kernel, stride, padding: Padding, **options):
    options["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, **options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dense(x, kernel, stride, padding: Padding, dilation):
    """A convolution of all channels."""
    return _xla_convolve(x, kernel, stride, padding, rhs_dilation=(dilation, dilation))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _dense_forward(x, kernel, stride, padding, dilation):
    return _dense(x, kernel, stride, padding, dilation), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _dense_backward(stride, padding, dilation, saved, gradient):
    x, kernel = saved
    # Together, or XLA would copy the taps of `x` long before there is a gradient.
    x, gradient = _identity_call((x, gradient))
    options = {"stride": stride, "padding": padding, "rhs_dilation": (dilation, dilation)}
    transposed = jax.linear_transpose(lambda x: _xla_convolve(x, kernel, **options), x)
    (input_gradient,) = transposed(gradient)
    product = _dense_kernel_gradient(x, gradient, kernel.shape[0], stride, padding, dilation)
    return input_gradient, product.astype(kernel.dtype)


def _dense_kernel_gradient(x, gradient, size, stride, padding, dilation):
    """The gradient of a dense kernel (size, size, inputs, outputs), by matrix products.

    XLA's CPU backend computes it as a convolution with kernels as large as images, at a third of
    the speed. At stride 1 a single product suffices: `x` is shifted along the rows, and the
    gradient along the columns, in the opposite direction. With a stride that is impossible, and it
    takes one product for each row of taps.
    """
    inputs, outputs = x.shape[-1], gradient.shape[-1]
    if stride > 1:
        taps = list(_taps(x, size, stride, padding, dilation).values())
        rows = [jnp.concatenate(taps[row : row + size], -1) for row in range(0, size**2, size)]
        products = [_transposed_product(_as_rows(row), _as_rows(gradient)) for row in rows]
        return jnp.stack(products).reshape(size, size, inputs, outputs)
    (top, bottom), (left, right) = padding
    reach = (size - 1) * dilation
    x = jnp.pad(x, ((0, 0), (0, 0), (left, right), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (reach - top, reach - bottom), (0, 0), (0, 0)))
    columns = _axis_taps(x, 2, size, 1, dilation)
    rows = _axis_taps(gradient, 1, size, 1, dilation)[::-1]
    operands = (_as_rows(jnp.concatenate(taps, -1)) for taps in (columns, rows))
    product = _transposed_product(*operands)
    return product.reshape(size, inputs, size, outputs).transpose(2, 0, 1, 3)


_dense.defvjp(_dense_forward, _dense_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, stride, dilation):
    """Depthwise convolution as a sum of shifted products, which XLA fuses into one loop.

    `kernel` is (k, k, c), or (k, k, n, 1, 1, c) with different taps for each sample. Sums in
    float32 or better and returns the dtype of `x`.
    """
    taps = _depthwise_taps(x, kernel, stride, dilation)
    return sum(tap * kernel[i, j] for (i, j), tap in taps.items()).astype(x.dtype)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _depthwise_forward(x, kernel, stride, dilation):
    return _depthwise(x, kernel, stride, dilation), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _depthwise_backward(stride, dilation, saved, gradient):
    x, kernel = saved
    size = kernel.shape[0]
    # Otherwise XLA computes the gradient again for each row of taps.
    gradient = fusion_barrier(gradient)
    taps = _depthwise_taps(x, kernel, stride, dilation)
    products = [tap * gradient for tap in taps.values()]
    axes = (0, 1, 2) if kernel.ndim == 3 else (1, 2)
    sums = [
        total
        for row in range(0, len(products), size)
        for total in sum_together(products[row : row + size], axes)
    ]
    kernel_gradient = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
    return _depthwise_input_gradient(x, kernel, gradient, stride, dilation), kernel_gradient


def _depthwise_input_gradient(x, kernel, gradient, stride, dilation):
    # The pixels that the strides skipped have no gradient: zeros between the rows and columns.
    spread = [(0, 0, 0), *((0, (n - 1) % stride, stride - 1) for n in x.shape[1:3]), (0, 0, 0)]
    gradient = lax.pad(gradient, np.zeros((), x.dtype), spread)
    return _depthwise(gradient, kernel[::-1, ::-1], 1, dilation)


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise_on_gpu(x, kernel, stride, dilation):
    """Shifted products; where a gradient is taken, XLA's convolution and gradient of the kernel.

    cuDNN's gradient of the input would take a mirrored copy of each kernel, and of each gradient a
    padded one where there is a stride.
    """
    return _depthwise(x, kernel[:, :, 0], stride, dilation)


def _depthwise_on_gpu_forward(x, kernel, stride, dilation):
    return _xla_depthwise(stride, dilation, x, kernel), (x, kernel)


def _depthwise_on_gpu_backward(stride, dilation, saved, gradient):
    x, kernel = saved
    transposed = jax.linear_transpose(
        lambda kernel: _xla_depthwise(stride, dilation, x, kernel), kernel
    )
    (kernel_gradient,) = transposed(gradient)
    return _depthwise_input_gradient(
        x, kernel[:, :, 0], gradient, stride, dilation
    ), kernel_gradient


_depthwise_on_gpu.defvjp(_depthwise_on_gpu_forward, _depthwise_on_gpu_backward)


def _xla_depthwise(stride, dilation, x, kernel):
    pad = (kernel.shape[0] // 2 * dilation,) * 2
    options = {"rhs_dilation": (dilation, dilation), "feature_group_count": x.shape[-1]}
    return _xla_convolve(x, kernel, stride, (pad, pad), **options)


def _depthwise_taps(x, kernel, stride, dilation):
    size = kernel.shape[0]
    pad = (size // 2 * dilation,) * 2
    return _taps(x.astype(accumulation_dtype(x)), size, stride, (pad, pad), dilation)


def accumulation_dtype(x: jax.Array) -> np.dtype:
    """The dtype in which to sum values of `x`: float32 or better."""
    return jnp.promote_types(x.dtype, jnp.float32)


def sum_together(arrays: Sequence[jax.Array], axes: tuple[int, ...]) -> list[jax.Array]:
    """The sums of arrays (n, h, w, c) over `axes`, which include h and w, in one pass.

    On a GPU they are one reduction of several operands, because XLA merges separate ones only in
    part: large sums take two kernels one after the other, and the second ones stayed apart.

    XLA's CPU backend computes a reduction of several arrays one sum at a time, without vector
    instructions, unless it is short enough to be unrolled. So on CPU up to eight rows are added
    first, which leaves images an eighth as high that it sums quickly: a fifth of the time in all.
    """
    zeros = [np.zeros((), x.dtype) for x in arrays]
    if target_platform() == "gpu":
        return list(lax.reduce(list(arrays), zeros, _add_all, axes))
    if target_platform() != "cpu":
        return [jnp.sum(x, axes) for x in arrays]
    height = arrays[0].shape[1]
    rows = next(rows for rows in range(8, 0, -1) if height % rows == 0)
    split = [x.reshape(x.shape[0], height // rows, rows, *x.shape[2:]) for x in arrays]
    return [jnp.sum(part, axes) for part in lax.reduce(split, zeros, _add_all, (2,))]


def _add_all(first, second):
    return [a + b for a, b in zip(first, second, strict=True)]


def _taps(x, size, stride, padding: Padding, dilation):
    """The input under each tap (i, j) of a `size` x `size` kernel, at every output position."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return {
        (i, j): tap
        for i, row in enumerate(_axis_taps(x, 1, size, stride, dilation))
        for j, tap in enumerate(_axis_taps(row, 2, size, stride, dilation))
    }


def _axis_taps(x, axis, size, stride, dilation):
    """The part of `x` under each of `size` taps along an axis."""
    length = x.shape[axis] - (size - 1) * dilation
    starts = range(0, size * dilation, dilation)
    return [lax.slice_in_dim(x, start, start + length, stride, axis) for start in starts]


def fusion_barrier(x: Any) -> Any:
    """`x` unchanged; on CPU, XLA does not fuse across this point, forward or backward.

    Along a chain of residual blocks XLA's CPU backend recomputes the whole chain before each
    convolution that reads it and before each weight gradient, so that the time grows with the
    square of the depth. With a barrier after each block, a training step of 24 basic blocks takes a
    quarter of the time, evaluating hrnet_w32 a fifth less, and compiling it a seventh. XLA sees
    through `lax.optimization_barrier` and `jax.checkpoint`, but not through a call of a function
    that it is told not to inline.
    """
    return _differentiable_call(x) if target_platform() == "cpu" else x


def _identity_call(x):
    with set_xla_metadata(inlineable="false"):
        return _identity(x)


@jax.jit
def _identity(x):
    with set_xla_metadata(inlineable=None):  # the attribute is the call's, not the barrier's
        return lax.optimization_barrier(x)


_differentiable_call = jax.custom_vjp(_identity_call)
_differentiable_call.defvjp(
    lambda x: (_identity_call(x), None), lambda _, gradient: (_identity_call(gradient),)
)

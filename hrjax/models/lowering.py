"""How convolutions, matrix products and long chains of blocks are computed on which backend.

Each function is exact; only the way to the result depends on the backend. The longer halves of
derivatives written by hand are under jit, which saves 40% of a training step's tracing.
"""

import functools

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
    but not on their kernels' gradients, which are matrix products there, and 15 to 50 times slower
    than PyTorch on grouped ones: depthwise ones become shifted multiply-adds, and other grouped
    ones a dense convolution for each group.
    """
    size, _, _, outputs = kernel.shape
    if size == 1 and groups == 1:
        return multiply(x[:, ::stride, ::stride], kernel[0, 0])
    pad = (size // 2 * dilation,) * 2
    if jax.default_backend() != "cpu":
        options = {"rhs_dilation": (dilation, dilation), "feature_group_count": groups}
        return _xla_convolve(x, kernel, stride, (pad, pad), **options)
    if groups == 1:
        return _dense(x, kernel, stride, (pad, pad), dilation)
    if groups == x.shape[-1] == outputs:
        return _depthwise(x, kernel[:, :, 0], stride, dilation)
    parts = zip(jnp.split(x, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([_dense(*part, stride, (pad, pad), dilation) for part in parts], axis=-1)


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
        return _xla_convolve(x, kernel, 1, ((2, 2), (2, 2)), lhs_dilation=(2, 2))

    def phase(row, column):
        pad = ((1 - row, row), (1 - column, column))
        return _dense(x, kernel[row::2, column::2], 1, pad, 1)

    rows = [jnp.stack([phase(row, 0), phase(row, 1)], axis=3) for row in (0, 1)]
    n, height, width, _ = x.shape
    return jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, -1)


def _xla_convolve(x, kernel, stride, padding, **options):
    options["dimension_numbers"] = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, **options)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _dense(x, kernel, stride, padding, dilation):
    """A convolution of all channels, `padding` ((top, bottom), (left, right))."""
    return _xla_convolve(x, kernel, stride, padding, rhs_dilation=(dilation, dilation))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _dense_forward(x, kernel, stride, padding, dilation):
    return _dense(x, kernel, stride, padding, dilation), (x, kernel)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _dense_backward(stride, padding, dilation, saved, gradient):
    x, kernel = saved
    # Together, or XLA would make the rows of `x` long before there is a gradient.
    x, gradient = _wall((x, gradient))
    options = {"stride": stride, "padding": padding, "rhs_dilation": (dilation, dilation)}
    transposed = jax.linear_transpose(lambda x: _xla_convolve(x, kernel, **options), x)
    (input_gradient,) = transposed(gradient)
    columns = _dense_kernel_gradient(x, gradient, kernel.shape[0], stride, padding, dilation)
    return input_gradient, columns.astype(kernel.dtype)


def _dense_kernel_gradient(x, gradient, size, stride, padding, dilation):
    """The gradient of a dense kernel (size, size, inputs, outputs), by matrix products.

    XLA's CPU backend makes a convolution of it, with images as large kernels, which runs at a third
    of the speed. One product says all if `x` is moved along the rows and the gradient along the
    columns, the other way. With a stride there is no such way, and it is one for each row of taps.
    """
    inputs, outputs = x.shape[-1], gradient.shape[-1]
    if stride > 1:
        taps = list(_shifted(x, size, stride, padding, dilation).values())
        rows = [jnp.concatenate(taps[row : row + size], -1) for row in range(0, size**2, size)]
        products = [_multiply_columns(_as_rows(row), _as_rows(gradient)) for row in rows]
        return jnp.stack(products).reshape(size, size, inputs, outputs)
    (top, bottom), (left, right) = padding
    reach = (size - 1) * dilation
    x = jnp.pad(x, ((0, 0), (0, 0), (left, right), (0, 0)))
    gradient = jnp.pad(gradient, ((0, 0), (reach - top, reach - bottom), (0, 0), (0, 0)))
    columns = _moved(x, 2, size, 1, dilation)
    rows = _moved(gradient, 1, size, 1, dilation)[::-1]
    product = _multiply_columns(*(_as_rows(jnp.concatenate(taps, -1)) for taps in (columns, rows)))
    return product.reshape(size, inputs, size, outputs).transpose(2, 0, 1, 3)


_dense.defvjp(_dense_forward, _dense_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _depthwise(x, kernel, stride, dilation):
    """Depthwise convolution as a sum of shifted products, which XLA fuses into one loop.

    `kernel` is (k, k, c), or (k, k, n, 1, 1, c) with taps of its own for each sample. Sums in
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
    # Otherwise XLA computes the gradient anew for each row of taps.
    gradient = settle(gradient)
    taps = _depthwise_taps(x, kernel, stride, dilation)
    products = [tap * gradient for tap in taps.values()]
    axes = (0, 1, 2) if kernel.ndim == 3 else (1, 2)
    sums = [
        total
        for row in range(0, len(products), size)
        for total in sum_together(products[row : row + size], axes)
    ]
    kernel_gradient = jnp.stack(sums).reshape(kernel.shape).astype(kernel.dtype)
    # What the strided slices skipped got no gradient: put it back between the rows and columns.
    spread = [(0, 0, 0), *((0, (n - 1) % stride, stride - 1) for n in x.shape[1:3]), (0, 0, 0)]
    gradient = lax.pad(gradient, np.zeros((), x.dtype), spread)
    return _depthwise(gradient, kernel[::-1, ::-1], 1, dilation), kernel_gradient


_depthwise.defvjp(_depthwise_forward, _depthwise_backward)


def _depthwise_taps(x, kernel, stride, dilation):
    size = kernel.shape[0]
    pad = (size // 2 * dilation,) * 2
    return _shifted(x.astype(exact(x)), size, stride, (pad, pad), dilation)


def exact(x):
    """The dtype to compute in: float32 or better."""
    return jnp.promote_types(x.dtype, jnp.float32)


def sum_together(arrays, axes):
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


def _shifted(x, size, stride, padding, dilation):
    """The input under each tap (i, j) of a `size` x `size` kernel, at every output position."""
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return {
        (i, j): tap
        for i, row in enumerate(_moved(x, 1, size, stride, dilation))
        for j, tap in enumerate(_moved(row, 2, size, stride, dilation))
    }


def _moved(x, axis, size, stride, dilation):
    """The part of `x` under each of `size` taps along an axis."""
    length = x.shape[axis] - (size - 1) * dilation
    starts = range(0, size * dilation, dilation)
    return [lax.slice_in_dim(x, at, at + length, stride, axis) for at in starts]


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

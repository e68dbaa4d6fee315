"""Resizing of feature maps without parameters: repeating, interpolating, pooling."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from hrjax.models.layers.backend_ops import accumulation_dtype
from hrjax.models.layers.functional import is_launch_bound
from hrjax.models.layers.target import kept_whole


@kept_whole("size")
def nearest(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) enlarged to `size`, a whole multiple of its own, by repeating pixels."""
    n, height, width, channels = x.shape
    rows, columns = size[0] // height, size[1] // width
    if (rows * height, columns * width) != tuple(size):
        raise ValueError(f"cannot repeat {(height, width)} pixels to {tuple(size)}")
    x = jnp.broadcast_to(x[:, :, None, :, None], (n, height, rows, width, columns, channels))
    return x.reshape(n, *size, channels)


@kept_whole()
def max_pool(x: jax.Array) -> jax.Array:
    """The maxima of 3x3 windows at stride 2 with padding 1: half the size."""
    # Maxima of slices: XLA's window reduction takes four times as long on CPU, its gradient three.
    pad = jnp.finfo(x.dtype).min
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=pad)
    x = jnp.maximum(jnp.maximum(x[:, :-2:2], x[:, 1:-1:2]), x[:, 2::2])
    return jnp.maximum(jnp.maximum(x[:, :, :-2:2], x[:, :, 1:-1:2]), x[:, :, 2::2])


@kept_whole("size")
def average_pool(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) averaged to `size`, over cells that overlap if the sizes do not divide."""
    n, height, width, channels = x.shape
    rows, columns = height // size[0], width // size[1]
    if (rows * size[0], columns * size[1]) == (height, width):
        return x.reshape(n, size[0], rows, size[1], columns, channels).mean((2, 4))
    return _resample(x, _cells(height, size[0]), _cells(width, size[1]))


def _cells(source, target):
    """The weights (target, source) of PyTorch's adaptive average pooling."""
    cell, pixel = np.arange(target)[:, None], np.arange(source)
    first, last = cell * source // target, -(-(cell + 1) * source // target)
    inside = (first <= pixel) & (pixel < last)
    return inside / (last - first)


@kept_whole("size")
def bilinear_align_corners(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) resized to `size` bilinearly, corner pixels onto corner pixels.

    PyTorch's `align_corners=True`.
    """
    return _interpolate(x, size, _aligned_corners)


@kept_whole("size")
def bilinear_half_pixel(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) enlarged to `size` bilinearly, the area of the image onto itself.

    PyTorch's `align_corners=False`: pixels are squares, and positions beyond the outermost pixel
    centers take the values there.
    """
    return _interpolate(x, size, _half_pixels)


def _aligned_corners(source, target):
    return np.linspace(0, source - 1, target)


def _half_pixels(source, target):
    return np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)


def _interpolate(x, size, positions):
    resized = jax.ShapeDtypeStruct((x.shape[0], *size, x.shape[-1]), x.dtype)
    if is_launch_bound(resized):
        return _between_neighbors(x, size, positions)
    return _resample(x, *_interpolations(x.shape[1:3], size, positions))


def _interpolations(source, size, positions):
    """The weights (target, source) of linear interpolation, for the rows and for the columns."""
    return [
        np.maximum(0, 1 - abs(positions(old, new)[:, None] - np.arange(old)))
        for old, new in zip(source, size, strict=True)
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _between_neighbors(x: jax.Array, size: tuple[int, int], positions: Callable) -> jax.Array:
    """Linear interpolation as sums of two pixels, which on a GPU are part of a neighboring kernel.

    The products of `_resample` are up to four kernels of their own.
    """
    y = x.astype(accumulation_dtype(x))
    for axis in (1, 2):
        place = positions(x.shape[axis], size[axis - 1])
        first = np.minimum(np.floor(place), max(x.shape[axis] - 2, 0)).astype(int)
        second = np.minimum(first + 1, x.shape[axis] - 1)
        share = np.expand_dims(place - first, tuple(range(1, 4 - axis))).astype(y.dtype)
        pixels = functools.partial(jnp.take, y, axis=axis, mode="clip")
        y = pixels(first) * (1 - share) + pixels(second) * share
    return y.astype(x.dtype)


def _between_neighbors_forward(x, size, positions):
    return _between_neighbors(x, size, positions), x.shape[1:3]


def _between_neighbors_backward(size, positions, source, gradient):
    weights = _interpolations(source, size, positions)
    return (_resample(gradient, *[matrix.T for matrix in weights]),)


_between_neighbors.defvjp(_between_neighbors_forward, _between_neighbors_backward)


def _resample(x, rows, columns):
    """Sums of the rows and columns of `x`, weighted by (target, source)."""
    x = jnp.einsum("Hh,nhwc->nHwc", jnp.asarray(rows, x.dtype), x)
    return jnp.einsum("Ww,nhwc->nhWc", jnp.asarray(columns, x.dtype), x)

"""Resizing of feature maps without parameters: repeating, interpolating, pooling."""

import jax
import jax.numpy as jnp
import numpy as np

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
    return _resample(x, *_interpolations(x, size, _aligned_corners))


@kept_whole("size")
def bilinear_half_pixel(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """`x` (n, h, w, c) enlarged to `size` bilinearly, the area of the image onto itself.

    PyTorch's `align_corners=False`: pixels are squares, and positions beyond the outermost pixel
    centers take the values there.
    """
    return _resample(x, *_interpolations(x, size, _half_pixels))


def _aligned_corners(source, target):
    return np.linspace(0, source - 1, target)


def _half_pixels(source, target):
    return np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)


def _interpolations(x, size, positions):
    """The weights (target, source) of linear interpolation, for the rows and for the columns."""
    return [
        np.maximum(0, 1 - abs(positions(source, target)[:, None] - np.arange(source)))
        for source, target in zip(x.shape[1:3], size, strict=True)
    ]


def _resample(x, rows, columns):
    """Sums of the rows and columns of `x`, weighted by (target, source)."""
    x = jnp.einsum("Hh,nhwc->nHwc", jnp.asarray(rows, x.dtype), x)
    return jnp.einsum("Ww,nhwc->nhWc", jnp.asarray(columns, x.dtype), x)

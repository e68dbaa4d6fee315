"""Joints ↔ heatmaps: drawing targets, reading joints off, undoing a mirrored input; all JAX.

Heatmaps are (n, h, w, k). A cell is (x, y) in heatmap pixels; the input pixel of a cell is
cell * stride. Everything here is pure and works on whole batches, inside jit or outside.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def encode(
    keypoints: jax.Array,
    visible: jax.Array,
    *,
    size: tuple[int, int],
    stride: int,
    sigma: float,
) -> tuple[jax.Array, jax.Array]:
    """Targets (n, h, w, k) with a Gaussian of height 1 at each visible joint, and weights (n, k).

    `keypoints` (n, k, 2) are in input pixels, `size` is the heatmaps' (height, width), `sigma` is
    in cells. A joint too far outside to leave a trace gets weight 0.
    """
    if keypoints.shape != (*visible.shape, 2) or visible.ndim != 2:
        raise ValueError(
            f"keypoints must be (n, k, 2) and visible (n, k); got {keypoints.shape} and "
            f"{visible.shape}"
        )
    radius = 3 * sigma
    width_height = jnp.array(size[::-1], jnp.float32)
    # The reference rounds by int(x / stride + 0.5), which cuts towards zero (JointsDataset.py).
    peaks = jnp.trunc(keypoints.astype(jnp.float32) / stride + 0.5)  # (n, k, 2)
    # Its test for "outside" leaves one column too many on the left and on top: such a joint keeps
    # its weight beside an empty target.
    inside = (peaks - radius < width_height) & (peaks + radius + 1 >= 0)
    weights = jnp.where(inside.all(-1), visible, 0).astype(jnp.float32)
    columns = _profile(peaks[..., 0], size[1], sigma, radius)  # (n, w, k)
    rows = _profile(peaks[..., 1], size[0], sigma, radius)  # (n, h, k)
    rows = jnp.where(weights[:, None] > 0.5, rows, 0)
    return rows[:, :, None] * columns[:, None], weights


def _profile(peaks, length, sigma, radius):
    """A Gaussian along one axis, (n, length, k), cut off beyond `radius` cells."""
    distance = jnp.arange(length, dtype=jnp.float32)[:, None] - peaks[:, None]
    profile = jnp.exp(-jnp.square(distance) / (2 * sigma**2))
    return jnp.where(jnp.abs(distance) <= radius, profile, 0)


def decode(heatmaps: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Joints as cells (n, k, 2) and their scores (n, k), the heights of the maxima.

    Each joint is moved a quarter of a cell towards its higher neighbours, unless its maximum is
    within a cell of the border. Where nothing is positive the joint is (0, 0).
    """
    peaks, scores = _maxima(heatmaps)
    n, height, width, k = heatmaps.shape
    flat = heatmaps.reshape(n, height * width, k)
    # One cell from the border to the left and on top is left alone too; so does the reference.
    movable = ((peaks > 1) & (peaks < jnp.array([width - 1, height - 1]))).all(-1)
    index = jnp.where(movable, peaks[..., 1] * width + peaks[..., 0], width + 1)
    around = index[:, None] + jnp.array([1, -1, width, -width])[:, None]  # (n, 4, k)
    right, left, below, above = jnp.moveaxis(jnp.take_along_axis(flat, around, axis=1), 1, 0)
    offset = 0.25 * jnp.sign(jnp.stack([right - left, below - above], axis=-1))
    cells = peaks + jnp.where(movable[..., None], offset, 0)
    return cells.astype(jnp.float32), scores


def _maxima(heatmaps):
    """The cell of each heatmap's first maximum, (n, k, 2) integers, and its height, (n, k)."""
    if heatmaps.ndim != 4:
        raise ValueError(f"heatmaps must be (n, h, w, k); got {heatmaps.shape}")
    n, height, width, k = heatmaps.shape
    flat = heatmaps.astype(jnp.float32).reshape(n, height * width, k)
    scores = flat.max(axis=1)
    # Two plain reductions; jnp.argmax takes four times as long on CPUs.
    order = jnp.arange(height * width)[:, None]
    index = jnp.where(flat == scores[:, None], order, height * width).min(axis=1)
    peaks = jnp.stack([index % width, index // width], axis=-1)
    return jnp.where(scores[..., None] > 0, peaks, 0), scores


def flip_back(heatmaps: jax.Array, flip_order: Sequence[int], *, shift: bool = True) -> jax.Array:
    """The heatmaps of a mirrored input as if it had not been mirrored.

    `flip_order` says for each joint which one it was in the mirrored image. Cells lie on every
    stride-th pixel from 0 on; mirrored, they lie almost a cell farther to the right, so `shift`
    moves the maps by one cell, and column 0 keeps its value.
    """
    if sorted(flip_order) != list(range(heatmaps.shape[-1])):
        raise ValueError(
            f"flip_order must hold each of the {heatmaps.shape[-1]} joints once; got "
            f"{tuple(flip_order)}"
        )
    mirrored = heatmaps[:, :, ::-1, np.array(flip_order)]
    if not shift:
        return mirrored
    return jnp.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def to_image(cells: jax.Array, stride: int, to_original: jax.Array) -> jax.Array:
    """Cells (n, k, 2) as image pixels; `to_original` (n, 2, 3) leads from input to image pixels."""
    n = cells.shape[0]
    if cells.ndim != 3 or cells.shape[2] != 2 or to_original.shape != (n, 2, 3):
        raise ValueError(
            f"cells must be (n, k, 2) and to_original (n, 2, 3); got {cells.shape} and "
            f"{to_original.shape}"
        )
    pixels = cells * stride
    # Written out: a matmul would lose digits of large images on accelerators.
    x, y = pixels[..., :1], pixels[..., 1:]
    along_x, along_y, offset = jnp.moveaxis(to_original[:, None], -1, 0)  # each (n, 1, 2)
    return x * along_x + y * along_y + offset


def pck(heatmaps: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """The share of joints whose maxima are near the targets', a number to watch while training.

    As in the official HRNet: shares per joint, averaged over the joints that the batch has; near
    is within a twentieth of the heatmap's size; maxima in the first two rows or columns of a
    target don't count. 0 where nothing counts.
    """
    if heatmaps.shape != targets.shape or weights.shape != (targets.shape[0], targets.shape[-1]):
        raise ValueError(
            f"heatmaps and targets must be (n, h, w, k) and weights (n, k); got {heatmaps.shape}, "
            f"{targets.shape} and {weights.shape}"
        )
    found, _ = _maxima(heatmaps)
    expected, _ = _maxima(targets)
    # The reference divides x by the height and y by the width (core/evaluate.py).
    height_width = jnp.array(heatmaps.shape[1:3], jnp.float32)
    distance = jnp.linalg.norm((found - expected) / (height_width / 10), axis=-1)  # (n, k)
    counted = (expected > 1).all(-1) & (weights > 0)
    hits, totals = ((distance < 0.5) & counted).sum(0), counted.sum(0)  # (k,)
    return (hits / jnp.maximum(totals, 1)).sum() / jnp.maximum((totals > 0).sum(), 1)

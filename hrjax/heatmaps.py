"""Heatmaps of joints: drawing targets, decoding them, and undoing a mirrored input, in JAX.

Heatmaps are (n, h, w, k). A cell is (x, y) in heatmap pixels; the input pixel of a cell is
cell * stride. All functions are pure and work on whole batches, inside jit or outside.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.messages import choices


def encode(
    keypoints: jax.Array,
    visible: jax.Array,
    *,
    size: tuple[int, int],
    stride: int,
    sigma: float,
    encoding: str = "msra",
) -> tuple[jax.Array, jax.Array]:
    """Targets (n, h, w, k) with a Gaussian of height 1 at each visible joint, and weights (n, k).

    `keypoints` (n, k, 2) are in input pixels, `size` is the heatmaps' (height, width), `sigma` is
    in cells. A joint whose Gaussian lies outside the heatmap gets weight 0. The encodings:
        msra  the joint is rounded to a cell; nothing is drawn beyond 3 sigma
        dark  the joint is not rounded and the Gaussian is not cut off (Zhang et al.,
              Distribution-Aware Coordinate Representation for Human Pose Estimation, CVPR 2020)
        udp   the cells span the centers of the outermost pixels; the joint is not rounded
              (Huang et al., The Devil is in the Details, CVPR 2020)
    """
    _check_joints(keypoints, visible)
    if encoding not in ENCODINGS:
        raise ValueError(choices.unknown("encoding", encoding, ENCODINGS))
    places = keypoints.astype(jnp.float32) / strides(size, stride, udp=encoding == "udp")
    # The references round by int(x + 0.5), which truncates toward zero (JointsDataset.py).
    cells = places if encoding == "dark" else jnp.trunc(places + 0.5)
    radius = 3 * sigma
    # Their border test lets one column too many pass on the left and on top: such a joint keeps its
    # weight with an empty target.
    inside = (cells - radius < jnp.array(size[::-1])) & (cells + radius + 1 >= 0)
    weights = jnp.where(inside.all(-1), visible, 0).astype(jnp.float32)
    peaks = cells if encoding == "msra" else places
    reach = jnp.inf if encoding == "dark" else radius
    columns = _profile(peaks[..., 0], cells[..., 0], size[1], sigma, reach)  # (n, w, k)
    rows = _profile(peaks[..., 1], cells[..., 1], size[0], sigma, reach)  # (n, h, k)
    rows = jnp.where(weights[:, None] > 0.5, rows, 0)
    return rows[:, :, None] * columns[:, None], weights


def _check_joints(keypoints, visible):
    if keypoints.shape != (*visible.shape, 2) or visible.ndim != 2:
        raise ValueError(
            f"keypoints must be (n, k, 2) and visible (n, k); got {keypoints.shape} and "
            f"{visible.shape}"
        )


def _profile(peaks, cells, length, sigma, reach):
    """A Gaussian about `peaks` along one axis, (n, length, k), up to `reach` from `cells`."""
    index = jnp.arange(length, dtype=jnp.float32)[:, None]
    profile = jnp.exp(-jnp.square(index - peaks[:, None]) / (2 * sigma**2))
    return jnp.where(jnp.abs(index - cells[:, None]) <= reach, profile, 0)


def strides(size: tuple[int, int], stride: int, *, udp: bool) -> np.ndarray:
    """Input pixels from one cell to the next, along x and y.

    Cells lie on every `stride`-th pixel; with `udp` the outermost cells lie on the outermost
    pixels.
    """
    cells = np.array(size[::-1], np.float32)
    return (cells * stride - 1) / (cells - 1) if udp else np.full(2, stride, np.float32)


def dark_kernel(sigma: float) -> int:
    """The width of the blur before DARK's step, for targets of `sigma`: 11 for 2, 17 for 3."""
    return int(6 * sigma - 1) | 1


def decode(
    heatmaps: jax.Array, method: str = "quarter", *, kernel: int = 11
) -> tuple[jax.Array, jax.Array]:
    """Joints as cells (n, k, 2) and their scores (n, k), the heights of the maxima.

    Where no value is positive, the joint is (0, 0). Each method adds to the cell of the maximum:
        argmax       nothing
        quarter      a quarter of a cell toward the higher neighbors
        dark         a Newton step on the logarithm of the heatmap, blurred by `kernel` cells
        udp          the same with other borders, on every maximum (mmpose 0.x, post_dark_udp)
        paddle_dark  dark with a blur of 3 cells (PaddleDetection's HRNetPostProcess)
    Except with udp, maxima at the border are not moved.
    """
    if method not in DECODERS:
        raise ValueError(choices.unknown("decoding", method, DECODERS))
    peaks, scores = _maxima(heatmaps)
    offset = DECODERS[method](heatmaps.astype(jnp.float32), peaks, kernel)
    return jnp.where(scores[..., None] > 0, peaks + offset, 0).astype(jnp.float32), scores


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


def _within(peaks, heatmaps, left, right):
    """Whether maxima are more than `left` cells from the first, and `right` from the last."""
    height, width = heatmaps.shape[1:3]
    return ((peaks > left) & (peaks < jnp.array([width, height]) - 1 - right)).all(-1)


def _neighbors(heatmaps, peaks, steps):
    """The heights `steps` [(x, y), …] away from the maxima, each (n, k).

    Beyond the border they are those on the border.
    """
    n, height, width, k = heatmaps.shape
    places = peaks[:, None] + jnp.array(steps)[:, None]  # (n, steps, k, 2)
    x, y = jnp.clip(places[..., 0], 0, width - 1), jnp.clip(places[..., 1], 0, height - 1)
    flat = heatmaps.reshape(n, height * width, k)
    return jnp.moveaxis(jnp.take_along_axis(flat, y * width + x, axis=1), 1, 0)


def _stay(heatmaps, peaks, kernel):
    return jnp.zeros(peaks.shape)


def _quarter_offset(heatmaps, peaks, kernel):
    steps = [(1, 0), (-1, 0), (0, 1), (0, -1)]
    right, left, below, above = _neighbors(heatmaps, peaks, steps)
    offset = 0.25 * jnp.sign(jnp.stack([right - left, below - above], axis=-1))
    # Maxima one cell from the left and the upper border are not moved either, as in the reference.
    return jnp.where(_within(peaks, heatmaps, 1, 0)[..., None], offset, 0)


def _dark_offset(heatmaps, peaks, kernel):
    blurred = _blur(heatmaps, kernel, reflect=False)
    highest = blurred.max((1, 2), keepdims=True)
    blurred *= heatmaps.max((1, 2), keepdims=True) / jnp.where(highest == 0, 1, highest)
    logs = jnp.log(jnp.maximum(blurred, 1e-10))
    straight = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0), (0, 2), (0, -2)]
    diagonal = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
    here, e, w, s, n, ee, ww, ss, nn, se, ne, sw, nw = _neighbors(logs, peaks, straight + diagonal)
    dx, dy = 0.5 * (e - w), 0.5 * (s - n)
    dxx, dyy = 0.25 * (ee - 2 * here + ww), 0.25 * (ss - 2 * here + nn)
    dxy = 0.25 * (se - ne - sw + nw)
    movable = _within(peaks, heatmaps, 1, 1) & (dxx * dyy - dxy**2 != 0)
    return jnp.where(movable[..., None], _newton(dx, dy, dxx, dyy, dxy), 0)


def _udp_offset(heatmaps, peaks, kernel):
    logs = jnp.log(jnp.clip(_blur(heatmaps, kernel, reflect=True), 1e-3, 50))
    steps = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, -1)]
    here, e, w, s, n, se, nw = _neighbors(logs, peaks, steps)
    dx, dy = 0.5 * (e - w), 0.5 * (s - n)
    dxx, dyy = e - 2 * here + w, s - 2 * here + n
    dxy = 0.5 * (se - e - s + 2 * here - w - n + nw)
    tiny = np.finfo(np.float32).eps  # the reference adds it to the Hessian's diagonal
    return _newton(dx, dy, dxx + tiny, dyy + tiny, dxy)


def _newton(dx, dy, dxx, dyy, dxy):
    determinant = dxx * dyy - dxy**2
    step = jnp.stack([dxy * dy - dyy * dx, dxy * dx - dxx * dy], axis=-1)
    return step / jnp.where(determinant == 0, 1, determinant)[..., None]


def _blur(heatmaps, kernel, *, reflect):
    """OpenCV's GaussianBlur; beyond the border there are zeros, or the mirrored inside."""
    _, height, width, _ = heatmaps.shape
    rows, columns = (_blur_matrix(length, kernel, reflect) for length in (height, width))
    blurred = jnp.einsum("Hh,nhwk->nHwk", rows, heatmaps, precision="highest")
    return jnp.einsum("Ww,nhwk->nhWk", columns, blurred, precision="highest")


def _blur_matrix(length, kernel, reflect):
    """The matrix (length, length) that blurs along one axis."""
    if kernel < 3 or kernel % 2 == 0:
        raise ValueError(f"a blur needs an odd width of 3 cells or more; got {kernel}")
    half = kernel // 2
    if reflect and half >= length:
        raise ValueError(f"{length} cells cannot be mirrored for a blur of {kernel} cells")
    # OpenCV takes this sigma where none is given, and for narrow kernels fixed tables instead.
    sigma = 0.3 * (half - 1) + 0.8
    taps = np.exp(-(np.arange(-half, half + 1) ** 2) / (2 * sigma**2))
    taps = np.array(NARROW_BLURS.get(kernel, taps / taps.sum()))
    matrix = np.zeros((length, length))
    for step, tap in zip(range(-half, half + 1), taps, strict=True):
        source = np.arange(length) + step
        if reflect:
            source = (length - 1) - abs((length - 1) - abs(source))
        inside = (source >= 0) & (source < length)
        np.add.at(matrix, (np.arange(length)[inside], source[inside]), tap)
    return matrix.astype(np.float32)


ENCODINGS = ("msra", "dark", "udp")
DECODERS = {
    "argmax": _stay,
    "quarter": _quarter_offset,
    "dark": _dark_offset,
    "udp": _udp_offset,
    "paddle_dark": lambda heatmaps, peaks, kernel: _dark_offset(heatmaps, peaks, 3),
}
# cv2.getGaussianKernel without a sigma.
NARROW_BLURS = {
    3: (1 / 4, 1 / 2, 1 / 4),
    5: (1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16),
    7: (1 / 32, 7 / 64, 7 / 32, 9 / 32, 7 / 32, 7 / 64, 1 / 32),
    9: (4 / 256, 13 / 256, 30 / 256, 51 / 256, 60 / 256, 51 / 256, 30 / 256, 13 / 256, 4 / 256),
}


def flip_back(heatmaps: jax.Array, flip_order: Sequence[int], *, shift: bool = True) -> jax.Array:
    """The heatmaps of a mirrored input as if it had not been mirrored.

    `flip_order` says for each joint which one it was in the mirrored image. Cells lie on every
    stride-th pixel from 0 on; mirrored, they lie almost one cell farther to the right. `shift`
    makes up for it: it moves the maps by one cell, and column 0 keeps its value.
    """
    if sorted(flip_order) != list(range(heatmaps.shape[-1])):
        raise ValueError(
            f"flip_order must hold each of the {heatmaps.shape[-1]} joints once; got "
            f"{tuple(flip_order)}"
        )
    mirrored = heatmaps[:, :, ::-1][..., np.array(flip_order)]
    if not shift:
        return mirrored
    return jnp.concatenate([mirrored[:, :, :1], mirrored[:, :, :-1]], axis=2)


def to_image(cells: jax.Array, stride: int | np.ndarray, to_original: jax.Array) -> jax.Array:
    """Cells (n, k, 2) as image pixels; `to_original` (n, 2, 3) maps input to image pixels.

    `stride` is one number, or the result of `strides`.
    """
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


def pck(hits: jax.Array, totals: jax.Array) -> jax.Array:
    """The share of joints whose maxima are near those of the targets, of counts (…, k).

    As in the official HRNet: the share per joint, averaged over the joints that were counted at
    all; 0 if none was. `pck_counts` gives the counts of a batch, or of a part of one to add up.
    """
    shares = (hits / jnp.maximum(totals, 1)).sum(-1)
    return shares / jnp.maximum((totals > 0).sum(-1), 1)


def pck_counts(
    heatmaps: jax.Array, targets: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How many of each joint's maxima are near those of the targets, and how many count, both (k,).

    As in the official HRNet, near means within a twentieth of the heatmap's size, and maxima in the
    first two rows or columns of a target do not count. Heatmaps and targets are (n, h, w, k),
    weights (n, k).
    """
    if heatmaps.shape != targets.shape or weights.shape != (targets.shape[0], targets.shape[-1]):
        raise ValueError(
            f"heatmaps and targets must be (n, h, w, k) and weights (n, k); got {heatmaps.shape}, "
            f"{targets.shape} and {weights.shape}"
        )
    predicted, _ = _maxima(heatmaps)
    expected, _ = _maxima(targets)
    # The reference divides x by the height and y by the width (core/evaluate.py).
    height_width = jnp.array(heatmaps.shape[1:3], jnp.float32)
    distance = jnp.linalg.norm((predicted - expected) / (height_width / 10), axis=-1)  # (n, k)
    counted = (expected > 1).all(-1) & (weights > 0)
    return ((distance < 0.5) & counted).sum(0), counted.sum(0)

"""Pictures of people and heatmaps; images are (h, w, 3) uint8 RGB and never drawn into."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.skeletons import Skeleton

LEFT, RIGHT, MIDDLE = (0, 180, 255), (255, 130, 0), (110, 225, 80)
# OpenCV takes points in fractions of a pixel as integers: here sixteenths.
FRACTION_BITS = 4


def draw_skeleton(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    *,
    threshold: float,
) -> np.ndarray:
    """A copy of the image with one person's limbs and joints.

    `keypoints` (k, 2) are in pixels of the image; `scores` (k,) may be visibilities too. Joints
    at or below `threshold` are left out with their limbs. The person's left side is blue, the
    right one orange, the middle green.
    """
    _check_image(image)
    k = skeleton.num_joints
    if np.shape(keypoints) != (k, 2) or np.shape(scores) != (k,):
        raise ValueError(
            f"keypoints and scores must be ({k}, 2) and ({k},) for this skeleton; got "
            f"{np.shape(keypoints)} and {np.shape(scores)}"
        )
    shown = (np.asarray(scores) > threshold) & np.isfinite(keypoints).all(axis=-1)
    # Far outside is all the same, and OpenCV's integers end somewhere.
    points = np.where(shown[:, None], np.clip(keypoints, -1e5, 1e5), 0)
    points = np.rint(points * 2**FRACTION_BITS).astype(int).tolist()
    sides = [name.partition("_")[0] for name in skeleton.names]
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    thickness = max(1, round(max(image.shape[:2]) / 160))
    canvas = image.copy(order="C")
    for a, b in limbs:
        color = _color({sides[a], sides[b]})
        cv2.line(canvas, points[a], points[b], color, thickness, cv2.LINE_AA, FRACTION_BITS)
    radius = round(0.9 * (thickness + 0.5) * 2**FRACTION_BITS)
    for joint in np.flatnonzero(shown):
        color = _color({sides[joint]})
        cv2.circle(canvas, points[joint], radius, color, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
    return canvas


def _color(sides: set[str]) -> tuple[int, int, int]:
    """Of a joint, or of a limb between joints of these sides."""
    if {"left", "right"} <= sides:
        return MIDDLE
    return LEFT if "left" in sides else RIGHT if "right" in sides else MIDDLE


def draw_heatmaps(image: np.ndarray, heatmaps: np.ndarray, *, columns: int = 6) -> np.ndarray:
    """A sheet with one copy of the image for each joint's heatmap, glowing where that is high.

    `heatmaps` are (h, w, k), drawn from 0 (just the image) over red to 1 (yellow).
    """
    _check_image(image)
    height, width = image.shape[:2]
    if np.ndim(heatmaps) != 3 or height % heatmaps.shape[0] or width % heatmaps.shape[1]:
        raise ValueError(
            f"heatmaps must be (h, w, k) with a whole number of image pixels per cell; got "
            f"{np.shape(heatmaps)} for an image of {height}x{width}"
        )
    stride_y, stride_x = height // heatmaps.shape[0], width // heatmaps.shape[1]
    # Cell (x, y) lies on pixel (x * stride, y * stride).
    matrix = np.array([[stride_x, 0, 0], [0, stride_y, 0]], np.float32)
    tiles = []
    for heatmap in np.moveaxis(np.asarray(heatmaps, np.float32), -1, 0):
        strength = np.clip(cv2.warpAffine(heatmap, matrix, (width, height)), 0, 1)
        levels = np.rint(255 * strength).astype(np.uint8)
        glow = cv2.applyColorMap(levels, cv2.COLORMAP_AUTUMN)[..., ::-1]
        opacity = strength[..., None]
        tiles.append(np.rint(image * (1 - opacity) + glow * opacity).astype(np.uint8))
    return grid(tiles, columns=columns)


def grid(images: Sequence[np.ndarray], *, columns: int) -> np.ndarray:
    """One image with all of them in rows of `columns`, each in the corner of an equal cell."""
    if not images or columns < 1:
        raise ValueError(f"needs images and columns; got {len(images)} and {columns}")
    for image in images:
        _check_image(image)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    sheet = np.zeros((rows, height, columns, width, 3), np.uint8)
    for position, image in enumerate(images):
        row, column = divmod(position, columns)
        sheet[row, : image.shape[0], column, : image.shape[1]] = image
    return sheet.reshape(rows * height, columns * width, 3)


def save(image: np.ndarray, path: str | os.PathLike) -> None:
    """Writes an image; the ending of `path` says as what, .jpg or .png."""
    _check_image(image)
    _, contents = cv2.imencode(os.path.splitext(path)[1], image[..., ::-1])
    with open(path, "wb") as file:
        file.write(contents)


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"images must be (h, w, 3) uint8; got {image.shape} {image.dtype}")

"""Pictures of people and heatmaps; images are (h, w, 3) uint8 RGB and never drawn into."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines import files
from data_pipelines.messages import sizes
from data_pipelines.skeletons import Skeleton
from data_pipelines.transforms import ops

LEFT, RIGHT, MIDDLE = (0, 180, 255), (255, 130, 0), (110, 225, 80)
BOX, INK = (255, 230, 60), (20, 20, 20)
GOLDEN = 0.618034  # multiples of it are far apart on the color wheel
# OpenCV takes points in fractions of a pixel as integers: here sixteenths.
FRACTION_BITS = 4


def draw_skeleton(
    image: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    *,
    threshold: float,
    thickness: int = 0,
) -> np.ndarray:
    """A copy of the image with one person's limbs and joints.

    `keypoints` (k, 2) are in pixels of the image; `scores` (k,) may be visibilities too. Joints
    at or below `threshold` and their limbs are not drawn. The person's left side is blue, the
    right one orange, the middle green. Limbs are `thickness` pixels wide; 0 means by the size of
    the image.
    """
    _check_image(image)
    k = skeleton.num_joints
    if np.shape(keypoints) != (k, 2) or np.shape(scores) != (k,):
        raise ValueError(
            f"keypoints and scores must be ({k}, 2) and ({k},) for this skeleton; got "
            f"{np.shape(keypoints)} and {np.shape(scores)}"
        )
    shown = (np.asarray(scores) > threshold) & np.isfinite(keypoints).all(axis=-1)
    # Clipped, for OpenCV's integers have a range.
    points = np.where(shown[:, None], np.clip(keypoints, -1e5, 1e5), 0)
    points = np.rint(points * 2**FRACTION_BITS).astype(int).tolist()
    sides = [name.partition("_")[0] for name in skeleton.names]
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    thickness = thickness or _thickness(image.shape[:2])
    radius = _dot(thickness)
    canvas = image.copy(order="C")
    for a, b in limbs:
        color = _color({sides[a], sides[b]})
        cv2.line(canvas, points[a], points[b], color, thickness, cv2.LINE_AA, FRACTION_BITS)
    for joint in np.flatnonzero(shown):
        color = _color({sides[joint]})
        cv2.circle(canvas, points[joint], radius, color, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
    return canvas


def person_tile(
    example: dict,
    keypoints: np.ndarray,
    scores: np.ndarray,
    skeleton: Skeleton,
    *,
    size: tuple[int, int],
    threshold: float,
) -> np.ndarray:
    """A tile of `size` (height, width) around one person, with the skeleton drawn in.

    Of `example`, as the data pipeline has it, image, center and size are used; the other arguments
    are those of `draw_skeleton`, with `keypoints` in pixels of the image.
    """
    crop = ops.Crop(size)({**example, "keypoints": keypoints}, None)
    return draw_skeleton(crop["image"], crop["keypoints"], scores, skeleton, threshold=threshold)


def draw_people(
    image: np.ndarray,
    boxes: np.ndarray,
    keypoints: np.ndarray,
    scores: np.ndarray,
    person_scores: np.ndarray,
    skeleton: Skeleton,
    *,
    threshold: float,
    track_ids: np.ndarray | None = None,
) -> np.ndarray:
    """A copy of the image with people's boxes, person scores, skeletons and joint scores.

    Arrays are (n, 4), (n, k, 2), (n, k) and (n,). Each joint is a dot with a core between black
    (a score of 0) and white (1). People without a joint above `threshold` get a box only. With
    `track_ids` (n,), a box has a color of its track and its number; those with 0 are as without.
    """
    canvas = image
    ids = np.zeros(len(boxes), int) if track_ids is None else track_ids
    for box, score, track_id in zip(boxes, person_scores, np.asarray(ids).tolist(), strict=True):
        text = f"{track_id}: {score:.2f}" if track_id else f"{score:.2f}"
        canvas = _draw_box(canvas, box, text, track_color(track_id) if track_id else BOX)
    for box, *person in zip(boxes, keypoints, scores, strict=True):
        thickness = limb_thickness(image, box[2:])
        canvas = draw_skeleton(canvas, *person, skeleton, threshold=threshold, thickness=thickness)
        canvas = _draw_cores(canvas, *person, threshold, _dot(thickness))
    return canvas


def track_color(track_id: int) -> tuple[int, int, int]:
    """A bright color for a track; those of consecutive numbers differ clearly."""
    hue = track_id * GOLDEN % 1 * 6
    wheel = np.clip(np.abs((hue + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1, 0, 1)
    red, green, blue = np.rint(255 * (0.35 + 0.65 * wheel)).astype(int).tolist()
    return red, green, blue


def _draw_box(image, box, text, color):
    """A copy with a box, (x, y, w, h), and a text at its upper left corner."""
    canvas = image.copy(order="C")
    thickness = max(1, round(max(image.shape[:2]) / 400))
    corners = np.clip([box[:2], box[:2] + box[2:]], -1e5, 1e5)
    near, far = np.rint(corners).astype(int).tolist()
    cv2.rectangle(canvas, near, far, color, thickness)
    font = (cv2.FONT_HERSHEY_SIMPLEX, max(image.shape[:2]) / 3000 + 0.25)
    pen = max(1, round(max(image.shape[:2]) / 1000))
    (width, height), _ = cv2.getTextSize(text, *font, pen)
    # Inside the image, also where the box begins outside.
    x, y = max(near[0], 0), max(near[1], height + 4)
    cv2.rectangle(canvas, (x, y - height - 4), (x + width + 4, y), color, cv2.FILLED)
    cv2.putText(canvas, text, (x + 2, y - 2), *font, INK, pen, cv2.LINE_AA)
    return canvas


def _draw_cores(image, keypoints, scores, threshold, radius):
    """A copy with a person's joint scores in their dots, as grays between black and white."""
    canvas = image.copy(order="C")
    shown = (np.asarray(scores) > threshold) & np.isfinite(keypoints).all(axis=-1)
    points = np.rint(np.clip(keypoints[shown], -1e5, 1e5) * 2**FRACTION_BITS).astype(int)
    grays = np.rint(255 * np.clip(scores[shown], 0, 1)).astype(int)
    core = round(0.55 * radius)
    for point, gray in zip(points.tolist(), grays.tolist(), strict=True):
        color = (gray, gray, gray)
        cv2.circle(canvas, point, core, color, cv2.FILLED, cv2.LINE_AA, FRACTION_BITS)
    return canvas


def limb_thickness(image: np.ndarray, size: np.ndarray) -> int:
    """The width of limbs of a person whose two sides are `size` pixels, thinner in small people."""
    return min(_thickness(image.shape[:2]), 2 * _thickness(size))


def _thickness(size):
    """The width of limbs, in pixels, in an image of a size."""
    return max(1, round(max(size) / 160))


def _dot(thickness):
    """The radius of joints, in fractions of a pixel, beside limbs of a thickness."""
    return round(0.9 * (thickness + 0.5) * 2**FRACTION_BITS)


def _color(sides: set[str]) -> tuple[int, int, int]:
    """The color of a joint, or of a limb between joints, of these sides."""
    if {"left", "right"} <= sides:
        return MIDDLE
    return LEFT if "left" in sides else RIGHT if "right" in sides else MIDDLE


def draw_heatmaps(image: np.ndarray, heatmaps: np.ndarray, *, columns: int = 6) -> np.ndarray:
    """A sheet with one copy of the image for each joint, glowing where its heatmap is high.

    `heatmaps` are (h, w, k), drawn from 0 (only the image) over red to 1 (yellow).
    """
    _check_image(image)
    height, width = image.shape[:2]
    if np.ndim(heatmaps) != 3 or height % heatmaps.shape[0] or width % heatmaps.shape[1]:
        raise ValueError(
            f"heatmaps must be (h, w, k) with a whole number of image pixels per cell; got "
            f"{np.shape(heatmaps)} for an image of {sizes.pixels(image.shape[:2])}"
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
    """Writes an image in the format of the ending of `path`, .jpg or .png.

    A link of that name is replaced, not followed.
    """
    _check_image(image)
    ending = os.path.splitext(path)[1]
    if not cv2.haveImageWriter(ending or "."):
        raise ValueError(f"cannot write {path}: its name must end in .jpg or .png")
    _, contents = cv2.imencode(ending, image[..., ::-1])
    files.write_bytes(path, contents.tobytes())


def _check_image(image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"images must be (h, w, 3) uint8; got {image.shape} {image.dtype}")

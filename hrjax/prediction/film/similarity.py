"""How alike poses are: by joints (OKS), by boxes around them (IoU), and by size."""

from collections.abc import Sequence

import numpy as np

from hrjax import oks

MARGIN = 0.15  # of boxes around joints, relative to the longer side of what the joints span
AREA = 0.53  # of a person, relative to the box: the mean of COCO's annotations
SIZE_CHANGE = 0.2  # of one person between frames: the deviation of the logarithm


def pose_boxes(joints: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Person boxes (n, 4) around joints (n, k, 2), which are NaN where they are not known.

    They are larger than the joints by MARGIN, since heads, hands and feet reach beyond them. Where
    the known joints are all in one place it is the given box.
    """
    near, far = _extents(joints)
    border = MARGIN * (far - near).max(axis=1, keepdims=True)
    around = np.concatenate([near - border, far - near + 2 * border], axis=1)
    return np.where(border > 0, around, boxes)


def _extents(joints):
    """The least and the largest x, y (…, 2) of known joints (…, k, 2); 0 where none is known."""
    known = np.isfinite(joints)
    near = np.where(known, joints, np.inf).min(axis=-2)
    far = np.where(known, joints, -np.inf).max(axis=-2)
    some = np.isfinite(near)
    return np.where(some, near, 0), np.where(some, far, 0)


def pose_oks(
    first: np.ndarray, second: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """The OKS (n, m) of poses (n, k, 2) and (m, k, 2) over the joints that both know.

    Joints that are not known are NaN; `areas` (n, m) are those of the boxes.
    """
    n, m, k = len(first), len(second), first.shape[1]
    left = np.broadcast_to(first[:, None], (n, m, k, 2)).reshape(-1, k, 2)
    right = np.broadcast_to(second[None], (n, m, k, 2)).reshape(-1, k, 2)
    counted = np.isfinite(left[..., 0]) & np.isfinite(right[..., 0])
    areas = AREA * areas.reshape(-1)
    alike = oks.object_keypoint_similarity(
        np.where(counted[..., None], left, 0),
        np.where(counted[..., None], right, 0),
        areas,
        sigmas,
        counted,
    )
    return alike.reshape(n, m)


def same_size(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """How alike the sizes of poses (n, k, 2) and (m, k, 2) are, (n, m), by the joints of both."""
    counted = np.isfinite(first[:, None]) & np.isfinite(second)
    counts = np.maximum(counted.sum(axis=2), 1)
    sizes = []
    for points in (first[:, None], second[None]):
        points = np.where(counted, points, 0)
        middle = points.sum(axis=2) / counts
        spread = np.where(counted, points - middle[:, :, None], 0)
        sizes.append(np.square(spread).sum(axis=(2, 3)))
    usable = (counts[..., 0] >= 3) & (sizes[0] > 0) & (sizes[1] > 0)
    ratio = np.log(np.where(usable, sizes[0], 1) / np.where(usable, sizes[1], 1)) / 2
    return np.exp(-np.square(ratio / SIZE_CHANGE) / 2)


def common_overlaps(
    first: np.ndarray,
    first_boxes: np.ndarray,
    second: np.ndarray,
    second_boxes: np.ndarray,
    buffer: np.ndarray,
) -> np.ndarray:
    """The IoU (n, m) of boxes around those joints of poses (n, k, 2), (m, k, 2) that both know.

    A pose of which half is hidden is compared with the same half of a person. Boxes (n, 4) and
    (m, 4) are those of the poses; the share `buffer` (n,) of the sides is added to all sides.
    """
    counted = np.isfinite(second)[None] & np.isfinite(first)[:, None]
    mine = np.where(counted, first[:, None], np.nan)
    theirs = np.where(counted, second[None], np.nan)
    pairs = counted.shape[:2]
    whole = (
        np.broadcast_to(first_boxes[:, None], (*pairs, 4)),
        np.broadcast_to(second_boxes, (*pairs, 4)),
    )
    flat = [
        pose_boxes(points.reshape(-1, *points.shape[2:]), box.reshape(-1, 4))
        for points, box in zip((mine, theirs), whole, strict=True)
    ]
    mine, theirs = (_enlarged(each, np.repeat(buffer, pairs[1])) for each in flat)
    return iou(mine, theirs).reshape(pairs)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The IoU (n, m) of boxes (n, 4) and (m, 4)."""
    return iou(np.asarray(first)[:, None], np.reshape(second, (1, -1, 4)))


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The IoU of pairs of boxes (…, 4)."""
    near = np.maximum(first[..., :2], second[..., :2])
    far = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    common = np.maximum(far - near, 0).prod(axis=-1)
    union = first[..., 2:].prod(axis=-1) + second[..., 2:].prod(axis=-1) - common
    return common / np.maximum(union, 1e-9)


def _enlarged(boxes, share):
    """Boxes (n, 4) with a share (n,) of their sides added on each side."""
    border = share[:, None] * boxes[:, 2:]
    return np.concatenate([boxes[:, :2] - border, boxes[:, 2:] + 2 * border], axis=1)

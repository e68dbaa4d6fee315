"""Who was found: people of a file and of results, matched by OKS as COCO does, and the curves.

The same numbers as pycocotools', to the last digits, for all images at once in NumPy: the error
analysis asks for them a hundred times.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

BEST = 20  # the best people of an image count
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclasses.dataclass(frozen=True)
class Truth:
    """Annotated people: ids, images and areas (g,), keypoints (g, k, 2), visibility (g, k), boxes.

    Visibility is 0 (not labelled), 1 (hidden) or 2. Who does not `count` is neither hit nor miss:
    crowds, and people without labelled joints.
    """

    ids: np.ndarray
    images: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    count: np.ndarray


@dataclasses.dataclass(frozen=True)
class Found:
    """The best people of each image's results, best first: rows (m,) of the results file.

    `ranks` count from 0 in each image; `areas` are of the extents of the keypoints (m, k, 2).
    """

    rows: np.ndarray
    images: np.ndarray
    ranks: np.ndarray
    keypoints: np.ndarray
    joint_scores: np.ndarray
    scores: np.ndarray
    areas: np.ndarray


@dataclasses.dataclass(frozen=True)
class Curves:
    """Precision (10, 101) and highest recall (10,) at the thresholds; -1 where nobody counts."""

    precision: np.ndarray
    recall: np.ndarray

    @property
    def ap(self) -> float:
        """Mean precision."""
        return float(self.precision.mean())

    @property
    def ar(self) -> float:
        """Mean recall."""
        return float(self.recall.mean())


def read_truth(contents: Mapping, num_joints: int) -> Truth:
    """The people of a file's contents that have `num_joints` joints, in COCO's format."""
    people = contents["annotations"]
    joints = np.array([entry["keypoints"] for entry in people], np.float64)
    joints = joints.reshape(-1, num_joints, 3)
    crowd = np.array([bool(entry["iscrowd"]) for entry in people], bool)
    labelled = np.array([entry["num_keypoints"] for entry in people], int)
    return Truth(
        ids=np.array([entry["id"] for entry in people], np.int64),
        images=np.array([entry["image_id"] for entry in people], np.int64),
        keypoints=joints[..., :2],
        visibility=joints[..., 2],
        areas=np.array([entry["area"] for entry in people], np.float64),
        boxes=np.array([entry["bbox"] for entry in people], np.float64).reshape(-1, 4),
        crowd=crowd,
        count=~crowd & (labelled > 0),
    )


def read_found(results: Sequence[Mapping], num_joints: int) -> Found:
    """The 20 best people of each image of a results file."""
    joints = np.array([entry["keypoints"] for entry in results], np.float64)
    joints = joints.reshape(-1, num_joints, 3)
    images = np.array([entry["image_id"] for entry in results], np.int64)
    scores = np.array([entry["score"] for entry in results], np.float64)
    order = np.lexsort((np.arange(len(scores)), -scores, images))
    ranks = np.arange(len(order)) - np.searchsorted(images[order], images[order])
    rows, ranks = order[ranks < BEST], ranks[ranks < BEST]
    keypoints = joints[rows, :, :2]
    extent = keypoints.max(axis=1, initial=-np.inf) - keypoints.min(axis=1, initial=np.inf)
    return Found(
        rows=rows,
        images=images[rows],
        ranks=ranks,
        keypoints=keypoints,
        joint_scores=joints[rows, :, 2],
        scores=scores[rows],
        areas=extent.prod(axis=-1),
    )


def pairs(found: Found, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `found` and of `truth` for every two of the same image, sorted by the first."""
    order = np.argsort(truth.images, kind="stable")
    images = truth.images[order]
    start = np.searchsorted(images, found.images, "left")
    end = np.searchsorted(images, found.images, "right")
    first = np.repeat(np.arange(len(found.images)), end - start)
    offset = np.cumsum(end - start) - (end - start)
    return first, order[start[first] + np.arange(len(first)) - offset[first]]


def joint_similarity(
    keypoints: np.ndarray, truth: Truth, rows: np.ndarray, sigmas: Sequence[float], joints=None
) -> np.ndarray:
    """How near the joints (p, k, 2) are to those of truth's `rows` (p,), each 0 to 1, (p, k).

    The truth's joints are taken in the order of `joints` where it is given. 0 where the truth has
    no label.
    """
    joints = np.arange(truth.keypoints.shape[1]) if joints is None else joints
    difference = keypoints - truth.keypoints[rows][:, joints]
    squared = np.einsum("pkx,pkx->pk", difference, difference)
    variance = np.square(2 * np.asarray(sigmas))
    error = squared / variance / (truth.areas[rows, None] + np.spacing(1)) / 2
    return np.where(truth.visibility[rows][:, joints] > 0, np.exp(-error), 0)


def similarity(
    keypoints: np.ndarray, truth: Truth, rows: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """OKS of people (p, k, 2) with truth's `rows` (p,), over labelled joints.

    With people without labelled joints it measures how far outside the doubled box the joints are.
    """
    labelled = (truth.visibility[rows] > 0).sum(axis=1)
    alike = joint_similarity(keypoints, truth, rows, sigmas).sum(axis=1) / np.maximum(labelled, 1)
    bare = labelled == 0
    corner, extent = truth.boxes[rows[bare], None, :2], truth.boxes[rows[bare], None, 2:]
    points = keypoints[bare]
    outside = np.maximum(corner - extent - points, 0) + np.maximum(points - corner - 2 * extent, 0)
    squared = np.square(outside).sum(axis=-1)
    variance = np.square(2 * np.asarray(sigmas))
    error = squared / variance / (truth.areas[rows[bare], None] + np.spacing(1)) / 2
    alike[bare] = np.exp(-error).mean(axis=-1)
    return alike


def match(
    found: Found,
    truth: Truth,
    alike: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """Whom each found person is at each threshold: rows of `truth` (m, t), or -1.

    `alike` (p,) is the OKS of the pairs. The best choose first, each the nearest of those who
    count and are free; crowds are always free.
    """
    matched = np.full((len(found.rows), len(thresholds)), -1)
    if not len(first):
        return matched
    _, image = np.unique(found.images[first], return_inverse=True)
    slot = np.arange(len(first)) - np.searchsorted(first, first)
    shape = (image.max() + 1, slot.max() + 1)
    people = np.full(shape, -1)
    people[image, slot] = second
    count, crowd = truth.count[people], truth.crowd[people]
    taken = np.zeros((*shape, len(thresholds)), bool)
    table = np.full((found.ranks.max() + 1, *shape), -1.0)
    table[found.ranks[first], image, slot] = alike
    row_of = np.full(table.shape[:2], -1)
    row_of[found.ranks[first], image] = first
    limits = np.minimum(thresholds, 1 - 1e-10)
    for oks, rows in zip(table, row_of, strict=True):
        free = (oks[..., None] >= limits) & (~taken | crowd[..., None])  # (images, slots, t)
        mine, found_one = _nearest(oks, free, count)
        here, at = np.nonzero(found_one)
        taken[here, mine[here, at], at] = True
        matched[rows[here], at] = people[here, mine[here, at]]
    return matched


def _nearest(oks, free, count):
    """The slot of the most similar free person, of those who count if there is one, (images, t)."""
    regular = np.where(free & count[..., None], oks[..., None], -1)
    others = np.where(free & ~count[..., None], oks[..., None], -1)
    chosen = np.where((regular >= 0).any(axis=1)[:, None], regular, others)
    # Among equals pycocotools takes the last.
    slot = chosen.shape[1] - 1 - chosen[:, ::-1].argmax(axis=1)
    return slot, (chosen >= 0).any(axis=1)


def curves(
    found: Found, truth: Truth, matched: np.ndarray, *, skipped: np.ndarray | bool = False
) -> Curves:
    """Precision and recall of `match`'s result; `skipped` (m,) are no false alarms if unmatched."""
    total, steps = np.count_nonzero(truth.count), matched.shape[1]
    if not total:
        return Curves(np.full((steps, len(RECALLS)), -1.0), np.full(steps, -1.0))
    order = np.argsort(-found.scores, kind="stable")
    hit, ignored = matched >= 0, (matched >= 0) & ~truth.count[matched]
    ignored |= ~hit & np.broadcast_to(skipped, len(hit))[:, None]
    hits = np.cumsum((hit & ~ignored)[order], axis=0, dtype=float)
    alarms = np.cumsum((~hit & ~ignored)[order], axis=0, dtype=float)
    recall, precision = hits / total, hits / (hits + alarms + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    table = np.zeros((steps, len(RECALLS)))
    for row, (reached, precise) in enumerate(zip(recall.T, precision.T, strict=True)):
        places = np.searchsorted(reached, RECALLS)
        inside = places < len(reached)
        table[row, inside] = precise[places[inside]]
    return Curves(table, recall[-1] if len(recall) else np.zeros(steps))

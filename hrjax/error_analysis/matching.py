"""Detections matched to annotations by OKS as COCO does, and the curves of precision.

The same numbers as pycocotools', to the last digits, for all images at once in NumPy: the error
analysis asks for them a hundred times.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.ground_truth import Truth
from hrjax import oks
from hrjax.detections import Detections

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


@dataclasses.dataclass(frozen=True, eq=False)
class Ranked:
    """The best detections of each image, the best first, with their places in the results.

    `rows` (m,) are those of the detections that they were taken from; `ranks` (m,) count from 0 in
    each image.
    """

    detections: Detections
    rows: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclasses.dataclass(frozen=True)
class Curves:
    """Precision (10, 101) and highest recall (10,) at the thresholds; -1 where nothing counts."""

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


def rank(detections: Detections, max_people: int) -> Ranked:
    """The `max_people` best detections of each image; 0 takes all."""
    images = detections.image_ids
    order = np.lexsort((np.arange(len(images)), -detections.person_scores, images))
    ranks = np.arange(len(order)) - np.searchsorted(images[order], images[order])
    kept = ranks < (max_people or np.inf)
    return Ranked(detections.take(order[kept]), order[kept], ranks[kept])


def annotated_images(truth: Truth) -> np.ndarray:
    """The image id of each annotation, (g,)."""
    return truth.image_ids[truth.image_rows]


def pairs(ranked: Ranked, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Rows of `ranked` and of `truth` for every two of the same image, sorted by the first."""
    images = annotated_images(truth)
    order = np.argsort(images, kind="stable")
    images = images[order]
    start = np.searchsorted(images, ranked.detections.image_ids, "left")
    end = np.searchsorted(images, ranked.detections.image_ids, "right")
    first = np.repeat(np.arange(len(ranked)), end - start)
    offset = np.cumsum(end - start) - (end - start)
    return first, order[start[first] + np.arange(len(first)) - offset[first]]


def joint_similarity(
    keypoints: np.ndarray,
    truth: Truth,
    rows: np.ndarray,
    sigmas: Sequence[float],
    joints: np.ndarray | None = None,
) -> np.ndarray:
    """The similarity of joints (p, k, 2) with those of truth's `rows` (p,), 0 to 1, (p, k).

    The truth's joints are taken in the order of `joints` where it is given. 0 where the truth has
    no label.
    """
    joints = np.arange(truth.keypoints.shape[1]) if joints is None else joints
    difference = keypoints - truth.keypoints[rows][:, joints]
    squared = np.einsum("pkx,pkx->pk", difference, difference)
    alike = oks.joint_similarity(squared, truth.areas[rows], sigmas)
    return np.where(truth.visibility[rows][:, joints] > 0, alike, 0)


def similarity(
    keypoints: np.ndarray, truth: Truth, rows: np.ndarray, sigmas: Sequence[float]
) -> np.ndarray:
    """OKS of poses (p, k, 2) with truth's `rows` (p,), over labeled joints, (p,).

    For people without labeled joints it measures how far outside the doubled box the joints are.
    """
    labeled, areas = truth.visibility[rows] > 0, truth.areas[rows]
    alike = oks.object_keypoint_similarity(
        keypoints, truth.keypoints[rows], areas, sigmas, counted=labeled
    )
    bare = ~labeled.any(axis=1)
    corner, extent = truth.boxes[rows[bare], None, :2], truth.boxes[rows[bare], None, 2:]
    points = keypoints[bare]
    outside = np.maximum(corner - extent - points, 0) + np.maximum(points - corner - 2 * extent, 0)
    squared = np.square(outside).sum(axis=-1)
    alike[bare] = oks.joint_similarity(squared, areas[bare], sigmas).mean(axis=-1)
    return alike


def match(
    ranked: Ranked,
    truth: Truth,
    counted: np.ndarray,
    alike: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """The row of the truth that each detection matches at each threshold, (m, t), or -1.

    `alike` (p,) is the OKS of the pairs `first`, `second`, and `counted` (g,) says which
    annotations count. The best detections choose first, each the most similar annotation of those
    that count and are free; crowds are always free.
    """
    matched = np.full((len(ranked), len(thresholds)), -1)
    if not len(first):
        return matched
    _, image = np.unique(ranked.detections.image_ids[first], return_inverse=True)
    slot = np.arange(len(first)) - np.searchsorted(first, first)
    shape = (image.max() + 1, slot.max() + 1)
    people = np.full(shape, -1)
    people[image, slot] = second
    count, crowd = counted[people], truth.crowds[people]
    taken = np.zeros((*shape, len(thresholds)), bool)
    table = np.full((ranked.ranks.max() + 1, *shape), -1.0)
    table[ranked.ranks[first], image, slot] = alike
    row_of = np.full(table.shape[:2], -1)
    row_of[ranked.ranks[first], image] = first
    limits = np.minimum(thresholds, 1 - 1e-10)
    for similarities, rows in zip(table, row_of, strict=True):  # (images, slots), (images,)
        free = (similarities[..., None] >= limits) & (~taken | crowd[..., None])
        mine, has_match = _nearest(similarities, free, count)
        here, at = np.nonzero(has_match)
        taken[here, mine[here, at], at] = True
        matched[rows[here], at] = people[here, mine[here, at]]
    return matched


def _nearest(similarities, free, count):
    """The slot of the most similar free person, and whether there is one, both (images, t).

    Those that count come before all others.
    """
    regular = np.where(free & count[..., None], similarities[..., None], -1)
    others = np.where(free & ~count[..., None], similarities[..., None], -1)
    chosen = np.where((regular >= 0).any(axis=1)[:, None], regular, others)
    # Among equals pycocotools takes the last.
    slot = chosen.shape[1] - 1 - chosen[:, ::-1].argmax(axis=1)
    return slot, (chosen >= 0).any(axis=1)


def curves(
    ranked: Ranked,
    counted: np.ndarray,
    matched: np.ndarray,
    *,
    ignored: np.ndarray | bool = False,
) -> Curves:
    """Precision and recall of `match`'s result.

    Detections that are `ignored` (m,) are not false positives if they match nothing.
    """
    total, steps = np.count_nonzero(counted), matched.shape[1]
    if not total:
        return Curves(np.full((steps, len(RECALLS)), -1.0), np.full(steps, -1.0))
    order = np.argsort(-ranked.detections.person_scores, kind="stable")
    hit, skipped = matched >= 0, (matched >= 0) & ~counted[matched]
    skipped |= ~hit & np.broadcast_to(ignored, len(hit))[:, None]
    hits = np.cumsum((hit & ~skipped)[order], axis=0, dtype=float)
    misses = np.cumsum((~hit & ~skipped)[order], axis=0, dtype=float)
    recall, precision = hits / total, hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    table = np.zeros((steps, len(RECALLS)))
    for row, (reached, precise) in enumerate(zip(recall.T, precision.T, strict=True)):
        places = np.searchsorted(reached, RECALLS)
        inside = places < len(reached)
        table[row, inside] = precise[places[inside]]
    return Curves(table, recall[-1] if len(recall) else np.zeros(steps))

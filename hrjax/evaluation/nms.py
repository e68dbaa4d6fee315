"""OKS-NMS: which of the detections of an image to keep where several are of the same person.

Whole splits at once, in NumPy. Each function of METHODS returns the rows to keep, image by image.
"""

from collections.abc import Sequence

import numpy as np

from hrjax.detections import check_finite
from hrjax.oks import object_keypoint_similarity

PAIRS_AT_ONCE = 2**15  # so that intermediate results stay in the processor's cache


def similarity(
    keypoints: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """The OKS of pairs of detections, (p,), over all their joints.

    `first` and `second` (p,) are rows of `keypoints` (n, k, 2) and `areas` (n,), the square pixels
    of the boxes that were cropped.
    """
    points, areas = _checked(keypoints, areas, sigmas)
    alike = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        a, b = first[part], second[part]
        mean_areas = (areas[a] + areas[b]) / 2
        alike[part] = object_keypoint_similarity(points[a], points[b], mean_areas, sigmas)
    return alike


def hard_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    image_ids: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> np.ndarray:
    """Rows of detections that are not too similar to a better one of the same image.

    Too similar is an OKS above `threshold`. `keypoints` are (n, k, 2), the others (n,). The best of
    each image come first; of equals the last comes first, as in the references.
    """
    order = _order(keypoints, scores, areas, image_ids)
    first, second = _pairs(image_ids[order])
    close = _closer_than(threshold, keypoints, areas, sigmas, order[first], order[second])
    kept = [True] * len(order)
    # Pairs are sorted by the better one of them, which is decided once its pairs come.
    for better, worse in zip(first[close].tolist(), second[close].tolist(), strict=True):
        if kept[better]:
            kept[worse] = False
    return order[np.array(kept, bool)]


def soft_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    image_ids: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
    *,
    max_people: int = 20,
) -> np.ndarray:
    """Rows of the best `max_people` detections of each image (0 = all), by decaying scores.

    Whenever one is chosen, the scores of the others in its image are multiplied by
    exp(-OKS² / `threshold`). The decayed scores decide the order; nothing else uses them.
    """
    remaining = _order(keypoints, scores, areas, image_ids)
    decayed = np.asarray(scores, np.float64)[remaining]
    chosen = []
    while len(remaining) and not 0 < max_people <= len(chosen):
        _, starts, group = np.unique(
            image_ids[remaining], return_index=True, return_inverse=True
        )  # they are sorted by image, the best of each first
        best = remaining[starts]
        chosen.append(best)
        others = np.ones(len(remaining), bool)
        others[starts] = False
        partner, remaining, decayed = best[group[others]], remaining[others], decayed[others]
        overlap = similarity(keypoints, areas, sigmas, partner, remaining)
        decayed = decayed * np.exp(-np.square(overlap) / threshold)
        again = _best_first(image_ids[remaining], decayed)
        remaining, decayed = remaining[again], decayed[again]
    rows = np.concatenate([np.empty(0, np.int64), *chosen])
    return rows[np.argsort(image_ids[rows], kind="stable")]


def keep_all(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    image_ids: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> np.ndarray:
    """All rows, image by image, the best first."""
    return _order(keypoints, scores, areas, image_ids)


METHODS = {"hard": hard_nms, "soft": soft_nms, "none": keep_all}


def _order(keypoints, scores, areas, image_ids):
    """Rows sorted by image, in each the best first."""
    shapes = tuple(map(np.shape, (scores, areas, image_ids)))
    if set(shapes) != {(len(keypoints),)}:
        raise ValueError(
            f"scores, areas and image_ids must be (n,) for {len(keypoints)} detections; got "
            f"{', '.join(map(str, shapes))}"
        )
    check_finite(keypoints, "keypoints")
    check_finite(scores, "scores")
    return _best_first(image_ids, scores)


def _best_first(image_ids, scores):
    # The references sort by argsort()[::-1], so that the last of equals comes first.
    return np.lexsort((-np.arange(len(scores)), -np.asarray(scores), image_ids))


def _pairs(image_ids):
    """Positions of every two detections of an image in a list sorted by image, (p,) and (p,)."""
    count = len(image_ids)
    ends = np.searchsorted(image_ids, image_ids, side="right")
    later = ends - np.arange(count) - 1  # how many of the image follow each one
    first = np.repeat(np.arange(count), later)
    starts = np.cumsum(later) - later
    second = first + 1 + np.arange(len(first)) - starts[first]
    return first, second


def _closer_than(threshold, keypoints, areas, sigmas, first, second):
    """Whether pairs have an OKS above `threshold`, (p,)."""
    close = _perhaps_closer_than(threshold, keypoints, areas, sigmas, first, second)
    candidates = np.flatnonzero(close)
    alike = similarity(keypoints, areas, sigmas, first[candidates], second[candidates])
    close[candidates] = alike > threshold
    return close


def _perhaps_closer_than(threshold, keypoints, areas, sigmas, first, second):
    """False for most pairs whose OKS is not above `threshold`, by a few of their joints, (p,).

    Where some joints are so far apart that the others cannot make up for it, the others need not be
    computed. The joints with the smallest sigmas decide soonest.
    """
    strictest = np.argsort(sigmas)[: int((1 - threshold) * len(sigmas)) + 3]
    points, areas = _checked(keypoints, areas, sigmas)
    x, y = np.moveaxis(points[:, strictest].astype(np.float32), -1, 0)
    half = (areas / 2).astype(np.float32)
    scale = (-1 / (2 * np.square(2 * np.asarray(sigmas)[strictest]))).astype(np.float32)
    # The margin is far above what single precision loses.
    needed = (threshold - 1e-3) * len(sigmas) - (len(sigmas) - len(strictest))
    perhaps = np.empty(len(first), bool)
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        a, b = first[part], second[part]
        squared = np.square(x[a] - x[b]) + np.square(y[a] - y[b])
        area = half[a] + half[b] + np.spacing(np.float32(1))
        perhaps[part] = np.exp(squared * scale / area[:, None]).sum(axis=-1) > needed
    return perhaps


def _checked(keypoints, areas, sigmas):
    keypoints, areas = np.asarray(keypoints, np.float64), np.asarray(areas, np.float64)
    if keypoints.shape != (len(areas), len(sigmas), 2):
        raise ValueError(
            f"keypoints must be (n, k, 2) for {len(areas)} areas and {len(sigmas)} sigmas; got "
            f"{keypoints.shape}"
        )
    return keypoints, areas

"""How alike people are and whom to keep: rescoring and OKS-NMS of whole splits, in NumPy."""

from collections.abc import Sequence

import numpy as np

PAIRS_AT_ONCE = 2**15  # so that what is computed on the way stays in the processor's cache
SOFT_LIMIT = 20  # people of an image, as many as COCO looks at


def rescore(scores: np.ndarray, box_scores: np.ndarray, *, threshold: float = 0.2) -> np.ndarray:
    """Scores of people, (n,): the box's times the mean of the joint scores above `threshold`.

    `scores` are (n, k). A person without a joint above the threshold gets 0. Annotated boxes have
    the score 1.
    """
    scores, box_scores = np.asarray(scores), np.asarray(box_scores, np.float64)
    if scores.ndim != 2 or box_scores.shape != scores.shape[:1]:
        raise ValueError(
            f"scores must be (n, k) and box_scores (n,); got {scores.shape} and {box_scores.shape}"
        )
    check_finite(scores, "scores")
    counted = scores > threshold
    total = np.where(counted, scores, 0).sum(axis=1, dtype=np.float64)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def similarity(
    keypoints: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    first: np.ndarray,
    second: np.ndarray,
) -> np.ndarray:
    """Object keypoint similarity of pairs of people, (p,), over all their joints.

    `first` and `second` (p,) are rows of `keypoints` (n, k, 2) and `areas` (n,), the square pixels
    of the boxes that were cropped.
    """
    points, areas = _checked(keypoints, areas, sigmas)
    scale = -1 / (2 * np.square(2 * np.asarray(sigmas)))  # (k,)
    found = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        a, b = first[part], second[part]
        difference = points[a] - points[b]
        squared = np.einsum("pkx,pkx->pk", difference, difference)
        area = (areas[a] + areas[b]) / 2 + np.spacing(1)  # of empty boxes
        found[part] = np.exp(squared * scale / area[:, None]).mean(axis=-1)
    return found


def nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    image_ids: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> np.ndarray:
    """Rows of the people to keep: those not too similar to a better one of the same image.

    Too similar is an OKS above `threshold`. `keypoints` are (n, k, 2), the others (n,). What is
    kept comes image by image, best first; among equals the last comes first, as in the references.
    """
    order = _order(keypoints, scores, areas, image_ids)
    first, second = _pairs(image_ids[order])
    close = _closer_than(threshold, keypoints, areas, sigmas, order[first], order[second])
    kept = [True] * len(order)
    # Pairs are sorted by their better person, whose fate is settled once its pairs come.
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
) -> np.ndarray:
    """Rows of the people to keep, image by image: the best 20, in the order of decaying scores.

    Once somebody is chosen, the scores of the others in the image are multiplied by
    exp(-OKS² / `threshold`). The decayed scores only order people; nothing else uses them.
    """
    remaining = _order(keypoints, scores, areas, image_ids)
    decayed = np.asarray(scores, np.float64)[remaining]
    chosen = []
    while len(remaining) and len(chosen) < SOFT_LIMIT:
        _, starts, group = np.unique(
            image_ids[remaining], return_index=True, return_inverse=True
        )  # people are sorted by image, the best of each first
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


def keep_all(keypoints, scores, areas, image_ids, sigmas, threshold) -> np.ndarray:
    """Rows of everybody, image by image, best first."""
    return _order(keypoints, scores, areas, image_ids)


NMS = {"hard": nms, "soft": soft_nms, "none": keep_all}


def _order(keypoints, scores, areas, image_ids):
    """Rows sorted by image, in each the best first."""
    shapes = tuple(map(np.shape, (scores, areas, image_ids)))
    if set(shapes) != {(len(keypoints),)}:
        raise ValueError(
            f"scores, areas and image_ids must be (n,) for {len(keypoints)} people; got "
            f"{', '.join(map(str, shapes))}"
        )
    check_finite(keypoints, "keypoints")
    check_finite(scores, "scores")
    return _best_first(image_ids, scores)


def _best_first(image_ids, scores):
    # The references sort by argsort()[::-1], so that the last of equals comes first.
    return np.lexsort((-np.arange(len(scores)), -np.asarray(scores), image_ids))


def _pairs(image_ids):
    """Positions of every two people of the same image in a list sorted by image, (p,) and (p,)."""
    count = len(image_ids)
    ends = np.searchsorted(image_ids, image_ids, side="right")
    later = ends - np.arange(count) - 1  # people of the image behind each one
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

    If so many joints are apart that the others cannot make up for it, there is no need to look at
    these. The strictest joints tell it soonest.
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


def check_finite(values: np.ndarray, name: str) -> None:
    """Raises ValueError where a network gave numbers that are NaN or infinite."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{name} hold {int(bad.sum())} numbers that are NaN or infinite; the network diverged "
            "or its weights are damaged"
        )

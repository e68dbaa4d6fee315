"""Object keypoint similarity (OKS): how alike two poses are, for NMS and the error analysis."""

from collections.abc import Sequence

import numpy as np


def joint_similarity(squared: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """The similarity of single joints, 0 to 1, (p, k).

    `squared` (p, k) are squared distances in pixels, `areas` (p,) those of the people.
    """
    scale = -1 / (2 * np.square(2 * np.asarray(sigmas)))
    # np.spacing is pycocotools' guard against areas of 0.
    return np.exp(squared * scale / (areas[:, None] + np.spacing(1)))


def object_keypoint_similarity(
    first: np.ndarray,
    second: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    counted: np.ndarray | None = None,
) -> np.ndarray:
    """The OKS of pairs of poses (p, k, 2), 0 to 1, (p,).

    It is the mean similarity of the joints that are `counted` (p, k), by default all; 0 where none
    is.
    """
    difference = first - second
    squared = np.einsum("pkx,pkx->pk", difference, difference)
    alike = joint_similarity(squared, areas, sigmas)
    if counted is None:
        return alike.mean(axis=-1)
    return np.where(counted, alike, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)

"""Scores of whole splits by distance, in NumPy: PCKh for MPII; PCK, AUC and EPE for all others."""

from collections.abc import Sequence

import numpy as np

from hrjax.evaluation.oks import check_finite

MPII_JOINTS = 16
# Left and right joints of each column of the usual MPII table.
PCKH_GROUPS = {
    "Head": (9,),
    "Shoulder": (12, 13),
    "Elbow": (11, 14),
    "Wrist": (10, 15),
    "Hip": (2, 3),
    "Knee": (1, 4),
    "Ankle": (0, 5),
}
# Pelvis and thorax are left out of the mean.
PCKH_MEAN_JOINTS = (0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15)
AUC_PIXELS, AUC_STEPS = 30, 20  # mmpose's keypoint_auc


def pckh(
    predictions: np.ndarray,
    truth: np.ndarray,
    present: np.ndarray,
    head_sizes: np.ndarray,
    threshold: float,
) -> dict[str, float]:
    """Percent of joints no farther from the truth than `threshold` head sizes, and their mean.

    `predictions` and `truth` (n, 16, 2) are in 0-based image pixels, `present` (n, 16) says which
    joints are annotated, `head_sizes` (n,) are 0.6 times the diagonals of the head boxes. Left and
    right are averaged evenly; "Mean" weighs joints by how many people have them. A group that
    nobody has is NaN.
    """
    present = np.asarray(present).astype(bool)
    head_sizes = np.asarray(head_sizes, np.float64)
    _check_mpii(np.shape(predictions), np.shape(truth), present, head_sizes)
    check_finite(predictions, "predictions")
    difference = np.asarray(predictions, np.float64) - np.asarray(truth, np.float64)
    error = np.linalg.norm(difference, axis=-1) / head_sizes[:, None]  # (n, 16)
    hits, totals = ((error <= threshold) & present).sum(0), present.sum(0)
    percent = np.full(MPII_JOINTS, np.nan)
    np.divide(100.0 * hits, totals, out=percent, where=totals > 0)
    scores = {name: float(percent[list(joints)].mean()) for name, joints in PCKH_GROUPS.items()}
    counted = list(PCKH_MEAN_JOINTS)
    return {**scores, "Mean": float(100.0 * hits[counted].sum() / totals[counted].sum())}


def _check_mpii(predictions, truth, present, head_sizes):
    n = len(head_sizes)
    expected = ((n, MPII_JOINTS, 2), (n, MPII_JOINTS, 2), (n, MPII_JOINTS), (n,))
    shapes = (predictions, truth, present.shape, head_sizes.shape)
    if shapes != expected:
        raise ValueError(
            "predictions, truth, present and head_sizes must be (n, 16, 2), (n, 16, 2), (n, 16) "
            f"and (n,); got {', '.join(map(str, shapes))}"
        )
    if not (head_sizes > 0).all():
        raise ValueError(
            f"{int((~(head_sizes > 0)).sum())} of {n} head sizes are missing or not positive; "
            "PCKh needs the ground truth of the validation split (gt_valid.mat)"
        )
    if not present[:, PCKH_MEAN_JOINTS].any():
        raise ValueError(f"none of the {n} people has an annotated joint")


def pckh_table(
    predictions: np.ndarray, truth: np.ndarray, present: np.ndarray, head_sizes: np.ndarray
) -> dict[str, dict[str, float]]:
    """PCKh at the three thresholds that papers print, each under its true name.

    What the official HRNet and mmpose 0.x print as "Mean@0.1" is taken at 0.11: they read element
    11 of arange(0, 0.51, 0.01). Compare a published "@0.1" of theirs with "PCKh@0.11" here.
    """
    thresholds = {"PCKh@0.5": 0.5, "PCKh@0.10": 0.10, "PCKh@0.11": 0.11}
    return {
        name: pckh(predictions, truth, present, head_sizes, threshold)
        for name, threshold in thresholds.items()
    }


def pck(distances: np.ndarray, labelled: np.ndarray, threshold: float) -> float:
    """The share of joints nearer to the truth than `threshold`: per joint, averaged over joints.

    `distances` and `labelled` are (n, k). As in mmpose: a distance on the threshold doesn't count,
    and joints that nobody has are left out of the average.
    """
    _check_distances(distances, labelled)
    labelled = np.asarray(labelled).astype(bool)
    hits, totals = ((distances < threshold) & labelled).sum(0), labelled.sum(0)
    return float(np.mean(hits[totals > 0] / totals[totals > 0]))


def auc(distances: np.ndarray, labelled: np.ndarray) -> float:
    """PCK averaged over the thresholds 0, 1.5, … 28.5 of `distances` in pixels, as in mmpose."""
    thresholds = AUC_PIXELS * np.arange(AUC_STEPS) / AUC_STEPS
    return float(np.mean([pck(distances, labelled, threshold) for threshold in thresholds]))


def epe(distances: np.ndarray, labelled: np.ndarray) -> float:
    """The mean distance of labelled joints: end-point error; far ones make it large."""
    _check_distances(distances, labelled)
    return float(distances[np.asarray(labelled).astype(bool)].mean())


def _check_distances(distances, labelled):
    if np.shape(distances) != np.shape(labelled) or np.ndim(labelled) != 2:
        raise ValueError(
            "distances and labelled must be (n, k) both; got "
            f"{np.shape(distances)} and {np.shape(labelled)}"
        )
    if not np.any(labelled):
        raise ValueError(f"none of the {len(labelled)} people has a labelled joint")


def mean_pose(
    keypoints: np.ndarray, visible: np.ndarray, center: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Where each joint is on average, (k, 2), in fractions of a person's box from its center.

    Takes the columns of a training split; with `place_pose`, the score to beat without looking.
    """
    shapes = tuple(map(np.shape, (keypoints, visible, center, size)))
    n, k = shapes[1] if len(shapes[1]) == 2 else (-1, -1)
    if shapes != ((n, k, 2), (n, k), (n, 2), (n, 2)):
        raise ValueError(
            "keypoints, visible, center and size must be (n, k, 2), (n, k), (n, 2) and (n, 2); "
            f"got {', '.join(map(str, shapes))}"
        )
    visible = np.asarray(visible, np.float64)[..., None]
    keypoints, center = np.asarray(keypoints, np.float64), np.asarray(center, np.float64)
    width_height = np.asarray(size, np.float64)[:, None, ::-1]
    relative = np.where(visible > 0, (keypoints - center[:, None]) / width_height, 0)
    return (relative * visible).sum(0) / np.maximum(visible.sum(0), 1)


def place_pose(pose: np.ndarray, center: np.ndarray, size: np.ndarray) -> np.ndarray:
    """One pose of `mean_pose` in every box, (n, k, 2) in image pixels."""
    return np.asarray(center)[:, None] + pose * np.asarray(size)[:, None, ::-1]


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as aligned text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pattern = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(pattern.format(*row).rstrip() for row in rows)

"""Scores of whole splits by distance, in NumPy: PCKh for MPII; PCK, AUC and EPE for all others.

JHMDB's PCK, by the size of the person's box and by that of the torso, has groups of joints as well.
"""

from collections.abc import Sequence

import numpy as np

from hrjax.detections import check_finite

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
# The columns of the usual table of JHMDB; neck and belly count in the mean alone.
JHMDB_GROUPS = {
    "Head": ("head",),
    **{
        name: (f"left_{name.lower()}", f"right_{name.lower()}")
        for name in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
    },
}
TORSO = ("left_shoulder", "right_hip")
SMALLEST_TORSO = 1.0  # pixels; below it, mmpose's JhmdbPCKAccuracy takes the predicted torso


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
    right are averaged evenly; "Mean" weights joints by how many people have them. A group of joints
    that no person has is NaN.
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


def pck(distances: np.ndarray, labeled: np.ndarray, threshold: float) -> float:
    """The share of joints nearer to the truth than `threshold`, averaged over the joints.

    `distances` and `labeled` are (n, k). As in mmpose, a distance equal to the threshold does not
    count, and joints that no person has are left out of the average.
    """
    _check_distances(distances, labeled)
    labeled = np.asarray(labeled).astype(bool)
    hits, totals = ((distances < threshold) & labeled).sum(0), labeled.sum(0)
    return float(np.mean(hits[totals > 0] / totals[totals > 0]))


def pck_of_groups(
    distances: np.ndarray, labeled: np.ndarray, threshold: float, names: Sequence[str]
) -> dict[str, float]:
    """PCK of each of `JHMDB_GROUPS` and, as "Mean", of all joints; NaN where nothing is labeled.

    `distances` and `labeled` are (n, k), `names` those of the k joints. Left and right are averaged
    evenly, as in mmpose's JhmdbPCKAccuracy.
    """
    missing = [name for group in JHMDB_GROUPS.values() for name in group if name not in names]
    if missing:
        raise ValueError(
            f"PCK of JHMDB's groups needs joints that the skeleton lacks: {', '.join(missing)}; "
            "config.eval.metrics=keypoints has PCK of any joints"
        )
    mean = pck(distances, labeled, threshold)
    labeled = np.asarray(labeled).astype(bool)
    hits, totals = ((distances < threshold) & labeled).sum(0), labeled.sum(0)
    shares = np.full(len(totals), np.nan)
    np.divide(hits, totals, out=shares, where=totals > 0)
    groups = {
        name: float(np.mean([shares[names.index(joint)] for joint in group]))
        for name, group in JHMDB_GROUPS.items()
    }
    return {**groups, "Mean": mean}


def torso_sizes(
    predictions: np.ndarray, truth: np.ndarray, labeled: np.ndarray, names: Sequence[str]
) -> np.ndarray:
    """From the left shoulder to the right hip of each person, (n,), in pixels.

    `predictions` and `truth` are (n, k, 2), `labeled` (n, k). Where the truth does not have both
    joints, or has them less than a pixel apart, it is the torso of the prediction, as in mmpose.
    """
    shoulder, hip = (names.index(name) for name in TORSO)
    known, predicted = (
        np.linalg.norm(np.asarray(joints, np.float64)[:, shoulder] - joints[:, hip], axis=-1)
        for joints in (truth, predictions)
    )
    labeled = np.asarray(labeled).astype(bool)
    usable = labeled[:, shoulder] & labeled[:, hip] & (known >= SMALLEST_TORSO)
    return np.where(usable, known, predicted)


def auc(distances: np.ndarray, labeled: np.ndarray) -> float:
    """PCK averaged over the thresholds 0, 1.5, … 28.5 of `distances` in pixels, as in mmpose."""
    thresholds = AUC_PIXELS * np.arange(AUC_STEPS) / AUC_STEPS
    return float(np.mean([pck(distances, labeled, threshold) for threshold in thresholds]))


def epe(distances: np.ndarray, labeled: np.ndarray) -> float:
    """The mean distance of labeled joints, the end-point error; outliers dominate it."""
    _check_distances(distances, labeled)
    return float(distances[np.asarray(labeled).astype(bool)].mean())


def _check_distances(distances, labeled):
    if np.shape(distances) != np.shape(labeled) or np.ndim(labeled) != 2:
        raise ValueError(
            "distances and labeled must both be (n, k); got "
            f"{np.shape(distances)} and {np.shape(labeled)}"
        )
    if not np.any(labeled):
        raise ValueError(f"none of the {len(labeled)} people has a labeled joint")


def mean_pose(
    keypoints: np.ndarray, visible: np.ndarray, center: np.ndarray, size: np.ndarray
) -> np.ndarray:
    """Where each joint is on average, (k, 2), in fractions of a person's box from its center.

    Takes the columns of a training split. Placed by `place_pose`, it is the baseline that ignores
    the images.
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

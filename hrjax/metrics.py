"""Scores of whole splits, in NumPy: PCKh for MPII, rescoring, OKS-NMS and AP for COCO."""

import contextlib
import io
from collections.abc import Mapping, Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

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
COCO_NUMBERS = (
    *("AP", "AP .5", "AP .75", "AP (M)", "AP (L)"),
    *("AR", "AR .5", "AR .75", "AR (M)", "AR (L)"),
)


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
    _check_finite(predictions, "predictions")
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
    _check_finite(scores, "scores")
    counted = scores > threshold
    total = np.where(counted, scores, 0).sum(axis=1, dtype=np.float64)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def oks(keypoints: np.ndarray, areas: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Object keypoint similarity of each two of n people, (n, n), over all their joints.

    `areas` (n,) are in square pixels, those of the boxes that were cropped.
    """
    keypoints, areas = np.asarray(keypoints, np.float64), np.asarray(areas, np.float64)
    if keypoints.shape != (len(areas), len(sigmas), 2):
        raise ValueError(
            f"keypoints must be (n, k, 2) for {len(areas)} areas and {len(sigmas)} sigmas; got "
            f"{keypoints.shape}"
        )
    squared = np.square(keypoints[:, None] - keypoints[None]).sum(-1)  # (n, n, k)
    variance = np.square(2 * np.asarray(sigmas))
    area = (areas[:, None] + areas[None]) / 2
    return np.exp(-squared / (2 * variance * area[..., None])).mean(-1)


def oks_nms(
    keypoints: np.ndarray,
    scores: np.ndarray,
    areas: np.ndarray,
    sigmas: Sequence[float],
    threshold: float,
) -> np.ndarray:
    """Which people of one image to keep, best first: those not too similar to a better one.

    Too similar is an OKS above `threshold`.
    """
    if np.shape(scores) != np.shape(areas):
        raise ValueError(
            f"scores and areas must be (n,); got {np.shape(scores)} and {np.shape(areas)}"
        )
    _check_finite(keypoints, "keypoints")
    _check_finite(scores, "scores")
    similar = oks(keypoints, areas, sigmas) > threshold
    kept: list[int] = []
    # Among equals the last comes first, as in the reference's argsort()[::-1].
    for person in np.argsort(scores, kind="stable")[::-1]:
        if not similar[person, kept].any():
            kept.append(int(person))
    return np.array(kept, np.int64)


def coco_results(
    keypoints: np.ndarray,
    joint_scores: np.ndarray,
    person_scores: np.ndarray,
    image_ids: np.ndarray,
) -> list[dict]:
    """People as entries of a COCO result file; a joint is x, y and its score."""
    shapes = tuple(map(np.shape, (keypoints, joint_scores, person_scores, image_ids)))
    n, k = shapes[1] if len(shapes[1]) == 2 else (-1, -1)
    if shapes != ((n, k, 2), (n, k), (n,), (n,)):
        raise ValueError(
            "keypoints, joint_scores, person_scores and image_ids must be (n, k, 2), (n, k), (n,) "
            f"and (n,); got {', '.join(map(str, shapes))}"
        )
    _check_finite(keypoints, "keypoints")
    _check_finite(joint_scores, "joint_scores")
    _check_finite(person_scores, "person_scores")
    joints = np.concatenate([keypoints, np.asarray(joint_scores)[..., None]], axis=-1)
    rows = joints.reshape(n, 3 * k).astype(np.float64).tolist()
    return [
        {"image_id": int(image_id), "category_id": 1, "keypoints": row, "score": float(score)}
        for image_id, row, score in zip(image_ids, rows, person_scores, strict=True)
    ]


def coco_ap(results: Sequence[Mapping], annotation_file: str) -> dict[str, float]:
    """COCO's ten numbers for the entries of `coco_results`, fractions; -1 where nobody counts.

    All images of the file count, also those without results.
    """
    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(annotation_file)
        _check_coco_truth(truth, annotation_file)
        _check_coco_results(results, truth, annotation_file)
        evaluation = COCOeval(truth, _coco_found(truth, results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(COCO_NUMBERS, evaluation.stats.tolist(), strict=True))


def _check_coco_truth(truth, annotation_file):
    fields = {"keypoints", "num_keypoints", "area", "bbox", "iscrowd"}
    missing = set().union(*(fields - entry.keys() for entry in truth.anns.values()))
    if missing or not truth.anns:
        what = f"annotations without {', '.join(sorted(missing))}" if missing else "no annotations"
        raise ValueError(f"{annotation_file} has {what}; AP needs a person_keypoints_*.json")
    if 0 in truth.anns:
        # pycocotools marks an unmatched detection by the id 0.
        raise ValueError(
            f"{annotation_file} has an annotation with id 0, which AP would never count as found; "
            "number the annotations from 1"
        )


def _check_coco_results(results, truth, annotation_file):
    unknown = {entry["image_id"] for entry in results} - truth.imgs.keys()
    if unknown:
        raise ValueError(
            f"{len(unknown)} images of the results are not in {annotation_file}, e.g. "
            f"{min(unknown)}; they belong to another split"
        )
    lengths = {len(entry["keypoints"]) for entry in results} - {51}
    if lengths:
        raise ValueError(
            f"each result needs 51 keypoint numbers (x, y, score of 17 joints); got {min(lengths)}"
        )


def _coco_found(truth, results):
    """The results as pycocotools wants them."""
    if results:
        # loadRes writes into the entries that it gets.
        return truth.loadRes([dict(entry) for entry in results])
    # loadRes looks at the first result, and there is none.
    found = COCO()
    found.dataset = {**truth.dataset, "annotations": []}
    found.createIndex()
    return found


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table as aligned text, the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pattern = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(pattern.format(*row).rstrip() for row in rows)


def _check_finite(values, name):
    bad = ~np.isfinite(values)
    if bad.any():
        raise ValueError(
            f"{name} hold {int(bad.sum())} numbers that are NaN or infinite; the network diverged "
            "or its weights are damaged"
        )

"""PoseTrack's AP of joints, as poseval computes it (evaluateAP.py, eval_helpers.py).

Poses are matched with people by how many of the person's joints are right: no farther away than
half a head. Then each joint has an AP of its own, by the scores of that joint.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.ground_truth import Truth
from hrjax.detections import Detections

THRESHOLD = 0.5  # head sizes
HEAD_SIZE = 0.6  # of the diagonal of the head's box
# The columns of the usual table; ears are not among PoseTrack's 15 joints.
GROUPS = {
    "Head": ("head_top", "head_bottom", "nose"),
    **{
        name: (f"left_{name.lower()}", f"right_{name.lower()}")
        for name in ("Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
    },
}


def joint_ap(people: Detections, truth: Truth) -> dict[str, float]:
    """AP of each group of joints and, as "mAP", of all 15 joints, as fractions.

    Images without annotations do not count, nor do joints in regions that the truth ignores, and
    predicted joints with a score of 0. A joint that no person has is left out of the means, -1 is
    the mean of none. Raises ValueError without boxes of heads, and without PoseTrack's joints.
    """
    names = [name for group in GROUPS.values() for name in group]
    joints = _joints(truth, names)
    if problem := head_problem(truth):
        raise ValueError(f"PoseTrack's AP measures in sizes of heads, and {problem}")
    scores, right, totals = [], [], np.zeros(len(names))
    for image, rows, found in _images(people, truth):
        annotated = _labeled(truth, rows, joints, image)
        rows, annotated = rows[annotated.any(axis=1)], annotated[annotated.any(axis=1)]
        predicted = people.joint_scores[np.ix_(found, joints)] > 0
        predicted &= ~_ignored(people.keypoints[np.ix_(found, joints)], _regions(truth, image))
        found, predicted = found[predicted.any(axis=1)], predicted[predicted.any(axis=1)]
        totals += annotated.sum(axis=0)
        near = _near(people, truth, found, rows, joints)
        near &= predicted[:, None] & annotated
        scores.append(np.where(predicted, people.joint_scores[np.ix_(found, joints)], np.nan))
        right.append(_of_matched(near, annotated.sum(axis=1)))
    scores, right = (np.concatenate([np.zeros((0, len(names))), *x]) for x in (scores, right))
    columns = zip(scores.T, right.T, totals, strict=True)
    precision = dict(zip(names, (_average_precision(*each) for each in columns), strict=True))
    numbers = {name: _mean([precision[joint] for joint in own]) for name, own in GROUPS.items()}
    return {"mAP": _mean(list(precision.values())), **numbers}


def _joints(truth, names):
    missing = [name for name in names if name not in truth.skeleton.names]
    if missing:
        raise ValueError(
            f"PoseTrack's AP needs joints that the skeleton lacks: {', '.join(missing)}; "
            "config.eval.metrics=coco_ap is AP of any joints"
        )
    return [truth.skeleton.names.index(name) for name in names]


def head_problem(truth: Truth) -> str:
    """Why errors can't be measured in sizes of heads; "" where they can."""
    if truth.heads is None:
        return f"{truth.path} has no boxes of heads"
    missing = np.count_nonzero(~(truth.heads[truth.counted, 2:] > 0).all(axis=1))
    return f"{missing} people of {truth.path} have no bbox_head with a size" if missing else ""


def _images(people, truth):
    """Each image with annotations: its row, and the rows of its people and its poses."""
    of_poses = truth.rows_of_images(people.image_ids)
    counted = np.flatnonzero(truth.counted)
    for image in np.unique(truth.image_rows):
        yield image, counted[truth.image_rows[counted] == image], np.flatnonzero(of_poses == image)


def _labeled(truth, rows, joints, image):
    labeled = truth.visibility[np.ix_(rows, joints)] > 0
    return labeled & ~_ignored(truth.keypoints[np.ix_(rows, joints)], _regions(truth, image))


def _regions(truth, image):
    return () if truth.ignored is None else truth.ignored[image]


def _ignored(points: np.ndarray, regions: Sequence[np.ndarray]) -> np.ndarray:
    """Which points (n, k, 2) are inside a polygon (p, 2), its edge excluded, (n, k)."""
    inside = np.zeros(points.shape[:-1], bool)
    for region in regions:
        if len(region) < 3:
            continue
        polygon = region.astype(np.float32)
        flat = [
            cv2.pointPolygonTest(polygon, point, False) > 0
            for point in points.reshape(-1, 2).astype(float).tolist()
        ]
        inside |= np.array(flat, bool).reshape(inside.shape)
    return inside


def _near(people, truth, found, rows, joints):
    """Which joints of poses are right for which people, (poses, people, joints)."""
    difference = (
        people.keypoints[np.ix_(found, joints)][:, None] - truth.keypoints[np.ix_(rows, joints)]
    )
    heads = HEAD_SIZE * np.linalg.norm(truth.heads[rows, 2:], axis=-1)
    return np.linalg.norm(difference, axis=-1) <= THRESHOLD * heads[:, None]


def _of_matched(near, counts):
    """Which joints (poses, joints) of poses are right, for the person that each is matched with.

    Each pose is matched to the person with the largest share of labeled joints that it gets right;
    of the poses matched to one person the best counts.
    """
    right = np.zeros((near.shape[0], near.shape[2]), bool)
    if not near.shape[0] or not near.shape[1]:
        return right
    share = near.sum(axis=2) / np.maximum(counts, 1)
    best = share.argmax(axis=1)
    share = np.where(np.arange(share.shape[1]) == best[:, None], share, 0)
    poses = share.argmax(axis=0)
    matched = np.flatnonzero(share.max(axis=0) > 0)
    right[poses[matched]] = near[poses[matched], matched]
    return right


def _average_precision(scores, right, total):
    """The area under precision by recall, as in Pascal VOC since 2010; NaN without any person."""
    if not total:
        return np.nan
    known = np.isfinite(scores)
    order = np.argsort(-scores[known], kind="stable")
    hits = np.cumsum(right[known][order])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.concatenate([[0], hits / total])
    return float((np.diff(recall) * precision).sum())


def _mean(values):
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else -1.0

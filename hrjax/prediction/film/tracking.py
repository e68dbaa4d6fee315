"""Tracking: assigns the poses of each frame to the people followed so far.

Each person moves on at constant velocity (`motion`). The poses of the next frame are assigned to
the people by the Hungarian method, where the mean of two similarities is largest in sum: OKS of the
joints, and IoU of the boxes. Hidden people move on unseen for some time, and are found again near
the place where they should be. Boxes of people not seen for long are enlarged for that
(Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier
by Buffering the Matching Space", 2023).

Nothing here reads or writes anything: `update` takes what is known and a frame's poses, and returns
what is known then. Times are in seconds, points in pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from hrjax import oks
from hrjax.prediction.film import motion
from hrjax.prediction.film.motion import Motion
from hrjax.prediction.results import Poses

UNTRACKED = 0  # the track id of a pose that belongs to no track
MARGIN = 0.15  # of boxes around joints, relative to the longer side of what the joints span
AREA = 0.53  # of a person, relative to the box: the mean of COCO's annotations
SIZE_CHANGE = 0.2  # of one person between frames: the deviation of the logarithm
BUFFER, MAX_BUFFER = 0.3, 0.5  # by which boxes grow on each side: per second unseen, and at most


@dataclasses.dataclass(frozen=True)
class Tracking:
    """How people are followed.

    `joint_score`: joints with higher scores count. `similarity` is the least mean of OKS and IoU,
    0 to 1, at which a pose may be the same person. `duplicate`: of two poses of a frame with a
    higher OKS only the better one is tracked. `apart`: a pose with a higher OKS with that of a
    known person is not a new person. `patience`: seconds after which a person who was not seen is
    given up; a person who comes back later gets a new id.
    """

    joint_score: float = 0.2
    similarity: float = 0.15
    duplicate: float = 0.7
    apart: float = 0.3
    patience: float = 2.0

    def __post_init__(self):
        shares = (self.joint_score, self.similarity, self.duplicate, self.apart)
        if not all(0 <= share <= 1 for share in shares) or not 0 <= self.patience < np.inf:
            raise ValueError(
                f"{self} is not possible: joint_score, similarity, duplicate and apart must be "
                "from 0 to 1, and patience must not be negative"
            )


@dataclasses.dataclass(frozen=True)
class Tracks:
    """The people followed so far, a row each, and the time that the rows are for.

    `ids` (n,) count from 1. `keypoints` (n, k, 2) are where joints are or should be, NaN where they
    were never seen, and `boxes` (n, 4) as (x, y, w, h) are around them. `scores` (n,) are the usual
    means of a person's joint scores. `seen` (n,) is when a person was seen last. `next_id` is that
    of the next new person.
    """

    ids: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    motion: Motion
    seen: np.ndarray
    time: float
    next_id: int

    @property
    def unseen(self) -> np.ndarray:
        """For how many seconds each person has not been seen, (n,)."""
        return self.time - self.seen


def none(num_joints: int) -> Tracks:
    """The tracks before the first frame."""
    return Tracks(
        ids=np.zeros(0, np.int64),
        keypoints=np.zeros((0, num_joints, 2)),
        boxes=np.zeros((0, 4)),
        scores=np.zeros(0),
        motion=motion.start(np.zeros((0, 2))),
        seen=np.zeros(0),
        time=0.0,
        next_id=1,
    )


def advance(tracks: Tracks, time: float, settings: Tracking) -> Tracks:
    """The tracks at a later time, moved on; people who were not seen for too long are left out."""
    moved = motion.move(tracks.motion, max(time - tracks.time, 0.0))
    shift = moved.place - tracks.motion.place
    tracks = dataclasses.replace(
        tracks,
        keypoints=tracks.keypoints + shift[:, None],
        boxes=tracks.boxes + np.concatenate([shift, np.zeros_like(shift)], axis=1),
        motion=moved,
        time=max(time, tracks.time),
    )
    recent = tracks.unseen <= settings.patience
    return tracks if recent.all() else _rows(tracks, recent)


def update(
    tracks: Tracks, poses: Poses, time: float, sigmas: Sequence[float], settings: Tracking
) -> tuple[Tracks, np.ndarray]:
    """The tracks after a frame, and the track id of each of its poses, (m,).

    A pose gets the id UNTRACKED where a better one of the same person is in the frame, where it is
    too near to that of a known person to be a new one, and where no joint scores above
    `joint_score`. All others are of a person followed so far, or of a new one.
    """
    tracks = advance(tracks, time, settings)
    known = (poses.scores > settings.joint_score) & np.isfinite(poses.keypoints).all(axis=-1)
    joints = np.where(known[..., None], poses.keypoints, np.nan).astype(np.float64)
    boxes = pose_boxes(joints, poses.boxes)
    usable = np.flatnonzero(known.any(axis=1))
    # A box of a hidden person often shows the one in front, whose own box fits the joints better.
    fit = poses.person_scores * _iou(np.asarray(poses.boxes, np.float64), boxes)
    usable = usable[np.argsort(-fit[usable], kind="stable")]
    alike = _similarities(joints[usable], boxes[usable], sigmas)
    best = _best_of_each(alike, settings.duplicate)
    usable, alike = usable[best], alike[np.ix_(best, best)]
    rows, columns = _assign(tracks, joints[usable], boxes[usable], sigmas, settings)
    free = (alike[:, columns] < settings.apart).all(axis=1)
    free[columns] = False
    seen, new = usable[columns], np.sort(usable[free])
    scores = poses.scores.mean(axis=1)
    ids = np.full(len(boxes), UNTRACKED, np.int64)
    ids[seen] = tracks.ids[rows]
    ids[new] = tracks.next_id + np.arange(len(new))
    tracks = _see(tracks, rows, joints[seen], boxes[seen], scores[seen])
    return _add(tracks, joints[new], boxes[new], scores[new]), ids


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


def _similarities(joints, boxes, sigmas):
    """The OKS (n, n) of the poses of a frame with each other."""
    areas = boxes[:, 2:].prod(axis=1)
    return _oks(joints, joints, (areas[:, None] + areas) / 2, sigmas)


def _best_of_each(alike, limit):
    """The rows of poses, the best ones first, that are not too similar to a better one."""
    kept = []
    for row in range(len(alike)):
        if not (alike[row, kept] > limit).any():
            kept.append(row)
    return np.array(kept, int)


def _assign(tracks, joints, boxes, sigmas, settings):
    """Rows of tracks and rows of poses that are the same person."""
    if not len(tracks.ids) or not len(boxes):
        return np.zeros(0, int), np.zeros(0, int)
    areas = np.repeat(tracks.boxes[:, 2:].prod(axis=1)[:, None], len(boxes), axis=1)
    overlap = _overlap(tracks, joints, boxes)
    alike = (_oks(tracks.keypoints, joints, areas, sigmas) + overlap) / 2
    alike = alike * _same_size(tracks.keypoints, joints)
    rows, columns = linear_sum_assignment(alike, maximize=True)
    same = alike[rows, columns] >= settings.similarity
    return rows[same], columns[same]


def _oks(first, second, areas, sigmas):
    """The OKS (n, m) of poses (n, k, 2) and (m, k, 2) over the joints that both know."""
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


def _same_size(first, second):
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


def _overlap(tracks, joints, boxes):
    """The IoU (n, m) of people's boxes with those of poses, both around the joints of the pose.

    A pose of which half is hidden is compared with the same half of a person.
    """
    counted = np.isfinite(joints)[None] & np.isfinite(tracks.keypoints)[:, None]
    mine = np.where(counted, tracks.keypoints[:, None], np.nan)
    theirs = np.where(counted, joints[None], np.nan)
    pairs = counted.shape[:2]
    whole = np.broadcast_to(tracks.boxes[:, None], (*pairs, 4)), np.broadcast_to(boxes, (*pairs, 4))
    flat = [
        pose_boxes(points.reshape(-1, *points.shape[2:]), box.reshape(-1, 4))
        for points, box in zip((mine, theirs), whole, strict=True)
    ]
    buffer = np.minimum(BUFFER * tracks.unseen, MAX_BUFFER)
    first, second = (_enlarged(each, np.repeat(buffer, pairs[1])) for each in flat)
    return _iou(first, second).reshape(pairs)


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The IoU (n, m) of boxes (n, 4) and (m, 4)."""
    return _iou(np.asarray(first)[:, None], np.reshape(second, (1, -1, 4)))


def _iou(first, second):
    near = np.maximum(first[..., :2], second[..., :2])
    far = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    common = np.maximum(far - near, 0).prod(axis=-1)
    union = first[..., 2:].prod(axis=-1) + second[..., 2:].prod(axis=-1) - common
    return common / np.maximum(union, 1e-9)


def _enlarged(boxes, share):
    """Boxes (n, 4) with a share (n,) of their sides added on each side."""
    border = share[:, None] * boxes[:, 2:]
    return np.concatenate([boxes[:, :2] - border, boxes[:, 2:] + 2 * border], axis=1)


def _see(tracks, rows, joints, boxes, scores):
    """The tracks once the people in some rows have been seen."""
    before = tracks.keypoints[rows]
    fresh = np.isfinite(joints)
    both = (fresh & np.isfinite(before)).all(axis=-1)
    shift = _medians(joints - before, both)
    alone = ~both.any(axis=1)
    corners = boxes - tracks.boxes[rows]
    shift[alone] = (corners[:, :2] + corners[:, 2:] / 2)[alone]
    place = tracks.motion.place.copy()
    place[rows] += shift
    measured = motion.measure(tracks.motion, place)
    keypoints, all_boxes = tracks.keypoints.copy(), tracks.boxes.copy()
    all_scores, seen = tracks.scores.copy(), tracks.seen.copy()
    keypoints[rows] = np.where(fresh, joints, before + shift[:, None])
    all_boxes[rows] = pose_boxes(keypoints[rows], boxes)
    all_scores[rows] += 0.1 * (scores - all_scores[rows])
    seen[rows] = tracks.time
    moved = _mixed(tracks.motion, measured, rows)
    return dataclasses.replace(
        tracks, keypoints=keypoints, boxes=all_boxes, scores=all_scores, motion=moved, seen=seen
    )


def _medians(values, counted):
    """The medians (n, 2) of the values (n, k, 2) that are counted (n, k); 0 where none is.

    Unlike means, they are not misled by a limb that was taken for another one.
    """
    ordered = np.sort(np.where(counted[..., None], values, np.inf), axis=1)
    counts = np.maximum(counted.sum(axis=1), 1)
    rows = np.arange(len(values))
    middle = (ordered[rows, (counts - 1) // 2] + ordered[rows, counts // 2]) / 2
    return np.where(counted.any(axis=1)[:, None], middle, 0.0)


def _mixed(before, measured, rows):
    """The motion, of the people in some rows as it was measured."""
    fields = {}
    for field in dataclasses.fields(before):
        values = getattr(before, field.name).copy()
        values[rows] = getattr(measured, field.name)[rows]
        fields[field.name] = values
    return Motion(**fields)


def _add(tracks, joints, boxes, scores):
    """The tracks with new people."""
    if not len(boxes):
        return tracks
    ids = tracks.next_id + np.arange(len(boxes))
    return Tracks(
        ids=np.concatenate([tracks.ids, ids]),
        keypoints=np.concatenate([tracks.keypoints, joints]),
        boxes=np.concatenate([tracks.boxes, boxes]),
        scores=np.concatenate([tracks.scores, scores]),
        motion=motion.join(tracks.motion, motion.start(boxes[:, :2] + boxes[:, 2:] / 2)),
        seen=np.concatenate([tracks.seen, np.full(len(boxes), tracks.time)]),
        time=tracks.time,
        next_id=tracks.next_id + len(boxes),
    )


def _rows(tracks, chosen):
    """Some of the tracks."""
    return dataclasses.replace(
        tracks,
        ids=tracks.ids[chosen],
        keypoints=tracks.keypoints[chosen],
        boxes=tracks.boxes[chosen],
        scores=tracks.scores[chosen],
        motion=motion.rows(tracks.motion, chosen),
        seen=tracks.seen[chosen],
    )

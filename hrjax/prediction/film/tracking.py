"""Tracking: assigns the poses of each frame to the people followed so far.

Each person moves on at constant velocity (`motion`). The poses of the next frame are assigned to
the people by the Hungarian method, where the mean of two similarities is largest in sum: OKS of the
joints, and IoU of the boxes. It counts less for poses that look otherwise (`appearance`).

Hidden people move on unseen for some time, and are found again near the place where they should be.
Boxes of people not seen for long are enlarged for that (Yang et al., "Hard to Track Objects with
Irregular Motions and Similar Appearances? Make It Easier by Buffering the Matching Space", 2023).
Those who turned around behind something are recognized as far away as they may have walked.

Nothing here reads or writes anything: `update` takes what is known and a frame's poses, and returns
what is known then. Times are in seconds, points in pixels.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from hrjax.prediction.film import appearance, motion
from hrjax.prediction.film.motion import Motion
from hrjax.prediction.film.similarity import (
    common_overlaps,
    iou,
    overlaps,
    pose_boxes,
    pose_oks,
    same_size,
)
from hrjax.prediction.results import Poses

UNTRACKED = 0  # the track id of a pose that belongs to no track
BUFFER, MAX_BUFFER = 0.3, 0.5  # by which boxes grow on each side: per second unseen, and at most
STRANGE, FAMILIAR = 0.35, 0.7  # likenesses of other people, and of the same person
LEAST_WEIGHT = 0.5  # of the similarity to a person who looks otherwise
HIDDEN = 0.1  # seconds unseen, from which a person may come back elsewhere
SPEED = 1.2  # of hidden people, in sizes per second: how far they are looked for
RECOGNIZED = 0.4  # the similarity of a pose where a hidden person may be, and that looks alike
CROWDED = 0.15  # IoU with another pose, from which limbs may be the other person's


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
    means of a person's joint scores. `colors` (n, l, 3) are those of the limbs, NaN where unknown.
    `seen` (n,) is when a person was seen last. `next_id` is that of the next new person.
    """

    ids: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    colors: np.ndarray
    motion: Motion
    seen: np.ndarray
    time: float
    next_id: int

    @property
    def unseen(self) -> np.ndarray:
        """For how many seconds each person has not been seen, (n,)."""
        return self.time - self.seen


def none(num_joints: int, num_limbs: int = 0) -> Tracks:
    """The tracks before the first frame; without limbs people are told apart by place alone."""
    return Tracks(
        ids=np.zeros(0, np.int64),
        keypoints=np.zeros((0, num_joints, 2)),
        boxes=np.zeros((0, 4)),
        scores=np.zeros(0),
        colors=np.zeros((0, num_limbs, 3)),
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


@dataclasses.dataclass(frozen=True)
class _Found:
    """The poses of a frame as people are compared with them: joints that score low are NaN."""

    joints: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    colors: np.ndarray

    def rows(self, chosen):
        return _Found(*(column[chosen] for column in vars(self).values()))


def update(
    tracks: Tracks,
    poses: Poses,
    time: float,
    sigmas: Sequence[float],
    settings: Tracking,
    colors: np.ndarray | None = None,
) -> tuple[Tracks, np.ndarray]:
    """The tracks after a frame, and the track id of each of its poses, (m,).

    A pose gets the id UNTRACKED where a better one of the same person is in the frame, where it is
    too near to that of a known person to be a new one, and where no joint scores above
    `joint_score`. All others are of a person followed so far, or of a new one. `colors` (m, l, 3)
    are those of `appearance.limb_colors`, if the tracks have limbs.
    """
    tracks = advance(tracks, time, settings)
    known = (poses.scores > settings.joint_score) & np.isfinite(poses.keypoints).all(axis=-1)
    joints = np.where(known[..., None], poses.keypoints, np.nan).astype(np.float64)
    boxes = pose_boxes(joints, poses.boxes)
    if colors is None:
        colors = np.full((len(boxes), *tracks.colors.shape[1:]), np.nan)
    found = _Found(joints, boxes, poses.scores.mean(axis=1), colors)
    usable = np.flatnonzero(known.any(axis=1))
    # A box of a hidden person often shows the one in front, whose own box fits the joints better.
    fit = poses.person_scores * iou(np.asarray(poses.boxes, np.float64), boxes)
    usable = usable[np.argsort(-fit[usable], kind="stable")]
    alike = _similarities(found.rows(usable), sigmas)
    best = _best_of_each(alike, settings.duplicate)
    usable, alike = usable[best], alike[np.ix_(best, best)]
    rows, columns = _assign(tracks, found.rows(usable), sigmas, settings)
    free = (alike[:, columns] < settings.apart).all(axis=1)
    free[columns] = False
    seen, new = usable[columns], np.sort(usable[free])
    ids = np.full(len(boxes), UNTRACKED, np.int64)
    ids[seen] = tracks.ids[rows]
    ids[new] = tracks.next_id + np.arange(len(new))
    tracks = _see(tracks, rows, found.rows(seen), _crowded(boxes)[seen])
    return _add(tracks, found.rows(new)), ids


def _similarities(found, sigmas):
    """The OKS (n, n) of the poses of a frame with each other."""
    areas = found.boxes[:, 2:].prod(axis=1)
    return pose_oks(found.joints, found.joints, (areas[:, None] + areas) / 2, sigmas)


def _crowded(boxes):
    """Which boxes (n, 4) overlap another one, (n,)."""
    common = overlaps(boxes, boxes)
    np.fill_diagonal(common, 0)
    return (common > CROWDED).any(axis=1)


def _best_of_each(alike, limit):
    """The rows of poses, the best ones first, that are not too similar to a better one."""
    kept = []
    for row in range(len(alike)):
        if not (alike[row, kept] > limit).any():
            kept.append(row)
    return np.array(kept, int)


def _assign(tracks, found, sigmas, settings):
    """Rows of tracks and rows of poses that are the same person."""
    if not len(tracks.ids) or not len(found.boxes):
        return np.zeros(0, int), np.zeros(0, int)
    areas = np.repeat(tracks.boxes[:, 2:].prod(axis=1)[:, None], len(found.boxes), axis=1)
    buffer = np.minimum(BUFFER * tracks.unseen, MAX_BUFFER)
    overlap = common_overlaps(tracks.keypoints, tracks.boxes, found.joints, found.boxes, buffer)
    near = (pose_oks(tracks.keypoints, found.joints, areas, sigmas) + overlap) / 2
    sizes = same_size(tracks.keypoints, found.joints)
    likeness = appearance.likeness(tracks.colors, found.colors)
    hidden = (tracks.unseen > HIDDEN)[:, None]
    weights = _weights(likeness)
    alike = np.maximum(weights * near, _recognized(tracks, found, likeness) * hidden) * sizes
    rows, columns = linear_sum_assignment(alike, maximize=True)
    # Who was seen a moment ago is not lost only because the light has changed, but the size of a
    # person does not change in a moment.
    enough = np.where(hidden, alike, near * sizes**2) >= settings.similarity
    same = enough[rows, columns]
    return rows[same], columns[same]


def _weights(likeness):
    """What similarities in place are worth, by the likeness of colors; 1 where that is unknown."""
    return LEAST_WEIGHT + (1 - LEAST_WEIGHT) * _familiar(np.nan_to_num(likeness, nan=1.0))


def _familiar(likeness):
    return np.clip((likeness - STRANGE) / (FAMILIAR - STRANGE), 0, 1)


def _recognized(tracks, found, likeness):
    """How well poses may be of people who walked anywhere while they were hidden, (n, m)."""
    sizes = np.sqrt(tracks.boxes[:, 2:].prod(axis=1))
    reach = sizes * (BUFFER + SPEED * tracks.unseen)
    middle = tracks.boxes[:, :2] + tracks.boxes[:, 2:] / 2
    offset = found.boxes[:, :2] + found.boxes[:, 2:] / 2 - middle[:, None]
    distance = np.linalg.norm(offset, axis=-1) / np.maximum(reach, 1e-9)[:, None]
    return RECOGNIZED * np.exp(-np.square(distance) / 2) * _familiar(np.nan_to_num(likeness))


def _see(tracks, rows, found, crowded):
    """The tracks once the people in some rows have been seen."""
    before = tracks.keypoints[rows]
    fresh = np.isfinite(found.joints)
    both = (fresh & np.isfinite(before)).all(axis=-1)
    shift = _medians(found.joints - before, both)
    alone = ~both.any(axis=1)
    corners = found.boxes - tracks.boxes[rows]
    shift[alone] = (corners[:, :2] + corners[:, 2:] / 2)[alone]
    place = tracks.motion.place.copy()
    place[rows] += shift
    measured = motion.measure(tracks.motion, place)
    keypoints, boxes = tracks.keypoints.copy(), tracks.boxes.copy()
    scores, colors, seen = tracks.scores.copy(), tracks.colors.copy(), tracks.seen.copy()
    keypoints[rows] = np.where(fresh, found.joints, before + shift[:, None])
    boxes[rows] = pose_boxes(keypoints[rows], found.boxes)
    scores[rows] += 0.1 * (found.scores - scores[rows])
    now = appearance.adapted(colors[rows], found.colors)
    known = np.isfinite(colors[rows])
    colors[rows] = np.where(crowded[:, None, None] & known, colors[rows], now)
    seen[rows] = tracks.time
    moved = _mixed(tracks.motion, measured, rows)
    return dataclasses.replace(
        tracks,
        keypoints=keypoints,
        boxes=boxes,
        scores=scores,
        colors=colors,
        motion=moved,
        seen=seen,
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


def _add(tracks, found):
    """The tracks with new people."""
    count = len(found.boxes)
    if not count:
        return tracks
    middle = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    return Tracks(
        ids=np.concatenate([tracks.ids, tracks.next_id + np.arange(count)]),
        keypoints=np.concatenate([tracks.keypoints, found.joints]),
        boxes=np.concatenate([tracks.boxes, found.boxes]),
        scores=np.concatenate([tracks.scores, found.scores]),
        colors=np.concatenate([tracks.colors, found.colors]),
        motion=motion.join(tracks.motion, motion.start(middle)),
        seen=np.concatenate([tracks.seen, np.full(count, tracks.time)]),
        time=tracks.time,
        next_id=tracks.next_id + count,
    )


def _rows(tracks, chosen):
    """Some of the tracks."""
    return dataclasses.replace(
        tracks,
        ids=tracks.ids[chosen],
        keypoints=tracks.keypoints[chosen],
        boxes=tracks.boxes[chosen],
        scores=tracks.scores[chosen],
        colors=tracks.colors[chosen],
        motion=motion.rows(tracks.motion, chosen),
        seen=tracks.seen[chosen],
    )

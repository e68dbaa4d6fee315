"""People followed through a film: boxes to predict in, track ids for poses, smooth joints."""

import dataclasses
from collections.abc import Callable

import numpy as np

from data_pipelines.skeletons import Skeleton
from hrjax.prediction.film import appearance, similarity, smoothing, tracking
from hrjax.prediction.film.smoothing import OneEuro
from hrjax.prediction.film.tracking import Tracking
from hrjax.prediction.results import Poses

# Gives the boxes (n, 4) as (x, y, w, h) of the people in an image, and their scores (n,).
Detect = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

WEAKEST = 0.5  # of the usual mean joint score; below it, a person is not where they should be
MISSES = 5  # detections in a row without a person, after which only a detection finds them again
LONGEST_BLIND = 0.5  # seconds for which a box is kept up for a person who is not seen
COVERED = 0.3  # IoU from which a detection is that of a person who is followed


@dataclasses.dataclass(frozen=True)
class FrameBoxes:
    """The boxes of a frame to predict in: (n, 4) as (x, y, w, h), and their scores (n,).

    The first `detected` boxes are from the detector, the others around people followed so far, of
    the tracks `followed` (n - detected,). `is_detection` says whether the detector was asked.
    """

    boxes: np.ndarray
    scores: np.ndarray
    detected: int
    followed: np.ndarray
    is_detection: bool


class Follower:
    """Follows the people of one film, frame by frame.

    With `detect_every` N people are detected in every Nth frame, and in the first one alone with 0.
    In between, and where the detector misses them, boxes are around the joints of the last frame,
    moved on. Times are in seconds and must grow.
    """

    def __init__(
        self,
        skeleton: Skeleton,
        *,
        detect_every: int = 1,
        settings: Tracking | None = None,
        smooth: OneEuro | None = None,
    ):
        check_detect_every(detect_every)
        self.detect_every, self._smooth = detect_every, smooth
        self._skeleton, self._settings = skeleton, settings or Tracking()
        self._tracks = tracking.none(skeleton.num_joints, len(skeleton.limbs))
        self._smoothed = smoothing.none(skeleton.num_joints)
        self._misses: dict[int, int] = {}
        self._frames = 0

    @property
    def people(self) -> int:
        """How many people have been followed so far."""
        return self._tracks.next_id - 1

    def boxes(self, image: np.ndarray, time: float, detect: Detect) -> FrameBoxes:
        """The boxes of the next frame, an image (h, w, 3) at a time."""
        every, number = self.detect_every, self._frames
        self._frames += 1
        is_detection = number == 0 or (every > 0 and number % every == 0)
        boxes, scores = detect(image) if is_detection else (np.zeros((0, 4)), np.zeros(0))
        if every == 1:  # what was detected is all there is, as without tracking
            return FrameBoxes(boxes, scores, len(boxes), np.zeros(0, np.int64), True)
        followed, ids = self._followed(image.shape[:2], time, boxes)
        return FrameBoxes(
            boxes=np.concatenate([np.reshape(boxes, (-1, 4)), followed]),
            scores=np.concatenate([scores, np.ones(len(followed))]),
            detected=len(boxes),
            followed=ids,
            is_detection=is_detection,
        )

    def _followed(self, size, time, detected):
        """The boxes of people that no detection covers, and their track ids."""
        tracks = tracking.advance(self._tracks, time, self._settings)
        near, far = tracks.boxes[:, :2], tracks.boxes[:, :2] + tracks.boxes[:, 2:]
        inside = ((near < size[::-1]) & (far > 0)).all(axis=1) & (tracks.boxes[:, 2:] > 0).all(
            axis=1
        )
        trusted = [self._misses.get(track_id, 0) < MISSES for track_id in tracks.ids.tolist()]
        kept = inside & np.array(trusted, bool) & (tracks.unseen <= LONGEST_BLIND)
        kept &= (similarity.overlaps(tracks.boxes, detected) < COVERED).all(axis=1)
        return tracks.boxes[kept], tracks.ids[kept]

    def update(self, poses: Poses, given: FrameBoxes, image: np.ndarray, time: float) -> Poses:
        """The poses of the frame with track ids, and smooth joints where that was asked for.

        The image (h, w, 3) uint8 RGB is the frame's, from which the colors of people are taken.
        Poses in boxes of people who turn out not to be there are left out.
        """
        poses = self._without_weak(poses, given)
        limbs, sigmas = self._skeleton.limbs, self._skeleton.sigmas
        colors = appearance.limb_colors(image, poses.keypoints, poses.scores, limbs)
        self._tracks, ids = tracking.update(
            self._tracks, poses, time, sigmas, self._settings, colors
        )
        if self.detect_every != 1:
            # What the tracker added itself and could not use is nothing that was detected.
            kept = (np.arange(len(ids)) < given.detected) | (ids != tracking.UNTRACKED)
            self._count_misses(ids[: given.detected], given.is_detection)
            poses, ids = rows(poses, kept), ids[kept]
        return dataclasses.replace(poses, keypoints=self._smoothly(poses, ids, time), track_ids=ids)

    def _without_weak(self, poses, given):
        usual = dict(zip(self._tracks.ids.tolist(), self._tracks.scores.tolist(), strict=True))
        expected = np.array([usual.get(each, 0.0) for each in given.followed.tolist()])
        means = poses.scores.mean(axis=1)
        kept = np.ones(len(means), bool)
        kept[given.detected :] = means[given.detected :] >= WEAKEST * expected
        return poses if kept.all() else rows(poses, kept)

    def _count_misses(self, detected, is_detection):
        known = self._tracks.ids.tolist()
        added = set(detected.tolist())
        self._misses = {
            track_id: 0 if track_id in added else self._misses.get(track_id, 0) + is_detection
            for track_id in known
        }

    def _smoothly(self, poses, ids, time):
        if self._smooth is None:
            return poses.keypoints
        tracked = ids != tracking.UNTRACKED
        places = np.searchsorted(self._tracks.ids, ids[tracked])
        sizes = np.sqrt(self._tracks.boxes[places, 2:].prod(axis=1))
        self._smoothed, smooth = smoothing.smooth(
            self._smoothed, ids[tracked], poses.keypoints[tracked], sizes, time, self._smooth
        )
        keypoints = poses.keypoints.copy()
        keypoints[tracked] = smooth
        return keypoints


def check_detect_every(detect_every: int) -> None:
    """Raises ValueError if people cannot be detected so often."""
    if detect_every < 0:
        raise ValueError(
            f"detect_every is {detect_every}; expected 1 for every frame, N for every Nth, or 0 "
            "for the first frame alone"
        )


def rows(poses: Poses, kept: np.ndarray) -> Poses:
    """Some of the poses of an image."""
    columns = (poses.boxes, poses.keypoints, poses.scores, poses.person_scores)
    ids = None if poses.track_ids is None else poses.track_ids[kept]
    return Poses(*(column[kept] for column in columns), ids)

"""Predicts the poses of images and video frames, and draws them."""

import collections
import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton
from hrjax import visualize
from hrjax.prediction.boxes import FindBoxes
from hrjax.prediction.film.follow import Follower, FrameBoxes
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import Predictor, box_problem
from hrjax.prediction.results import ImageResults


def predict_frames(
    predictor: Predictor, frames: Sequence[Frame], find_boxes: FindBoxes
) -> tuple[list[ImageResults], list[str]]:
    """The results of each frame, and the problems: unusable boxes and broken heatmaps."""
    problems = []
    boxes, box_scores = [], []
    for frame in frames:
        usable, scores = _usable_boxes(frame, find_boxes, problems)
        boxes.append(usable)
        box_scores.append(scores)
    results = []
    images = [frame.image for frame in frames]
    for frame, poses, scores in zip(frames, predictor(images, boxes), box_scores, strict=True):
        _add_broken(frame, poses, problems)
        poses = dataclasses.replace(poses, person_scores=poses.person_scores * scores)
        results.append(ImageResults(frame.name, frame.image_id, poses))
    return results, problems


class Stopwatch:
    """Adds up the time that each part of the work takes, in `seconds` by name."""

    def __init__(self):
        self.seconds: collections.Counter[str] = collections.Counter()
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Counts the time inside as that of a part."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] += time.perf_counter() - start

    def describe(self, frames: int, rest: str) -> str:
        """What a frame took since the start, and the shares of the parts and of the `rest`."""
        total = time.perf_counter() - self._start
        parts = {**self.seconds, rest: total - sum(self.seconds.values())}
        shares = ", ".join(f"{name} {seconds / total:.1%}" for name, seconds in parts.items())
        return f"{1000 * total / frames:.0f} ms a frame: {shares}"


def follow_frames(
    predictor: Predictor,
    frames: Sequence[Frame],
    find_boxes: FindBoxes,
    follower: Follower,
    stopwatch: Stopwatch,
) -> tuple[list[ImageResults], list[str]]:
    """The results of each frame of a film with track ids, and the problems as `predict_frames`.

    Several frames at once are possible only where people are detected in each of them.
    """
    problems, given = [], []
    for frame in frames:
        given.append(_follow_boxes(frame, find_boxes, follower, problems, stopwatch))
    with stopwatch.measure("predicting joints"):
        all_poses = predictor([frame.image for frame in frames], [each.boxes for each in given])
    results = []
    for frame, poses, boxes in zip(frames, all_poses, given, strict=True):
        _add_broken(frame, poses, problems)
        poses = dataclasses.replace(poses, person_scores=poses.person_scores * boxes.scores)
        with stopwatch.measure("tracking and smoothing"):
            poses = follower.update(poses, boxes, frame.image, frame.time)
        results.append(ImageResults(frame.name, frame.image_id, poses, time=frame.time))
    return results, problems


def _follow_boxes(frame, find_boxes, follower, problems, stopwatch) -> FrameBoxes:
    """The boxes of a frame; the time of the detector is not that of tracking."""
    detecting = 0.0

    def detect(image):
        nonlocal detecting
        start = time.perf_counter()
        found = _usable_boxes(frame, find_boxes, problems)
        detecting = time.perf_counter() - start
        return found

    with stopwatch.measure("tracking and smoothing"):
        boxes = follower.boxes(frame.image, frame.time, detect)
    stopwatch.seconds["finding people"] += detecting
    stopwatch.seconds["tracking and smoothing"] -= detecting
    return boxes


def _add_broken(frame, poses, problems):
    broken = int(np.isnan(poses.keypoints).any(axis=-1).sum())
    if broken:
        problems.append(f"{frame.name}: the heatmaps of {broken} joints are not finite")


def _usable_boxes(frame, find_boxes, problems):
    """The usable boxes of a frame and their scores; the others are added to `problems`."""
    boxes, scores = find_boxes(frame)
    reasons = [box_problem(box, frame.image.shape[:2]) for box in boxes]
    problems += [
        f"{frame.name}: box {box.tolist()} {reason}"
        for box, reason in zip(boxes, reasons, strict=True)
        if reason
    ]
    usable = np.array([not reason for reason in reasons], bool)
    return boxes[usable], scores[usable]


def draw(
    frame: Frame, results: ImageResults, skeleton: Skeleton, *, threshold: float
) -> np.ndarray:
    """A copy of the frame with boxes, person scores, and joints that score above `threshold`."""
    poses = results.poses
    return visualize.draw_people(
        *(frame.image, poses.boxes, poses.keypoints, poses.scores, poses.person_scores),
        skeleton,
        threshold=threshold,
        track_ids=poses.track_ids,
    )

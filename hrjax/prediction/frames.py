"""Predicts the poses of images and video frames, and draws them."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton
from hrjax import visualize
from hrjax.prediction.boxes import FindBoxes
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
        broken = int(np.isnan(poses.keypoints).any(axis=-1).sum())
        if broken:
            problems.append(f"{frame.name}: the heatmaps of {broken} joints are not finite")
        poses = dataclasses.replace(poses, person_scores=poses.person_scores * scores)
        results.append(ImageResults(frame.name, frame.image_id, poses))
    return results, problems


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
    )

"""Frames → pictures with people drawn in, and entries of a results file."""

import dataclasses
from collections.abc import Callable

import numpy as np

from hrjax import visualize
from hrjax.prediction import results
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import People, Predictor, box_problem


@dataclasses.dataclass
class Annotator:
    """Finds and draws the people of frames; collects results and what went wrong.

    `find_boxes` is a callable of `hrjax.prediction.boxes`; joints and boxes with scores above
    `threshold` are drawn, all go into `entries`. What fails is named in `problems`, and the rest
    goes on.
    """

    predictor: Predictor
    find_boxes: Callable
    threshold: float
    entries: list[dict] = dataclasses.field(default_factory=list)
    problems: list[str] = dataclasses.field(default_factory=list)

    def __call__(self, frames: list[Frame]) -> list[tuple[np.ndarray, People]]:
        """The frames with their people drawn in, and the people."""
        found = [self._usable_boxes(frame) for frame in frames]
        images = [frame.image for frame in frames]
        everybody = self.predictor(images, [boxes for boxes, _ in found])
        pictures = []
        for frame, people, (_, box_scores) in zip(frames, everybody, found, strict=True):
            person_scores = people.person_scores * box_scores
            self.entries += results.entries(frame, people, person_scores)
            lost = int(np.isnan(people.keypoints).any(axis=-1).sum())
            if lost:
                self.problems.append(
                    f"{frame.name}: {lost} joints have heatmaps that are not finite"
                )
            picture = visualize.draw_people(
                *(frame.image, people.boxes, people.keypoints, people.scores, person_scores),
                self.predictor.skeleton,
                threshold=self.threshold,
            )
            pictures.append(picture)
        return list(zip(pictures, everybody, strict=True))

    def _usable_boxes(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        boxes, scores = self.find_boxes(frame)
        reasons = [box_problem(box, frame.image.shape[:2]) for box in boxes]
        self.problems += [
            f"{frame.name}: the box {box.tolist()} {reason}"
            for box, reason in zip(boxes, reasons, strict=True)
            if reason
        ]
        used = np.array([not reason for reason in reasons], bool)
        return boxes[used], scores[used]

"""Finds people with the pose network itself, where there is no detector.

The network predicts in windows of three sizes all over the image. Where its joints score high there
is a person; their joints give a new box, in which the network predicts once more. This costs some
fifty predictions an image, and misses people who are small in it.
"""

import logging
import math
from collections.abc import Callable

import numpy as np

from hrjax.prediction.boxes import FindBoxes, whole_image
from hrjax.prediction.results import Poses

logger = logging.getLogger(__name__)

SLOW = (
    "without boxes or a detector, the network searches for people itself: this takes as long as "
    "predicting fifty people, and misses small ones; the detector yolox_s is fast and finds more"
)
HEIGHTS = (1.0, 0.62, 0.38)  # of windows, relative to the height of the largest one
STEP = 0.5  # between windows, relative to their size
LARGEST = 0.6  # of the image's width, which the largest window has at least
LEAST = 0.4  # of a person's mean joint score
WINDOW_LEAST = 0.25  # of that score in a window, whose box is a guess
JOINT_SCORE = 0.2
MIN_JOINTS = 5  # of more than this score
MARGIN = 0.12  # of boxes around joints, relative to the longer side of what the joints span
OVERLAP = 0.4  # IoU; of boxes that overlap more, only the best one is kept
AT_ONCE = 8  # boxes; always as many, so that one program is compiled

Predict = Callable[[np.ndarray, np.ndarray], Poses]


class Search:
    """Finds people by a function that predicts the poses of an image in boxes.

    `input_size` (height, width) is that of the network's crops. A score is the mean of a person's
    joint scores, and at least LEAST or `threshold`.
    """

    def __init__(self, predict: Predict, input_size: tuple[int, int], *, threshold: float = 0.0):
        self._predict, self._aspect = predict, input_size[1] / input_size[0]
        self._least = max(LEAST, threshold)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The people in an image (h, w, 3) uint8 RGB: boxes (x, y, w, h) in pixels, and scores."""
        boxes, scores = self._joint_boxes(image, windows(image.shape[:2], self._aspect))
        chosen = _separate(boxes, scores, WINDOW_LEAST)
        boxes, scores = self._joint_boxes(image, boxes[chosen])
        chosen = _separate(boxes, scores, self._least)
        return boxes[chosen], scores[chosen]

    def _joint_boxes(self, image, boxes):
        """The boxes around the joints that are predicted in boxes, and their scores; 0: none."""
        parts = []
        for start in range(0, len(boxes), AT_ONCE):
            rows = np.minimum(np.arange(start, start + AT_ONCE), len(boxes) - 1)
            parts.append(self._predict(image, boxes[rows]))
        if not parts:
            return np.zeros((0, 4)), np.zeros(0)
        keypoints = np.concatenate([part.keypoints for part in parts])[: len(boxes)]
        joint_scores = np.concatenate([part.scores for part in parts])[: len(boxes)]
        known = (joint_scores > JOINT_SCORE) & np.isfinite(keypoints).all(axis=-1)
        near = np.where(known[..., None], keypoints, np.inf).min(axis=1)
        far = np.where(known[..., None], keypoints, -np.inf).max(axis=1)
        least = min(MIN_JOINTS, joint_scores.shape[1])
        found = (known.sum(axis=1) >= least) & (near < far).all(axis=1)
        near, far = (np.where(found[:, None], side, 0.0) for side in (near, far))
        border = MARGIN * (far - near).max(axis=1, keepdims=True)
        around = np.concatenate([near - border, far - near + 2 * border], axis=1)
        return around, np.where(found, joint_scores.mean(axis=1), 0.0)


def find_boxes(
    predict: Predict, input_size: tuple[int, int], *, threshold: float, is_film: bool
) -> FindBoxes:
    """Finds the boxes of a frame; an image in which no person is found is one box as a whole."""
    logger.warning(SLOW)
    search = Search(predict, input_size, threshold=threshold)

    def find(frame):
        found = search(frame.image)
        if is_film or len(found[0]):
            return found
        logger.warning("%s: no person was found; the whole image is taken as a box", frame.name)
        return whole_image(frame)

    return find


def windows(size: tuple[int, int], aspect: float) -> np.ndarray:
    """The whole image of `size` (height, width), and windows of `aspect` (w / h) all over it."""
    height, width = size
    largest = max(height, LARGEST * width / aspect)
    boxes = [(0.0, 0.0, width, height)]
    for share in HEIGHTS:
        tall, wide = share * largest, share * largest * aspect
        for y in _places(height, tall):
            boxes += [(x, y, wide, tall) for x in _places(width, wide)]
    return np.array(boxes)


def _places(whole, part):
    """Where parts begin that cover the whole; one in the middle where it is larger."""
    if part >= whole:
        return [(whole - part) / 2]
    return np.linspace(0, whole - part, math.ceil((whole - part) / (STEP * part)) + 1).tolist()


def _separate(boxes, scores, least):
    """The rows of boxes with at least some score that overlap no better one by much."""
    chosen = []
    for row in np.argsort(-scores, kind="stable").tolist():
        if scores[row] < least or scores[row] <= 0:
            break
        if all(_iou(boxes[row], boxes[other]) < OVERLAP for other in chosen):
            chosen.append(row)
    return np.array(chosen, int)


def _iou(first, second):
    near = np.maximum(first[:2], second[:2])
    common = np.maximum(np.minimum(first[:2] + first[2:], second[:2] + second[2:]) - near, 0)
    overlap = common.prod()
    return overlap / (first[2:].prod() + second[2:].prod() - overlap)

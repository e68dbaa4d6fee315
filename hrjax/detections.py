"""Result types: what a network predicts for each box, and the people that come of it as columns."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """One row per box of a split: keypoints (n, k, 2) in image pixels, joint_scores (n, k)."""

    keypoints: np.ndarray
    joint_scores: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """Which rows (n,) hold finite numbers only."""
        keypoints = np.isfinite(self.keypoints).all((1, 2))
        return keypoints & np.isfinite(self.joint_scores).all(1)


@dataclasses.dataclass(frozen=True, eq=False)
class Detections:
    """Detected people of many images, one row each: the content of a results file as columns.

    image_ids (n,) int64 are those of the annotation file; keypoints (n, k, 2) are in image pixels;
    joint_scores (n, k) and person_scores (n,) say how sure they are; areas (n,), in square pixels,
    decide which of AP's sizes a detection without a matching person counts for. All but the ids are
    float64.
    """

    image_ids: np.ndarray
    keypoints: np.ndarray
    joint_scores: np.ndarray
    person_scores: np.ndarray
    areas: np.ndarray

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def triples(self) -> np.ndarray:
        """(n, 3k): x, y and score of each joint in turn, as results files have them."""
        joints = np.concatenate([self.keypoints, self.joint_scores[..., None]], axis=-1)
        return joints.reshape(len(self), 3 * self.keypoints.shape[1])

    def take(self, rows: np.ndarray) -> "Detections":
        """The detections of some rows, in their order."""
        return Detections(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))


def make(
    image_ids: np.ndarray,
    keypoints: np.ndarray,
    joint_scores: np.ndarray,
    person_scores: np.ndarray,
    areas: np.ndarray | None = None,
) -> Detections:
    """Detections of these columns; `areas` default to those of the keypoints' extents, as in COCO.

    Raises ValueError where shapes do not belong together or numbers are not finite.
    """
    columns = (keypoints, joint_scores, person_scores)
    keypoints, joint_scores, person_scores = (np.asarray(x, np.float64) for x in columns)
    shapes = (keypoints.shape, joint_scores.shape, person_scores.shape, np.shape(image_ids))
    n, k = joint_scores.shape if joint_scores.ndim == 2 else (-1, -1)
    if shapes != ((n, k, 2), (n, k), (n,), (n,)):
        raise ValueError(
            "keypoints, joint_scores, person_scores and image_ids must be (n, k, 2), (n, k), (n,) "
            f"and (n,); got {', '.join(map(str, shapes))}"
        )
    check_finite(keypoints, "keypoints")
    check_finite(joint_scores, "joint_scores")
    check_finite(person_scores, "person_scores")
    extents = keypoints.max(axis=1, initial=-np.inf) - keypoints.min(axis=1, initial=np.inf)
    areas = extents.prod(axis=-1) if areas is None else np.asarray(areas, np.float64)
    return Detections(
        np.asarray(image_ids, np.int64), keypoints, joint_scores, person_scores, areas
    )


def rescore(
    joint_scores: np.ndarray, box_scores: np.ndarray, *, threshold: float = 0.2
) -> np.ndarray:
    """Person scores (n,): the box's score times the mean of the joint scores above `threshold`.

    `joint_scores` are (n, k). A person without a joint above the threshold gets 0. Annotated boxes
    have the score 1.
    """
    joint_scores, box_scores = np.asarray(joint_scores), np.asarray(box_scores, np.float64)
    if joint_scores.ndim != 2 or box_scores.shape != joint_scores.shape[:1]:
        raise ValueError(
            f"joint_scores must be (n, k) and box_scores (n,); got {joint_scores.shape} and "
            f"{box_scores.shape}"
        )
    check_finite(joint_scores, "joint_scores")
    counted = joint_scores > threshold
    total = np.where(counted, joint_scores, 0).sum(axis=1, dtype=np.float64)
    return box_scores * total / np.maximum(counted.sum(axis=1), 1)


def check_finite(values: np.ndarray, name: str) -> None:
    """Raises ValueError where a network gave numbers that are NaN or infinite."""
    wrong = ~np.isfinite(values)
    if wrong.any():
        raise ValueError(
            f"{name} hold {int(wrong.sum())} numbers that are NaN or infinite; the network "
            "diverged or its weights are damaged"
        )

"""Whether scores mean something: of people beside their OKS, of joints beside their errors."""

import dataclasses

import numpy as np

from hrjax import calibration
from hrjax.calibration import BINS, Reliability
from hrjax.error_analysis import matching
from hrjax.error_analysis.analysis import Analysis


@dataclasses.dataclass(frozen=True, eq=False)
class Reliabilities:
    """The tables of people (score and OKS) and of joints (score and keypoint similarity).

    `errors` are the median distances of the joints of each bin of `joints` from the truth, as
    fractions of the person's size, the square root of the area.
    """

    people: Reliability
    joints: Reliability
    errors: np.ndarray


def of(result: Analysis) -> Reliabilities:
    """The tables of an analysis.

    A person that belongs to no annotation has an OKS of 0; people of annotations that do not count
    are left out. Joints are those of people with a counted annotation, where it labels them.
    """
    truth, owners, people = result.truth, result.owners, result.ranked.detections
    known = (owners >= 0) & truth.counted[owners] if len(truth) else np.zeros(len(owners), bool)
    judged = known | (owners < 0)
    rows = owners[known]
    labeled = truth.visibility[rows] > 0
    points, scores = people.keypoints[known], people.joint_scores[known][labeled]
    alike = matching.joint_similarity(points, truth, rows, truth.skeleton.sigmas)[labeled]
    distance = np.linalg.norm(points - truth.keypoints[rows], axis=-1)
    relative = (distance / np.sqrt(np.maximum(truth.areas[rows], 1))[:, None])[labeled]
    joints = calibration.reliability(scores, alike)
    bins = calibration.bin_of(scores)
    return Reliabilities(
        people=calibration.reliability(people.person_scores[judged], result.alike[judged]),
        joints=joints,
        errors=np.array([np.median(relative[bins == round(edge * BINS)]) for edge in joints.edge]),
    )

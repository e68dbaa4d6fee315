"""Maps from scores to what they are worth: the similarity with the truth that one may expect.

A heatmap's peak ranks joints, but a peak of 0.6 does not say how near the joint is. A monotone map
that was fitted to people who were held out does: a joint's calibrated score is the keypoint
similarity (0 to 1) that joints of such a peak have on average, and a person's is the OKS.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hrjax import detections

FEW = 100  # people; fewer get a logistic curve, which has two parameters
LOGISTIC_KNOTS = 33
MOST_KNOTS = 64
BINS = 10  # of a reliability table
LARGEST = 1e6  # of a score


@dataclasses.dataclass(frozen=True)
class Curve:
    """A map that never falls: linear between knots (scores, values), constant beyond them."""

    scores: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """The values of scores of any shape, float64; NaN stays NaN."""
        return np.interp(np.asarray(scores, np.float64), self.scores, self.values)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How scores of a network become expected similarities, and on how many people that rests.

    `joint` maps the score of a joint; `person` maps the mean of the mapped scores of a person's
    joints.
    """

    joint: Curve
    person: Curve
    people: int
    dataset: str


def fit(
    joint_scores: np.ndarray,
    similarities: np.ndarray,
    labeled: np.ndarray,
    similarity: np.ndarray,
    *,
    threshold: float,
    dataset: str,
) -> Calibration:
    """The calibration of people that a network has not been trained on.

    `joint_scores`, the `similarities` of joints and which of them are `labeled` are (n, k);
    `similarity` (n,) is the OKS of people. `threshold` is the score from which a joint counts in a
    person's score. With fewer than FEW people the curves are logistic, otherwise isotonic.
    """
    shapes = tuple(map(np.shape, (joint_scores, similarities, labeled, similarity)))
    n, k = shapes[0] if len(shapes[0]) == 2 else (-1, -1)
    if shapes != ((n, k), (n, k), (n, k), (n,)):
        raise ValueError(
            "joint_scores, similarities, labeled and similarity must be (n, k), (n, k), (n, k) and "
            f"(n,); got {', '.join(map(str, shapes))}"
        )
    labeled = np.asarray(labeled, bool)
    if n < 2 or np.count_nonzero(labeled) < 2:
        raise ValueError(
            f"{n} people with {np.count_nonzero(labeled)} labeled joints are too few to fit a "
            "curve; hold out more"
        )
    curve = logistic if n < FEW else isotonic
    joint = curve(np.asarray(joint_scores)[labeled], np.asarray(similarities)[labeled])
    means = _mean_of_counted(joint(joint_scores), joint_scores, threshold)
    return Calibration(joint, curve(means, similarity), people=n, dataset=dataset)


def rescore(
    joint_scores: np.ndarray,
    box_scores: np.ndarray,
    *,
    threshold: float,
    calibration: Calibration | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of joints (n, k) and of people (n,), from a network's (n, k) and those of boxes (n,).

    Without a calibration these are the network's own and `detections.rescore`'s. With one, a
    person's is the expected OKS times the score of the box. Joints count whose own score is above
    `threshold`; a person without any has 0.
    """
    if calibration is None:
        return joint_scores, detections.rescore(joint_scores, box_scores, threshold=threshold)
    joint_scores = np.asarray(joint_scores, np.float64)
    joints = calibration.joint(joint_scores)
    means = _mean_of_counted(joints, joint_scores, threshold)
    counted = (joint_scores > threshold).any(axis=1)
    return joints, np.asarray(box_scores) * np.where(counted, calibration.person(means), 0)


def _mean_of_counted(values, joint_scores, threshold):
    counted = np.asarray(joint_scores) > threshold
    return np.where(counted, values, 0).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def isotonic(scores: np.ndarray, outcomes: np.ndarray) -> Curve:
    """The curve of least squares that never falls, by pooling adjacent violators.

    Its knots are the centers of the pools, so that it is linear between them instead of having
    steps: few scores become equal that were not (Oron and Flournoy, Centered Isotonic Regression,
    2017).
    """
    from scipy import optimize  # takes a moment to import, and predictions do not need it

    order = np.argsort(scores, kind="stable")
    scores, outcomes = np.asarray(scores, np.float64)[order], np.asarray(outcomes)[order]
    pools = optimize.isotonic_regression(outcomes)
    starts, values = pools.blocks[:-1], pools.x[pools.blocks[:-1]]
    sizes = np.diff(pools.blocks)
    centers = np.add.reduceat(scores, starts) / sizes
    if len(centers) > MOST_KNOTS:
        rows = np.unique(np.linspace(0, len(centers) - 1, MOST_KNOTS).round().astype(int))
        centers, values = centers[rows], values[rows]
    return _curve(centers, values)


def logistic(scores: np.ndarray, outcomes: np.ndarray) -> Curve:
    """The curve 1 / (1 + exp(-a score - b)) with a >= 0 of the highest likelihood.

    Outcomes may be any numbers from 0 to 1, as in Platt's scaling with soft targets.
    """
    from scipy import optimize

    scores, outcomes = np.asarray(scores, np.float64), np.asarray(outcomes, np.float64)

    def loss(parameters):
        logits = parameters[0] * scores + parameters[1]
        error = np.mean(np.logaddexp(0, logits) - outcomes * logits)
        residual = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - outcomes
        return error, np.array([np.mean(residual * scores), np.mean(residual)])

    limits = [(0, None), (None, None)]
    found = optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, bounds=limits)
    knots = np.linspace(0, max(1.0, float(scores.max())), LOGISTIC_KNOTS)
    return _curve(knots, 1 / (1 + np.exp(-(found.x[0] * knots + found.x[1]))))


def _curve(scores, values):
    """Knots of rising scores; of equal scores the mean of their values."""
    unique, place = np.unique(scores, return_inverse=True)
    values = np.bincount(place, values) / np.bincount(place)
    values = np.clip(np.maximum.accumulate(values), 0, 1)
    if len(unique) == 1:
        unique, values = np.array([unique[0], unique[0] + 1]), np.repeat(values, 2)
    return Curve(tuple(unique.tolist()), tuple(values.tolist()))


def problems(calibration: Calibration) -> list[str]:
    """What cannot be right about a calibration that comes from a file, a line each."""
    found = []
    for name in ("joint", "person"):
        curve = getattr(calibration, name)
        count, scores, values = len(curve.scores), curve.scores, curve.values
        numbers = all(math.isfinite(x) and abs(x) <= LARGEST for x in (*scores, *values))
        if not 2 <= count <= MOST_KNOTS or len(values) != count:
            found.append(
                f"calibration.{name} has {count} scores and {len(values)} values, expected as many "
                f"of both, from 2 to {MOST_KNOTS}"
            )
        elif not numbers or not _rises(scores, strictly=True):
            found.append(f"calibration.{name}.scores are not finite numbers in rising order")
        elif not _rises(values, strictly=False) or values[0] < 0 or values[-1] > 1:
            found.append(f"calibration.{name}.values are not numbers from 0 to 1 that never fall")
    return found


def _rises(numbers: Sequence[float], *, strictly: bool) -> bool:
    steps = np.diff(numbers)
    return bool((steps > 0).all() if strictly else (steps >= 0).all())


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Scores in bins of equal width beside what came of them; bins without any are left out.

    Of each bin (b,) there are its lower edge, the mean `score`, the mean `outcome` and the `count`.
    """

    edge: np.ndarray
    score: np.ndarray
    outcome: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: how far score and outcome are apart, on average."""
        if not len(self.count):
            return math.nan
        return float(np.average(np.abs(self.score - self.outcome), weights=self.count))


def reliability(scores: np.ndarray, outcomes: np.ndarray) -> Reliability:
    """The table of scores (n,) and outcomes (n,) from 0 to 1; the last bin has no upper edge."""
    scores, outcomes = np.asarray(scores, np.float64), np.asarray(outcomes, np.float64)
    place = bin_of(scores)
    count = np.bincount(place, minlength=BINS)
    used = np.flatnonzero(count)
    means = (np.bincount(place, x, minlength=BINS)[used] / count[used] for x in (scores, outcomes))
    return Reliability(used / BINS, *means, count[used])


def bin_of(scores: np.ndarray) -> np.ndarray:
    """The bins (n,) of scores, counted from 0; lower scores than 0 are in the first."""
    return np.clip(np.floor(np.asarray(scores) * BINS).astype(int), 0, BINS - 1)

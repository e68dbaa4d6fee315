"""Curves from scores to expected similarities, and tables of how reliable scores are."""

import dataclasses

import numpy as np
import pytest

from hrjax import calibration, detections
from hrjax.calibration import Calibration, Curve


def test_isotonic_pools_adjacent_violators():
    # By hand: 3 and 2 violate the order and are pooled into 2.5, halfway between their scores.
    curve = calibration.isotonic([0.4, 0.1, 0.3, 0.2], [0.9, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(curve.scores, [0.1, 0.25, 0.4])
    np.testing.assert_allclose(curve.values, [0.1, 0.25, 0.9])
    np.testing.assert_allclose(curve([0, 0.1, 0.175, 0.4, 2]), [0.1, 0.1, 0.175, 0.9, 0.9])


def test_an_isotonic_curve_finds_a_map_that_rises():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, 20_000)
    outcomes = (rng.uniform(size=len(scores)) < scores**2).astype(float)
    curve = calibration.isotonic(scores, outcomes)
    places = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(curve(places), places**2, atol=0.04)
    assert len(curve.scores) <= calibration.MOST_KNOTS
    assert calibration.reliability(scores, outcomes).error == pytest.approx(1 / 6, abs=0.01)
    assert calibration.reliability(curve(scores), outcomes).error < 0.01


def test_a_logistic_curve_recovers_its_parameters():
    rng = np.random.default_rng(1)
    scores = rng.uniform(0, 1, 50_000)
    truth = 1 / (1 + np.exp(-(5 * scores - 2)))
    curve = calibration.logistic(scores, (rng.uniform(size=len(scores)) < truth).astype(float))
    np.testing.assert_allclose(curve(scores[:100]), truth[:100], atol=0.02)


def test_a_logistic_curve_never_falls():
    curve = calibration.logistic([0.1, 0.9], [1.0, 0.0])
    np.testing.assert_allclose(curve([0.1, 0.9]), 0.5, atol=1e-3)


@pytest.mark.parametrize("fit", [calibration.isotonic, calibration.logistic])
@pytest.mark.parametrize("outcome", [0.0, 0.7, 1.0])
def test_equal_scores_and_outcomes_give_a_curve_that_a_card_accepts(fit, outcome):
    curve = fit(np.full(5, 0.4), np.full(5, outcome))
    assert calibration.problems(Calibration(curve, curve, 5, "mice")) == []
    assert float(curve(0.4)) == pytest.approx(outcome, abs=0.02)


HALF = Curve((0.0, 1.0), (0.0, 0.5))
SQUARE = Curve((0.0, 0.25, 0.5), (0.0, 0.1, 1.0))
KNOWN = Calibration(joint=HALF, person=SQUARE, people=200, dataset="mice")


def test_scores_of_joints_and_people_by_hand():
    scores = [[0.5, 1.0, 0.1], [0.1, 0.2, 0.2]]
    options = {"threshold": 0.2, "calibration": KNOWN}
    joints, people = calibration.rescore(scores, [0.5, 1.0], **options)
    np.testing.assert_allclose(joints, [[0.25, 0.5, 0.05], [0.05, 0.1, 0.1]])
    # The mean of 0.25 and 0.5 is 0.375, whose value is halfway from 0.1 to 1; the box scores 0.5.
    np.testing.assert_allclose(people, [0.55 * 0.5, 0])


def test_without_a_calibration_scores_are_the_networks_own():
    scores = np.array([[0.5, 1.0, 0.1]])
    options = {"threshold": 0.2, "calibration": None}
    joints, people = calibration.rescore(scores, np.ones(1), **options)
    assert joints is scores
    np.testing.assert_array_equal(people, detections.rescore(scores, np.ones(1)))


@pytest.mark.parametrize(("count", "kind"), [(99, "logistic"), (100, "isotonic")])
def test_few_people_get_a_curve_of_two_parameters(count, kind):
    rng = np.random.default_rng(2)
    scores = rng.uniform(0.3, 0.6, (count, 4))
    alike, labeled = rng.uniform(size=(count, 4)) ** 2, np.ones((count, 4), bool)
    options = {"threshold": 0.2, "dataset": "mice"}
    found = calibration.fit(scores, alike, labeled, alike.mean(axis=1), **options)
    assert (len(found.joint.scores) == calibration.LOGISTIC_KNOTS) == (kind == "logistic")
    assert (found.people, found.dataset) == (count, "mice")
    assert calibration.problems(found) == []


def test_joints_that_are_not_labeled_do_not_count():
    scores, alike = np.tile([0.9, 0.5], (200, 1)), np.tile([0.2, 0.8], (200, 1))
    labeled = np.tile([False, True], (200, 1))
    options = {"threshold": 0.2, "dataset": "mice"}
    found = calibration.fit(scores, alike, labeled, np.full(200, 0.8), **options)
    np.testing.assert_allclose(found.joint([0.9, 0.5]), 0.8)


def test_too_few_people_and_wrong_shapes_are_errors():
    one = np.ones((1, 2))
    options = {"threshold": 0.2, "dataset": "mice"}
    with pytest.raises(ValueError, match="1 people with 2 labeled joints are too few"):
        calibration.fit(one, one, one, np.ones(1), **options)
    with pytest.raises(ValueError, match=r"\(n, k\) and \(n,\); got \(1, 2\), .*\(2,\)"):
        calibration.fit(one, one, one, np.ones(2), **options)


def test_the_reliability_of_scores_by_hand():
    table = calibration.reliability([0.05, 0.55, 0.59, 1.3, -0.2], [0.0, 0.5, 0.7, 1.0, 0.0])
    np.testing.assert_allclose(table.edge, [0, 0.5, 0.9])
    np.testing.assert_array_equal(table.count, [2, 2, 1])
    np.testing.assert_allclose(table.score, [-0.075, 0.57, 1.3])
    np.testing.assert_allclose(table.outcome, [0, 0.6, 1])
    assert table.error == pytest.approx((2 * 0.075 + 2 * 0.03 + 0.3) / 5)
    assert np.isnan(calibration.reliability([], []).error)


@pytest.mark.parametrize(
    ("scores", "values", "message"),
    [
        ((0.0,), (0.0,), "has 1 scores and 1 values, expected as many of both, from 2 to 64"),
        ((0.0, 1.0), (0.0,), "has 2 scores and 1 values"),
        (tuple(range(65)), (0.5,) * 65, "has 65 scores"),
        ((0.0, 0.0), (0.0, 1.0), "scores are not finite numbers in rising order"),
        ((1.0, 0.0), (0.0, 1.0), "scores are not finite numbers in rising order"),
        ((0.0, float("inf")), (0.0, 1.0), "scores are not finite numbers in rising order"),
        ((0.0, 1e300), (0.0, 1.0), "scores are not finite numbers in rising order"),
        ((0.0, 1.0), (0.5, 0.4), "values are not numbers from 0 to 1 that never fall"),
        ((0.0, 1.0), (0.5, 1.5), "values are not numbers from 0 to 1 that never fall"),
        ((0.0, 1.0), (-0.5, 0.5), "values are not numbers from 0 to 1 that never fall"),
    ],
)
def test_curves_that_cannot_be_right_are_named(scores, values, message):
    wrong = dataclasses.replace(KNOWN, person=Curve(scores, values))
    (problem,) = calibration.problems(wrong)
    assert problem.startswith("calibration.person")
    assert message in problem

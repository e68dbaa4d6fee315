"""The error analysis finds the errors that were planted, and what they cost by hand."""

import numpy as np
import pytest
from truths import make_truth

from data_pipelines.skeletons import COCO
from hrjax import detections
from hrjax.error_analysis import analysis

AREA = 100.0**2
LEFT_ELBOW, RIGHT_ELBOW, LEFT_WRIST, RIGHT_WRIST, NOSE = 7, 8, 9, 10, 0


def detections_of(keypoints, images, scores):
    keypoints = np.reshape(keypoints, (len(images), 17, 2))
    return detections.make(images, keypoints, np.ones((len(images), 17)), scores)


def analyze(known, people):
    return analysis.analyze(known, people, max_people=20)


def person(at=0.0):
    """Joints so far apart that none is near another: 17 on a line of 3200 pixels."""
    return np.stack([200.0 * np.arange(17), np.full(17, at)], axis=-1)


def off(joint, similarity):
    """How many pixels away a joint has a similarity."""
    return np.sqrt(-2 * np.log(similarity) * AREA) * 2 * COCO.sigmas[joint]


def kinds_of(planted, people=1):
    """The analysis of `people`, the first of them predicted as `planted`."""
    truth = make_truth([person(5000.0 * row) for row in range(people)], [1] * people)
    predicted = truth.keypoints.copy()
    predicted[0] = planted
    scores = np.linspace(0.9, 0.5, people)
    people = detections_of(predicted, [1] * people, scores)
    return analyze(truth, people)


def names(result, row=0):
    return {joint: analysis.KINDS[kind] for joint, kind in enumerate(result.kinds[row]) if kind}


def test_the_truth_has_no_errors():
    result = kinds_of(person())
    assert names(result) == {}
    assert result.curves.ap == pytest.approx(1)
    assert max(map(abs, result.costs.values())) < 1e-12
    np.testing.assert_array_equal(result.shares[:, analysis.GOOD], 1)


@pytest.mark.parametrize(
    ("similarity", "kind"), [(0.86, None), (0.84, "jitter"), (0.51, "jitter"), (0.49, "miss")]
)
def test_distance_decides_between_good_jitter_and_miss(similarity, kind):
    planted = person()
    planted[LEFT_WRIST, 0] += off(LEFT_WRIST, similarity)
    assert names(kinds_of(planted)) == ({LEFT_WRIST: kind} if kind else {})


def test_left_and_right_confused_is_an_inversion():
    planted = person()
    planted[[LEFT_ELBOW, RIGHT_ELBOW]] = planted[[RIGHT_ELBOW, LEFT_ELBOW]]
    assert names(kinds_of(planted)) == {LEFT_ELBOW: "inversion", RIGHT_ELBOW: "inversion"}


def test_a_joint_that_is_neither_its_own_nor_its_twin_is_a_miss():
    planted = person()
    planted[LEFT_ELBOW] = planted[LEFT_WRIST]
    assert names(kinds_of(planted)) == {LEFT_ELBOW: "miss"}


def test_a_joint_on_another_person_is_a_swap():
    planted = person()
    planted[LEFT_WRIST] = person(5000.0)[LEFT_WRIST]
    planted[RIGHT_ELBOW] = person(5000.0)[LEFT_ELBOW]
    planted[NOSE] = person(5000.0)[RIGHT_ELBOW]  # another joint: it is no person's nose
    expected = {LEFT_WRIST: "swap", RIGHT_ELBOW: "swap", NOSE: "miss"}
    assert names(kinds_of(planted, people=2)) == expected


def test_joints_without_labels_and_false_positives_are_not_judged():
    visibility = np.full((1, 17), 2.0)
    visibility[0, NOSE] = 0
    truth = make_truth([person()], [1], visibility=visibility)
    people = detections_of([person(), person(90000.0)], [1, 1], [0.9, 0.8])
    result = analyze(truth, people)
    assert result.owners.tolist() == [0, -1]
    assert (result.kinds[0] == -1).nonzero()[0].tolist() == [NOSE]
    assert set(result.kinds[1]) == {-1}
    assert result.shares[NOSE].sum() == 0


def test_shares_are_of_the_joints_that_were_judged():
    truth = make_truth([person()] * 4, [1, 2, 3, 4])
    predicted = truth.keypoints.copy()
    predicted[0, LEFT_WRIST, 0] += off(LEFT_WRIST, 0.7)
    predicted[1, LEFT_WRIST, 0] += off(LEFT_WRIST, 0.1)
    predicted[2, LEFT_WRIST] = predicted[2, RIGHT_WRIST]
    result = analyze(truth, detections_of(predicted, [1, 2, 3, 4], [0.9] * 4))
    np.testing.assert_allclose(result.shares[LEFT_WRIST], [0.25, 0.25, 0.25, 0, 0.25])
    np.testing.assert_allclose(result.shares[RIGHT_WRIST], [1, 0, 0, 0, 0])


def test_misses_cost_what_half_a_joint_each_is_worth():
    planted = person()
    planted[:5, 1] += 4000
    result = kinds_of(planted)
    # OKS 12/17 = 0.706 passes 5 of 10 thresholds; (12 + 5 * 0.5) / 17 = 0.853 passes 8.
    assert result.curves.ap == pytest.approx(0.5)
    assert result.costs["miss"] == pytest.approx(0.3)
    assert result.costs["all four"] == pytest.approx(0.3)
    assert result.costs["jitter"] == result.costs["inversion"] == result.costs["swap"] == 0
    # One of them put right: 12.5/17 = 0.735 passes no more than before.
    np.testing.assert_allclose(result.joint_costs, 0, atol=1e-12)


def test_jitter_costs_what_it_keeps_from_being_good():
    planted = person()
    joints = np.arange(5)
    planted[joints, 0] += [off(joint, 0.6) for joint in joints]
    result = kinds_of(planted)
    # OKS (12 + 5 * 0.6) / 17 = 0.882 passes 8; (12 + 5 * 0.85) / 17 = 0.956 passes all.
    assert result.curves.ap == pytest.approx(0.8)
    assert result.costs["jitter"] == pytest.approx(0.2)


def test_inversions_and_swaps_cost_all_that_they_took():
    planted = person()
    planted[[5, 6, 7, 8]] = planted[[6, 5, 8, 7]]
    result = kinds_of(planted)
    # OKS 13/17 = 0.765 passes 6 of 10.
    assert result.curves.ap == pytest.approx(0.6)
    assert result.costs["inversion"] == pytest.approx(0.4)
    # Without one of the four, 14/17 = 0.824, one threshold more.
    np.testing.assert_allclose(result.joint_costs[5:9, 1], 0.1, atol=1e-12)
    planted = person()
    planted[1:5] = person(5000.0)[1:5]
    result = kinds_of(planted, people=2)
    # The first of two people passes 6 of 10, and otherwise is a false positive of the higher score.
    assert result.costs["swap"] == pytest.approx(1 - result.curves.ap)


def test_false_negatives_false_positives_and_the_order_have_their_price():
    truth = make_truth([person(), person(9000.0)], [1, 1])
    people = detections_of([person(90000.0), person()], [1, 1], [0.9, 0.8])
    result = analyze(truth, people)
    # Half the people, at a precision of a half: recalls 0 … 0.5 are 51 of 101.
    assert result.curves.ap == pytest.approx(0.5 * 51 / 101)
    assert result.costs["false positives"] == pytest.approx(0.5 * 51 / 101)
    assert result.costs["false negatives"] == pytest.approx(0.5 - 0.5 * 51 / 101)
    assert result.costs["scores"] == pytest.approx(0.5 * 51 / 101)
    assert analysis.not_detected(result, 5) == [1]


def test_groups_count_their_own_people_only():
    areas = np.array([50.0**2, 200.0**2, 200.0**2])
    visibility = np.full((3, 17), 2.0)
    visibility[1, 4:] = 1  # labeled but occluded
    truth = make_truth([person()] * 3, [1, 2, 2], areas=areas, visibility=visibility)
    keypoints = truth.keypoints.copy()
    keypoints[2] += 9000  # the other person of image 2
    truth = make_truth(keypoints, [1, 2, 2], areas=areas, visibility=visibility)
    predicted = keypoints.copy()
    predicted[0] += 50000  # the medium one, alone in its image, is not detected
    result = analyze(truth, detections_of(predicted, [1, 2, 2], [0.7, 0.9, 0.8]))
    size, visible, crowd = result.groups.values()
    assert [(group.people, round(group.ar, 6)) for group in size.values()] == [(1, 0), (2, 1)]
    assert {name: group.people for name, group in visible.items()} == {
        "0 to 5": 1,
        "6 to 10": 0,
        "11 to 15": 0,
        "16 to 17": 2,
    }
    assert visible["0 to 5"].ap == pytest.approx(1)
    assert visible["6 to 10"].ap == -1
    assert (crowd["1 person"].ap, crowd["2 or 3"].ap) == (0, pytest.approx(1))


def test_a_bad_detection_of_another_person_is_not_a_false_positive_in_a_group():
    visibility = np.full((2, 17), 2.0)
    visibility[0, 4:] = (
        1  # mostly occluded, and detected badly: 11 of 17 joints pass three thresholds
    )
    truth = make_truth([person(), person(9000.0)], [1, 1], visibility=visibility)
    predicted = truth.keypoints.copy()
    predicted[0, :6] += 4000
    people = detections_of(predicted, [1, 1], [0.9, 0.8])
    visible = analyze(truth, people).groups["visible joints"]
    assert visible["16 to 17"].ap == pytest.approx(1)
    assert visible["0 to 5"].ap == pytest.approx(0.3)


def test_the_worst_come_first():
    visibility = np.full((4, 17), 2.0)
    visibility[3, 2:] = 0  # two labeled joints, of which one is wrong
    truth = make_truth([person()] * 4, [1, 2, 3, 4], visibility=visibility)
    predicted = truth.keypoints.copy()
    predicted[1, :8] += 500
    predicted[2, :4] += 500
    predicted[3, :1] += 500
    result = analyze(truth, detections_of(predicted, [1, 2, 3, 4], [0.9] * 4))
    assert result.alike[3] == pytest.approx(0.5)
    assert analysis.worst(result, 2) == [(1, 1), (2, 2)]


def test_no_detections_are_analyzed_too():
    result = analyze(make_truth([person()], [1]), detections_of([], [], []))
    assert result.curves.ap == 0
    assert analysis.not_detected(result, 3) == [0]
    assert set(result.shares.ravel()) == {0}

"""Detections as columns, and the scores of people."""

import numpy as np
import pytest

from hrjax import detections
from hrjax.detections import Predictions


def test_detections_are_columns_of_float64_with_areas_of_extents():
    keypoints = np.array([[[1.5, 2.0], [3.0, 6.0]]], np.float32)
    people = detections.make([139], keypoints, np.float32([[0.5, 0.25]]), np.float32([0.75]))
    assert people.triples.tolist() == [[1.5, 2.0, 0.5, 3.0, 6.0, 0.25]]
    assert people.areas.tolist() == [1.5 * 4]
    assert {x.dtype for x in vars(people).values()} == {np.dtype("int64"), np.dtype("float64")}


def test_rows_are_taken_in_their_order():
    rng = np.random.default_rng(0)
    columns = rng.random((3, 2, 2)), rng.random((3, 2)), rng.random(3)
    people = detections.make([4, 5, 6], *columns).take(np.array([2, 0]))
    assert people.image_ids.tolist() == [6, 4]
    np.testing.assert_array_equal(people.keypoints, columns[0][[2, 0]])
    assert len(people) == 2


def test_no_detections_have_all_columns():
    people = detections.make([], np.zeros((0, 5, 2)), np.zeros((0, 5)), [])
    assert len(people) == 0
    assert people.triples.shape == (0, 15)
    assert people.areas.shape == (0,)


def test_detections_name_the_shapes_they_got():
    with pytest.raises(ValueError, match=r"got \(1, 17, 2\), \(1, 16\), \(1,\), \(1,\)"):
        detections.make(np.ones(1), np.ones((1, 17, 2)), np.ones((1, 16)), np.ones(1))


def test_detections_refuse_scores_that_are_not_numbers():
    with pytest.raises(ValueError, match="joint_scores hold 1 numbers that are NaN"):
        detections.make([1], np.ones((1, 1, 2)), np.full((1, 1), np.nan), np.ones(1))


def test_predictions_say_which_rows_are_finite():
    keypoints, scores = np.zeros((3, 2, 2)), np.zeros((3, 2))
    keypoints[0, 1, 1], scores[2, 0] = np.inf, np.nan
    assert Predictions(keypoints, scores).finite.tolist() == [False, True, False]


def test_rescoring_is_the_recorded_one(golden):
    recorded = np.load(golden / "rescore_nms.npz")
    scores = detections.rescore(recorded["coco_keypoints"][..., 2], recorded["coco_box_score"])
    np.testing.assert_allclose(scores, recorded["coco_rescored"], atol=1e-6)


def test_rescoring_averages_the_joints_above_the_threshold():
    scores = detections.rescore(np.array([[0.9, 0.5, 0.1], [0.1, 0.2, 0.0]]), np.array([0.5, 1.0]))
    np.testing.assert_allclose(scores, [0.35, 0.0])


def test_rescoring_names_the_shapes_it_got():
    with pytest.raises(ValueError, match=r"got \(2, 17\) and \(3,\)"):
        detections.rescore(np.ones((2, 17)), np.ones(3))

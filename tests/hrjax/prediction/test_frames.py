"""Frames become results and drawings, and problems are listed."""

import numpy as np
import pytest

from hrjax import visualize
from hrjax.prediction import frames
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import Predictor

POINTS = ((40, 30), (100, 80))
BOXES = np.array([(15, 10, 40, 50), (80, 50, 30, 60)], float)


@pytest.fixture
def predictor(bright):
    return Predictor(bright.network)


def find_boxes(frame):
    return BOXES, np.array([1.0, 0.5])


def test_each_frame_has_its_results(predictor, dots):
    batch = [Frame(name, number, dots(POINTS)) for number, name in enumerate("ab")]
    results, problems = frames.predict_frames(predictor, batch, find_boxes)
    assert [(result.name, result.image_id) for result in results] == [("a", 0), ("b", 1)]
    for result in results:
        np.testing.assert_allclose(result.poses.keypoints[:, 0], POINTS, atol=3)
    assert not problems


def test_person_scores_include_the_scores_of_the_boxes(predictor, dots):
    image = dots(POINTS)
    (result,), _ = frames.predict_frames(predictor, [Frame("a", 1, image)], find_boxes)
    alone = predictor(image, BOXES)
    np.testing.assert_allclose(result.poses.person_scores, alone.person_scores * (1, 0.5))


def test_people_are_drawn_into_a_copy(predictor, dots):
    frame = Frame("a.jpg", 1, dots(POINTS))
    (result,), _ = frames.predict_frames(predictor, [frame], find_boxes)
    drawn = frames.draw(frame, result, predictor.skeleton, threshold=0.2)
    # The lower right corner of the box, and a joint's dot where the point is.
    assert tuple(drawn[60, 55]) == visualize.BOX
    assert (drawn[30, 40] != frame.image[30, 40]).any()
    np.testing.assert_array_equal(frame.image, dots(POINTS))


def test_unusable_boxes_are_listed_and_the_others_are_predicted(predictor, dots):
    bad = np.array([(10, 10, 0, 5), (500, 0, 9, 9)], float)
    find_more = lambda frame: (np.concatenate([bad, BOXES]), np.ones(4))  # noqa: E731
    frame = Frame("a.jpg", 1, dots(POINTS))
    (result,), problems = frames.predict_frames(predictor, [frame], find_more)
    np.testing.assert_array_equal(result.poses.boxes, BOXES)
    assert problems == [
        "a.jpg: box [10.0, 10.0, 0.0, 5.0] is empty",
        "a.jpg: box [500.0, 0.0, 9.0, 9.0] lies outside the image of 160x120 pixels "
        "(width x height)",
    ]


def test_heatmaps_that_are_not_finite_are_listed(predictor, dots, monkeypatch):
    step = predictor._step

    def broken(weights, batch):
        outputs = step(weights, batch)
        return {**outputs, "scores": outputs["scores"].at[0, :2].set(np.nan)}

    monkeypatch.setattr(predictor, "_step", broken)
    frame = Frame("a.jpg", 1, dots(POINTS))
    (result,), problems = frames.predict_frames(predictor, [frame], find_boxes)
    assert problems == ["a.jpg: the heatmaps of 2 joints are not finite"]
    drawn = frames.draw(frame, result, predictor.skeleton, threshold=0.2)
    assert drawn.shape == (120, 160, 3)


def test_a_frame_without_people_is_unchanged(predictor, dots):
    frame = Frame("a.jpg", 1, dots(POINTS))
    no_boxes = lambda frame: (np.zeros((0, 4)), np.zeros(0))  # noqa: E731
    (result,), problems = frames.predict_frames(predictor, [frame], no_boxes)
    assert result.poses.keypoints.shape == (0, 17, 2)
    drawn = frames.draw(frame, result, predictor.skeleton, threshold=0.2)
    np.testing.assert_array_equal(drawn, frame.image)
    assert not problems

"""Frames become pictures and entries, and what fails is listed."""

import numpy as np
import pytest

from hrjax import visualize
from hrjax.prediction import annotate
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import Predictor

POINTS = ((40, 30), (100, 80))
BOXES = np.array([(15, 10, 40, 50), (80, 50, 30, 60)], float)


@pytest.fixture
def annotator(bright):
    def find_boxes(frame):
        return BOXES, np.array([1.0, 0.5])

    return annotate.Annotator(Predictor(bright.network), find_boxes, threshold=0.2)


def test_people_are_drawn_and_written_down(annotator, dots):
    frames = [Frame(name, number, dots(POINTS)) for number, name in enumerate("ab")]
    drawn = annotator(frames)
    assert [entry["file_name"] for entry in annotator.entries] == ["a", "a", "b", "b"]
    for picture, people in drawn:
        np.testing.assert_allclose(people.keypoints[:, 0], POINTS, atol=3)
        # The box's lower right corner, and a joint's dot where the point is.
        assert tuple(picture[60, 55]) == visualize.BOX
        assert (picture[30, 40] != frames[0].image[30, 40]).any()
    first, second = annotator.entries[:2]
    assert second["score"] == pytest.approx(0.5 * drawn[0][1].person_scores[1])
    assert first["score"] == pytest.approx(drawn[0][1].person_scores[0])
    assert not annotator.problems


def test_bad_boxes_are_listed_and_the_rest_goes_on(annotator, dots):
    bad = np.array([(10, 10, 0, 5), (500, 0, 9, 9)], float)
    annotator.find_boxes = lambda frame: (np.concatenate([bad, BOXES]), np.ones(4))
    ((_, people),) = annotator([Frame("a.jpg", 1, dots(POINTS))])
    np.testing.assert_array_equal(people.boxes, BOXES)
    assert len(annotator.entries) == 2
    assert annotator.problems == [
        "a.jpg: the box [10.0, 10.0, 0.0, 5.0] is empty",
        "a.jpg: the box [500.0, 0.0, 9.0, 9.0] lies outside the image of 120x160 pixels",
    ]


def test_heatmaps_that_are_not_finite_are_listed(annotator, dots, monkeypatch):
    step = annotator.predictor._step

    def broken(weights, batch):
        found = step(weights, batch)
        return {**found, "scores": found["scores"].at[0, :2].set(np.nan)}

    monkeypatch.setattr(annotator.predictor, "_step", broken)
    ((picture, _),) = annotator([Frame("a.jpg", 1, dots(POINTS))])
    assert annotator.problems == ["a.jpg: 2 joints have heatmaps that are not finite"]
    assert annotator.entries[0]["keypoints"][:6] == [0] * 6
    assert picture.shape == (120, 160, 3)


def test_a_frame_without_people_stays_as_it_is(annotator, dots):
    annotator.find_boxes = lambda frame: (np.zeros((0, 4)), np.zeros(0))
    image = dots(POINTS)
    ((picture, _),) = annotator([Frame("a.jpg", 1, image)])
    np.testing.assert_array_equal(picture, image)
    assert annotator.entries == []

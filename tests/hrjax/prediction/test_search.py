"""People are found by the pose network itself, here by functions that know where they are."""

import numpy as np
import pytest

from hrjax.prediction import search
from hrjax.prediction.boxes import whole_image
from hrjax.prediction.media import Frame
from hrjax.prediction.results import Poses

PEOPLE = np.array([(40, 60, 60, 150), (220, 30, 80, 200), (150, 100, 20, 50)], float)
IMAGE = np.zeros((240, 320, 3), np.uint8)


def knowing(people, asked):
    """Predicts the person nearest to the middle of a box; the better the box fits, the surer."""
    people = np.asarray(people, float).reshape(-1, 4)

    def predict(image, boxes):
        asked.append(len(boxes))
        keypoints, scores = [], []
        for box in boxes:
            middle = box[:2] + box[2:] / 2
            distances = np.linalg.norm(people[:, :2] + people[:, 2:] / 2 - middle, axis=1)
            person = people[distances.argmin()]
            size = np.sqrt(box[2:].prod() / person[2:].prod())
            fit = np.exp(-distances.min() / box[3]) * min(size, 1 / size)
            shares = np.stack([np.linspace(0, 1, 17), np.linspace(0, 1, 17)[::-1]], axis=-1)
            keypoints.append(person[:2] + shares * person[2:])
            scores.append(np.full(17, fit))
        scores = np.array(scores)
        return Poses(boxes, np.array(keypoints), scores, scores.mean(axis=1))

    return predict


def test_people_are_found_with_boxes_around_their_joints():
    asked = []
    boxes, scores = search.Search(knowing(PEOPLE[:2], asked), (256, 192))(IMAGE)
    order = np.argsort(boxes[:, 0])
    margin = 0.12 * PEOPLE[:2, 3:]
    expected = np.concatenate([PEOPLE[:2, :2] - margin, PEOPLE[:2, 2:] + 2 * margin], axis=1)
    np.testing.assert_allclose(boxes[order], expected)
    assert (scores > 0.4).all()
    assert set(asked) == {8}  # so that one program is compiled


def test_no_person_is_found_where_scores_are_low_or_joints_are_in_one_place():
    unsure = lambda image, boxes: Poses(  # noqa: E731
        boxes,
        np.random.default_rng(0).uniform(0, 99, (len(boxes), 17, 2)),
        np.full((len(boxes), 17), 0.3),
        None,
    )
    collapsed = lambda image, boxes: Poses(  # noqa: E731
        boxes, np.full((len(boxes), 17, 2), 50.0), np.full((len(boxes), 17), 0.9), None
    )
    for predict in (unsure, collapsed):
        boxes, scores = search.Search(predict, (256, 192))(IMAGE)
        assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize("size", [(240, 320), (1000, 200), (200, 1000), (64, 64)])
def test_windows_cover_the_image_in_three_sizes(size):
    boxes = search.windows(size, 0.75)
    np.testing.assert_array_equal(boxes[0], (0, 0, size[1], size[0]))
    covered = np.zeros((3, *size), bool)
    heights = np.unique(np.round(boxes[1:, 3], 6))[::-1]
    assert len(heights) == 3
    for x, y, width, height in boxes[1:]:
        assert width / height == pytest.approx(0.75)
        rows = slice(max(0, round(y)), max(0, round(y + height)))
        columns = slice(max(0, round(x)), max(0, round(x + width)))
        covered[np.abs(heights - height).argmin()][rows, columns] = True
    assert covered.all()


def test_an_image_without_a_person_is_one_box_and_a_frame_none(caplog):
    empty = lambda image, boxes: Poses(  # noqa: E731
        boxes, np.zeros((len(boxes), 17, 2)), np.zeros((len(boxes), 17)), None
    )
    frame = Frame("a.jpg", 1, IMAGE)
    for is_film in (False, True):
        find = search.find_boxes(empty, (256, 192), threshold=0.3, is_film=is_film)
        expected = np.zeros((0, 4)) if is_film else whole_image(frame)[0]
        np.testing.assert_array_equal(find(frame)[0], expected)
    assert "the detector yolox_s is fast and finds more" in caplog.text
    assert caplog.text.count("a.jpg: no person was found; the whole image is taken as a box") == 1

"""Boxes come from the command line and from files."""

import json

import numpy as np
import pytest

from hrjax.prediction import boxes
from hrjax.prediction.media import Frame


def frame(name="a.jpg", image_id=1):
    return Frame(name, image_id, np.zeros((60, 80, 3), np.uint8))


def write(tmp_path, contents):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps(contents))
    return str(path)


def detection(**fields):
    return {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9, **fields}


def test_the_whole_image_is_a_box():
    found, scores = boxes.whole_image(frame())
    np.testing.assert_array_equal(found, [(0, 0, 80, 60)])
    np.testing.assert_array_equal(scores, [1])


def test_written_boxes_are_of_every_frame():
    find = boxes.same_boxes(["1,2,3,4", "5.5,6,7,8"])
    np.testing.assert_array_equal(find(frame())[0], [(1, 2, 3, 4), (5.5, 6, 7, 8)])


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "detections.txt"])
def test_a_box_that_is_none_shows_how_to_write_one(text):
    with pytest.raises(ValueError, match=rf"a box is x,y,w,h in pixels, e\.g\. .*got '{text}'"):
        boxes.same_boxes([text])


def test_detections_go_by_the_image_id(tmp_path):
    file = write(tmp_path, [detection(), detection(image_id=2, bbox=[5, 6, 7, 8], score=0.5)])
    find = boxes.DetectedBoxes(file, threshold=0.3)
    np.testing.assert_array_equal(find(frame())[0], [(1, 2, 3, 4)])
    found, scores = find(frame("b.jpg", 2))
    np.testing.assert_array_equal(found, [(5, 6, 7, 8)])
    np.testing.assert_array_equal(scores, [0.5])
    assert find.matched == 2
    assert find(frame("c.jpg", 3))[0].shape == (0, 4)


def test_doubtful_boxes_other_things_and_crowds_are_left_out(tmp_path):
    others = [detection(score=0.2), detection(category_id=3), detection(iscrowd=1)]
    find = boxes.DetectedBoxes(write(tmp_path, [*others, detection()]), threshold=0.3)
    assert len(find(frame())[0]) == 1


def test_names_are_better_than_ids(tmp_path):
    file = write(tmp_path, [detection(image_id=7, file_name="people/b.jpg")])
    find = boxes.DetectedBoxes(file, threshold=0)
    assert len(find(frame("deep/b.jpg", 1))[0]) == 1
    assert len(find(frame("a.jpg", 7))[0]) == 0


def test_annotation_files_name_their_images(tmp_path):
    entry = {"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}
    images = [{"id": 9, "file_name": "b.jpg"}]
    file = write(tmp_path, {"images": images, "annotations": [entry]})
    found, scores = boxes.DetectedBoxes(file, threshold=0.5)(frame("b.jpg", 1))
    np.testing.assert_array_equal(found, [(1, 2, 3, 4)])
    np.testing.assert_array_equal(scores, [1])


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a": 1}, "neither a list of detections .* nor a COCO annotation file"),
        ([{"image_id": 1}], "box 0 has no bbox; each needs image_id, bbox"),
        ([detection(bbox=[1, 2])], r"bbox of entry 0 has shape \(2,\), expected \(4,\)"),
    ],
)
def test_files_that_hold_something_else_are_named(tmp_path, contents, message):
    with pytest.raises(ValueError, match=message):
        boxes.DetectedBoxes(write(tmp_path, contents), threshold=0)


def test_a_missing_file_is_named():
    with pytest.raises(FileNotFoundError, match=r"no file of boxes gone\.json"):
        boxes.DetectedBoxes("gone.json", threshold=0)

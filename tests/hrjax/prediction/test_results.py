"""What is written about people, and read again to draw them."""

import json

import cv2
import numpy as np
import pytest

from hrjax.prediction import results
from hrjax.prediction.media import Frame
from hrjax.prediction.predictor import People


@pytest.fixture
def people():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 60, (2, 17, 2)).astype(np.float32)
    scores = rng.uniform(0.3, 1, (2, 17)).astype(np.float32)
    keypoints[1, 4], scores[1, 4] = np.nan, 0
    return People(np.array([(1, 2, 30, 40), (5, 6, 7, 8)], float), keypoints, scores, np.ones(2))


def written(people, tmp_path):
    frame = Frame("deep/b.jpg", 7, np.zeros((60, 80, 3), np.uint8))
    rows = results.entries(frame, people, np.array([0.5, 0.25]))
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    return rows, str(path)


def test_entries_are_cocos_with_names_and_boxes(people, tmp_path):
    rows, _ = written(people, tmp_path)
    first, second = rows
    expected = {"image_id", "category_id", "keypoints", "score", "file_name", "box"}
    assert first.keys() == expected  # and no bbox, which would change COCO's areas
    assert (first["image_id"], first["category_id"], first["score"]) == (7, 1, 0.5)
    assert first["file_name"] == "deep/b.jpg"
    assert first["box"] == [1, 2, 30, 40]
    joints = np.reshape(first["keypoints"], (17, 3))
    np.testing.assert_allclose(joints[:, :2], people.keypoints[0])
    np.testing.assert_allclose(joints[:, 2], people.scores[0])
    assert second["keypoints"][12:15] == [0, 0, 0]


def test_cocos_tools_accept_the_entries(people, tmp_path):
    from pycocotools.coco import COCO

    _, path = written(people, tmp_path)
    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    assert len(truth.loadRes(path).getAnnIds()) == 2


def test_entries_read_back(people, tmp_path):
    _, path = written(people, tmp_path)
    (picture,) = results.read(path)
    assert (picture.name, picture.image_id, picture.upright) == ("deep/b.jpg", 7, True)
    np.testing.assert_allclose(picture.keypoints[0], people.keypoints[0])
    np.testing.assert_allclose(picture.scores, people.scores)
    np.testing.assert_array_equal(picture.person_scores, (0.5, 0.25))


def test_evaluations_results_read_by_image(tmp_path):
    coco = [{"image_id": i, "category_id": 1, "keypoints": [1, 2, 0.5] * 17} for i in (3, 4, 3)]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco))
    pictures = results.read(str(path))
    assert [(p.image_id, len(p.keypoints), p.upright) for p in pictures] == [
        *((3, 2, False), (4, 1, False))
    ]
    np.testing.assert_allclose(pictures[0].person_scores, 0.5)
    mpii = [{"image": "a.jpg", "keypoints": [[1, 2]] * 16, "scores": [0.5] * 16}]
    path.write_text(json.dumps(mpii))
    (picture,) = results.read(str(path))
    assert (picture.name, picture.keypoints.shape) == ("a.jpg", (1, 16, 2))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 1}], "person 0 has no keypoints"),
        ([{"keypoints": [1, 2, 3]}], "person 0 has neither image_id nor file_name"),
        ([{"image_id": 1, "keypoints": [1, 2]}], "must be x, y, score for each joint; got 2"),
        ({"a": 1}, "holds a dict where a list is expected"),
    ],
)
def test_files_that_hold_something_else_are_named(tmp_path, rows, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=message):
        results.read(str(path))
    with pytest.raises(FileNotFoundError, match=r"no file of predictions gone\.json"):
        results.read("gone.json")


def picture(name="", image_id=None):
    nobody = np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0)
    return results.Picture(name, image_id, *nobody, upright=False)


def test_images_are_found_by_name_and_number_at_any_depth(tmp_path):
    levels = {
        "val2017/000000000785.jpg": 10,
        "b.jpg": 80,
        "deep/COCO_val2014_000000000139.jpg": 150,
    }
    for name, level in levels.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), level, np.uint8))
    images = results.Images(str(tmp_path), {55: "b.jpg"})
    asked = [picture(image_id=785), picture("far/b.jpg"), picture(image_id=55), picture("", 139)]
    assert [images.read(p)[0, 0, 0] for p in asked] == [10, 80, 80, 150]
    with pytest.raises(ValueError, match="there is no image 12 in"):
        images.read(picture(image_id=12))
    with pytest.raises(FileNotFoundError, match="no folder of images nowhere"):
        results.Images("nowhere", {})

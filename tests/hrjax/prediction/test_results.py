"""Results are written as COCO's JSON files, and read again."""

import csv
import dataclasses
import json
import os

import cv2
import numpy as np
import pytest

from hrjax.prediction import results
from hrjax.prediction.results import ImageResults, Poses


@pytest.fixture
def poses():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 60, (2, 17, 2)).astype(np.float32)
    scores = rng.uniform(0.3, 1, (2, 17)).astype(np.float32)
    keypoints[1, 4], scores[1, 4] = np.nan, 0
    boxes = np.array([(1, 2, 30, 40), (5, 6, 7, 8)], float)
    return Poses(boxes, keypoints, scores, np.array([0.5, 0.25]))


@pytest.fixture
def file(poses, tmp_path):
    path = tmp_path / "results.json"
    no_poses = Poses(np.zeros((0, 4)), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))
    results.save([ImageResults("deep/b.jpg", 7, poses), ImageResults("c.jpg", 8, no_poses)], path)
    return str(path)


def test_entries_are_in_cocos_format_with_names_and_boxes(poses, file):
    with open(file) as opened:
        first, second = json.load(opened)
    expected = {"image_id", "category_id", "keypoints", "score", "file_name", "box"}
    assert first.keys() == expected  # and no bbox, which would change COCO's areas
    assert (first["image_id"], first["category_id"], first["score"]) == (7, 1, 0.5)
    assert first["file_name"] == "deep/b.jpg"
    assert first["box"] == [1, 2, 30, 40]
    joints = np.reshape(first["keypoints"], (17, 3))
    np.testing.assert_allclose(joints[:, :2], poses.keypoints[0])
    np.testing.assert_allclose(joints[:, 2], poses.scores[0])
    assert second["keypoints"][12:15] == [0, 0, 0]


def test_cocos_tools_accept_the_entries(file):
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {"images": [{"id": 7}], "annotations": [], "categories": [{"id": 1}]}
    truth.createIndex()
    assert len(truth.loadRes(file).getAnnIds()) == 2


def test_without_people_the_file_is_an_empty_list(tmp_path):
    results.save([], tmp_path / "results.json")
    assert results.read(str(tmp_path / "results.json")) == []


def test_results_read_back(poses, file):
    (result,) = results.read(file)
    assert (result.name, result.image_id, result.upright) == ("deep/b.jpg", 7, True)
    np.testing.assert_array_equal(result.poses.boxes, poses.boxes)
    np.testing.assert_allclose(result.poses.keypoints[0], poses.keypoints[0])
    np.testing.assert_allclose(result.poses.scores, poses.scores)
    np.testing.assert_array_equal(result.poses.person_scores, (0.5, 0.25))


def test_results_of_evaluations_are_read_by_image(tmp_path):
    coco = [{"image_id": i, "category_id": 1, "keypoints": [1, 2, 0.5] * 17} for i in (3, 4, 3)]
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(coco))
    read = results.read(str(path))
    assert [(r.image_id, len(r.poses.keypoints), r.upright) for r in read] == [
        *((3, 2, False), (4, 1, False))
    ]
    np.testing.assert_allclose(read[0].poses.person_scores, 0.5)
    assert np.isnan(read[0].poses.boxes).all()
    mpii = [{"image": "a.jpg", "keypoints": [[1, 2]] * 16, "scores": [0.5] * 16}]
    path.write_text(json.dumps(mpii))
    (result,) = results.read(str(path))
    assert (result.name, result.poses.keypoints.shape) == ("a.jpg", (1, 16, 2))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"image_id": 1}], "entry 0: it has no keypoints"),
        ([{"keypoints": [1, 2, 3]}], "entry 0: it has neither image_id nor file_name"),
        ([{"image_id": 1, "keypoints": [1, 2]}], "must be x, y, score for each joint; got 2"),
        ([{"image_id": [1], "keypoints": [1, 2, 3]}], r"entry 0: image_id is \[1\]; expected"),
        ([{"image_id": 1, "keypoints": 5}], "entry 0: keypoints is 5; expected a list of num"),
        ([{"image_id": 1, "keypoints": ["a"] * 51}], 'keypoints holds "a", which is not a number'),
        (
            [{"image_id": 1, "keypoints": [1, 2, 3], "score": "high"}],
            'entry 0: score is "high"; expected a number',
        ),
        (
            [{"image": "a", "keypoints": [[1, 2]], "scores": [1, 1]}],
            "keypoints must be pairs of numbers",
        ),
        ({"a": 1}, "holds a dict where a list is expected"),
    ],
)
def test_files_with_other_contents_are_named(tmp_path, rows, message):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=message):
        results.read(str(path))
    with pytest.raises(FileNotFoundError, match=r"there is no results file gone\.json"):
        results.read("gone.json")


def result(name="", image_id=None):
    no_poses = Poses(np.zeros((0, 4)), np.zeros((0, 17, 2)), np.zeros((0, 17)), np.zeros(0))
    return ImageResults(name, image_id, no_poses, upright=False)


def test_images_are_found_by_name_and_number_in_all_subfolders(tmp_path):
    levels = {
        "val2017/000000000785.jpg": 10,
        "b.jpg": 80,
        "deep/COCO_val2014_000000000139.jpg": 150,
    }
    for name, level in levels.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.full((8, 8, 3), level, np.uint8))
    images = results.ImageFinder(str(tmp_path), {55: "b.jpg"})
    asked = [result(image_id=785), result("far/b.jpg"), result(image_id=55), result("", 139)]
    assert [images.read(each)[0, 0, 0] for each in asked] == [10, 80, 80, 150]
    with pytest.raises(ValueError, match="there is no image 12 in"):
        images.read(result(image_id=12))
    with pytest.raises(FileNotFoundError, match="no image folder nowhere"):
        results.ImageFinder("nowhere", {})


@pytest.mark.parametrize("name", ["../secret.jpg", "{root}/secret.jpg", "deep/../../secret.jpg"])
def test_images_outside_of_the_folder_are_not_found(tmp_path, name):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "secret.jpg"), np.zeros((4, 5, 3), np.uint8))
    finder = results.ImageFinder(str(tmp_path / "images"), {})
    entry = results.ImageResults(name.format(root=tmp_path), None, poses=None)
    with pytest.raises(ValueError, match=r"there is no image .*secret"):
        finder.read(entry)


def test_names_that_are_not_utf8_come_back(tmp_path):
    poses = Poses(np.zeros((1, 4)), np.ones((1, 3, 2)), np.ones((1, 3)), np.ones(1))
    name = os.fsdecode(b"\xff.jpg")
    results.save([ImageResults(name, 1, poses)], tmp_path / "results.json")
    (again,) = results.read(str(tmp_path / "results.json"))
    assert again.name == name


def test_a_film_has_track_ids_and_a_table(poses, tmp_path):
    followed = dataclasses.replace(poses, track_ids=np.array([4, 0]))
    names = [f"joint{number}" for number in range(17)]
    writer = results.ResultsWriter(tmp_path / "a.json", table=tmp_path / "a.csv", joints=names)
    for number in (0, 1):
        writer.add(ImageResults("walk.mp4", number, followed, time=number / 25))
    assert not (tmp_path / "a.json").exists()  # not before it is whole
    writer.close()
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [entry.get("track_id") for entry in entries] == [4, None, 4, None]
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["image_id"], row["time"], row["track_id"]) for row in rows] == [
        *(("0", "0.0000", "4"), ("0", "0.0000", "")),
        *(("1", "0.0400", "4"), ("1", "0.0400", "")),
    ]
    assert [float(rows[1][f"box_{side}"]) for side in ("x", "y", "width", "height")] == [5, 6, 7, 8]
    for person, row in zip((0, 1), rows, strict=False):
        for joint in (0, 3):
            point = [float(row[f"joint{joint}_{axis}"]) for axis in "xy"]
            np.testing.assert_allclose(point, poses.keypoints[person, joint], rtol=1e-5)
            score = float(row[f"joint{joint}_score"])
            assert score == pytest.approx(poses.scores[person, joint], rel=1e-5)
    assert (rows[1]["joint4_x"], rows[1]["joint4_y"]) == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.json"]


def test_results_written_one_by_one_are_those_written_at_once(poses, tmp_path):
    every = [ImageResults("a.jpg", 1, poses), ImageResults("b.jpg", 2, poses)]
    results.save(every, tmp_path / "at_once.json")
    expected = json.dumps(results._coco_entries(every)) + "\n"
    assert (tmp_path / "at_once.json").read_text() == expected

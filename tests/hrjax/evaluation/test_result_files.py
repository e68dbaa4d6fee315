"""Results written as COCO's server takes them, and read from any program."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from hrjax import detections
from hrjax.detections import Predictions
from hrjax.evaluation import result_files

ENTRY = {"image_id": 7, "category_id": 3, "keypoints": [1, 2, 0.5, 3.5, 6, 0.25], "score": 0.75}


def write(folder, content):
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return path


def test_entries_are_cocos_of_plain_numbers():
    people = detections.make(
        np.int64([139]), np.float32([[[1.5, 2.0], [3.0, 4.0]]]), [[0.5, 0.25]], np.float32([0.75])
    )
    expected = {"image_id": 139, "category_id": 3, "score": 0.75}
    expected["keypoints"] = [1.5, 2.0, 0.5, 3.0, 4.0, 0.25]
    entries = result_files.coco_entries(people, category_id=3)
    assert json.loads(json.dumps(entries)) == [expected]


def test_entries_read_back_and_in_cocos_tools(tmp_path):
    rng = np.random.default_rng(0)
    columns = rng.random((5, 4, 2)), rng.random((5, 4)), rng.random(5)
    people = detections.make([4, 4, 2**40, -1, 0], *columns)
    path = tmp_path / "results.json"
    result_files.save_json(result_files.coco_entries(people, 3), path)
    again = result_files.read(path).detections()
    for name, column in vars(people).items():
        np.testing.assert_array_equal(getattr(again, name), column)
    file = COCO()
    images = [{"id": number} for number in (4, 2**40, -1, 0)]
    file.dataset = {"images": images, "annotations": [], "categories": [{"id": 3}]}
    file.createIndex()
    assert len(file.loadRes(str(path)).getAnnIds(catIds=[3])) == 5


def test_mpiis_entries_read_back(tmp_path):
    keypoints, scores = np.arange(12.0).reshape(3, 2, 2), np.full((3, 2), 0.5)
    keypoints[1, 0, 0] = np.nan

    class TwoImages:
        columns = {"image_path": np.array(["a.jpg", "a.jpg", "b.jpg"])}  # noqa: RUF012

    entries = result_files.mpii_entries(TwoImages, Predictions(keypoints, scores))
    read = result_files.read(write(tmp_path, entries))
    assert read.image_names == ["a.jpg", "a.jpg", "b.jpg"]
    assert read.image_ids == [None] * 3
    np.testing.assert_array_equal(read.keypoints[[0, 2]], keypoints[[0, 2]])
    np.testing.assert_array_equal(read.keypoints[1], 0)
    np.testing.assert_array_equal(read.joint_scores, [[0.5, 0.5], [0, 0], [0.5, 0.5]])
    assert np.isnan(read.person_scores).all()


def test_areas_are_of_boxes_or_of_the_keypoints_extents(tmp_path):
    path = write(tmp_path, [{**ENTRY, "bbox": [0, 0, 30, 20]}, ENTRY, {**ENTRY, "bbox": []}])
    assert result_files.read(path).areas.tolist() == [600, 2.5 * 4, 2.5 * 4]


def test_keypoints_of_named_files_are_of_upright_images(tmp_path):
    path = write(tmp_path, [ENTRY, {**ENTRY, "file_name": "a.jpg"}])
    assert result_files.read(path).upright.tolist() == [False, True]


def test_ids_may_be_written_as_floats(tmp_path):
    people = result_files.read(write(tmp_path, [{**ENTRY, "image_id": 7.0}])).detections()
    assert people.image_ids.tolist() == [7]


def test_a_file_without_entries_has_none(tmp_path):
    assert len(result_files.read(write(tmp_path, [])).detections()) == 0


def without(name):
    return {key: value for key, value in ENTRY.items() if key != name}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": 1}, "holds a dict where a list is expected"),
        ([1], "entry 0: it is 1; expected an object"),
        ([ENTRY, without("keypoints")], "entry 1: it has no keypoints"),
        ([without("image_id")], "entry 0: it has neither image_id nor file_name"),
        ([{**ENTRY, "image_id": [1]}], r"entry 0: image_id is \[1\]; expected a whole number"),
        ([{**ENTRY, "image_id": 1.5}], r"entry 0: image_id is 1\.5; expected a whole number"),
        ([{**ENTRY, "keypoints": 5}], "entry 0: keypoints is 5; expected a list of numbers"),
        ([{**ENTRY, "keypoints": ["a"] * 6}], 'entry 0: keypoints holds "a"'),
        ([{**ENTRY, "keypoints": [1, 2]}], "x, y, score for each joint; got 2 numbers"),
        ([{**ENTRY, "keypoints": []}], "x, y, score for each joint; got 0 numbers"),
        ([{**ENTRY, "keypoints": [1, None, 2]}], "entry 0: keypoints is .*; expected finite"),
        ([ENTRY, {**ENTRY, "keypoints": [1, 2, 3]}], "entry 1: it has 1 joints; the first .* 2"),
        ([{**ENTRY, "score": "high"}], 'entry 0: score is "high"; expected a number'),
        ([{**ENTRY, "score": float("nan")}], "entry 0: score is nan; expected a finite number"),
        ([{**ENTRY, "bbox": [1, 2]}], r"entry 0: bbox is \[1, 2\]; expected 4 finite numbers"),
        ([{**ENTRY, "file_name": 5}], "entry 0: its file name is 5; expected text"),
        ([{**ENTRY, "scores": [0.5]}], "entry 0: keypoints must be pairs of numbers, .* 1 scores"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, entries, message):
    with pytest.raises(ValueError, match=rf"results\.json.*{message}"):
        result_files.read(write(tmp_path, entries))


@pytest.mark.parametrize("name", ["score", "image_id"])
def test_detections_need_scores_and_image_ids(tmp_path, name):
    results = result_files.read(write(tmp_path, [ENTRY, {**without(name), "file_name": "a.jpg"}]))
    with pytest.raises(ValueError, match=rf"results\.json: entry 1 has no {name}"):
        results.detections()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no results file .*gone\.json"):
        result_files.read(tmp_path / "gone.json")

"""The CrowdPose reader: who is used, and the columns of its metric."""

import json

import numpy as np
import pytest

from data_pipelines.readers import crowdpose
from data_pipelines.readers.request import Request


def _annotation(number, **changes):
    annotation = {
        "id": number,
        "image_id": 7,
        "category_id": 1,
        "bbox": [10, 20, 30, 60],
        "keypoints": [15, 25, 2] + [0] * 33 + [20, 22, 2, 20, 30, 1],
        "num_keypoints": 1,
    }
    return {**annotation, **changes}


def _write(root, *annotations, name="mmpose_crowdpose_val"):
    (root / "images").mkdir()
    (root / "annotations").mkdir()
    contents = {
        "images": [
            {"id": 7, "file_name": "7.jpg", "width": 100, "height": 200, "crowdIndex": 0.25}
        ],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "person"}],
    }
    (root / "annotations" / f"{name}.json").write_text(json.dumps(contents))


@pytest.mark.parametrize("name", ["mmpose_crowdpose_val", "crowdpose_val"])
def test_person_is_read_with_what_the_metric_needs(tmp_path, name):
    _write(tmp_path, _annotation(3), name=name)
    split = crowdpose.read(Request(str(tmp_path), "val"))
    assert split[0]["image_path"] == str(tmp_path / "images" / "7.jpg")
    assert split[0]["visible"].tolist() == [1] + [0] * 11 + [1, 1]
    assert split.columns["area"].tolist() == [0.53 * 30 * 60]
    assert split.columns["crowd_index"].tolist() == [0.25]
    assert split.columns["image_id"].tolist() == [7]
    assert split.truth.annotation_ids == [3]


def test_people_with_only_head_and_neck_are_dropped_and_counted(tmp_path):
    unlabeled = _annotation(3, keypoints=[0] * 42, num_keypoints=0)
    _write(tmp_path, _annotation(1), _annotation(2, num_keypoints=0), unlabeled)
    split = crowdpose.read(Request(str(tmp_path), "val"))
    assert split.columns["truth_row"].tolist() == [0]
    assert split.truth.counted.tolist() == [True, False, False]
    assert split.dropped["without counted joints"] == 1
    assert split.dropped["without labeled joints"] == 1


def test_areas_are_of_boxes_whatever_the_file_says(tmp_path):
    _write(tmp_path, _annotation(3, area=7))
    assert crowdpose.read(Request(str(tmp_path), "val")).truth.areas.tolist() == [0.53 * 30 * 60]


def test_another_joint_count_is_an_error(tmp_path):
    _write(tmp_path, _annotation(3, keypoints=[1] * 51))
    with pytest.raises(ValueError, match=r"14 joints.*: 1 with another number of joints"):
        crowdpose.read(Request(str(tmp_path), "val"))


def test_missing_dataset_says_what_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mmpose_crowdpose_test\.json or .*\nCrowdPose"):
        crowdpose.read(Request(str(tmp_path), "test"))


def test_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="Choose one of: train, val, trainval, test"):
        crowdpose.read(Request(str(tmp_path), "minival"))


@pytest.mark.parametrize("split", crowdpose.SPLITS)
def test_counts_of_the_samples_are_the_published_ones(shared, split):
    report = json.loads((shared / "samples" / "check.json").read_text())["crowdpose"]
    people = crowdpose.read(Request(str(shared / "samples" / "crowdpose"), split))
    assert len(people) == report["persons_with_keypoints"]
    assert people.columns["visible"].sum() == report["labelled_keypoints"]
    assert len(people) + sum(people.dropped.values()) == report["annotations"]
    assert sorted(set(people.columns["crowd_index"])) == [0.33, 0.39]


def test_the_samples_detections_are_read(shared):
    root = shared / "samples" / "crowdpose"
    file = root / "annotations" / "det_for_crowd_test_0.1_0.5.json"
    split = crowdpose.read(Request(str(root), "test", str(file)))
    report = json.loads((shared / "samples" / "check.json").read_text())["crowdpose"]
    assert len(split) == report["detections"]
    np.testing.assert_allclose(split[0]["center"], [242.4373, 194.9938], atol=1e-3)
    assert split.columns["crowd_index"].tolist() == [0.33] * 3 + [0.39] * 3

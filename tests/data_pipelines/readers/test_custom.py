"""A dataset of one's own: its skeleton from the file or from the config, its files anywhere."""

import json
import logging
import os
import pickle

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from data_pipelines import datasets, json_files
from data_pipelines.readers import custom
from data_pipelines.readers.request import Joints, Request

NAMES = ["nose", "left_paw", "right_paw", "tail"]
CATEGORY = {"id": 3, "name": "cat", "keypoints": NAMES, "skeleton": [[1, 4], [1, 2], [1, 3]]}


def _write(root, *, name="annotations/train.json", images="images", categories=(CATEGORY,)):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / images).mkdir(parents=True, exist_ok=True)
    annotation = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 31, 61]}
    contents = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 100, "height": 200}],
        "annotations": [{**annotation, "keypoints": [15, 25, 2] * 4}],
        "categories": list(categories),
    }
    path.write_text(json.dumps(contents))


def _config(root, **changes):
    options = {"default": "hrnet_w32", "dataset": "custom", "input_size": (256, 192)}
    config = ConfigDict(common.recipe("", **options))
    config.data.root = str(root)
    config.update_from_flattened_dict(changes)
    return config.data


def test_the_skeleton_is_read_from_the_file(tmp_path, caplog):
    _write(tmp_path)
    with caplog.at_level(logging.INFO):
        split = datasets.read_config(_config(tmp_path), "train")
    skeleton = split.skeleton
    assert skeleton.names == tuple(NAMES)
    assert skeleton.flip_pairs == ((1, 2),)
    assert skeleton.limbs == ((0, 3), (0, 1), (0, 2))
    assert skeleton.sigmas == (0.026, 0.05, 0.05, 0.05)  # the nose is COCO's
    assert skeleton.upper_body == (0,)
    assert "sigma 0.05 for: left_paw, right_paw, tail" in caplog.text
    np.testing.assert_array_equal(split[0]["keypoints"], [[15, 25]] * 4)


def test_the_pairs_of_a_category_go_before_names(tmp_path):
    pairs = [["nose", "tail"], ["left_paw", "right_paw"]]
    _write(tmp_path, categories=[{**CATEGORY, "flip_pairs": pairs}])
    split = datasets.read("custom", str(tmp_path), "train")
    assert split.skeleton.flip_pairs == ((0, 3), (1, 2))
    config = _config(tmp_path, **{"data.skeleton.flip_pairs": ((1, 2),)})
    assert datasets.read_config(config, "train").skeleton.flip_pairs == ((1, 2),)


@pytest.mark.parametrize("pairs", [5, [["nose"]], [["nose", "ear"]], [["nose", "tail"]] * 2])
def test_pairs_that_are_not_of_its_joints_are_refused(tmp_path, pairs):
    _write(tmp_path, categories=[{**CATEGORY, "flip_pairs": pairs}])
    with pytest.raises(ValueError, match=r"flip_pairs of the category .cat. is .*; expected pairs"):
        datasets.read("custom", str(tmp_path), "train")


def test_the_config_says_it_all(tmp_path):
    _write(tmp_path, name="labels/a.json", images="pictures", categories=[{"id": 3, "name": "cat"}])
    changes = {
        "data.annotations.train": "labels/a.json",
        "data.images.train": "pictures",
        "data.skeleton.names": ("a", "b", "c", "d"),
        "data.skeleton.flip_pairs": ((0, 3),),
        "data.skeleton.limbs": ((2, 3),),
        "data.skeleton.sigmas": (0.1, 0.2, 0.3, 0.4),
        "data.skeleton.upper_body": (1, 2),
    }
    split = datasets.read_config(_config(tmp_path, **changes), "train")
    skeleton = split.skeleton
    assert (skeleton.flip_pairs, skeleton.limbs) == (((0, 3),), ((2, 3),))
    assert (skeleton.sigmas, skeleton.upper_body) == ((0.1, 0.2, 0.3, 0.4), (1, 2))
    assert split[0]["image_path"] == str(tmp_path / "pictures" / "7.jpg")


def test_the_same_joints_in_another_order_are_a_warning(tmp_path, caplog):
    _write(tmp_path)
    names = tuple(reversed(NAMES))
    split = datasets.read_config(_config(tmp_path, **{"data.skeleton.names": names}), "train")
    assert split.skeleton.names == names
    assert "has the joints nose, left_paw, right_paw, tail" in caplog.text
    assert "another order: tail, right_paw, left_paw, nose" in caplog.text
    caplog.clear()
    datasets.read_config(_config(tmp_path, **{"data.skeleton.names": tuple(NAMES)}), "train")
    assert "another order" not in caplog.text


def test_detections_are_read(tmp_path):
    _write(tmp_path)
    file = tmp_path / "found.json"
    found = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5}
    file.write_text(json.dumps([found]))
    split = datasets.read_config(_config(tmp_path), "train", boxes=str(file))
    assert split.columns["box_score"].tolist() == [0.5]
    assert split.skeleton.num_joints == 4


def test_limbs_of_joints_that_are_not_there_are_left_out(tmp_path, caplog):
    _write(tmp_path, categories=[{**CATEGORY, "skeleton": [[1, 2], [16, 14]]}])
    split = custom.read(Request(str(tmp_path), "train"))
    assert split.skeleton.limbs == ()
    assert "'cat' has limbs of joints that it lacks" in caplog.text


def test_joints_without_names_are_an_error(tmp_path):
    _write(tmp_path, categories=[{"id": 3, "name": "cat"}])
    with pytest.raises(ValueError, match=r"'cat' doesn't name its joints.*config\.data\.skeleton"):
        custom.read(Request(str(tmp_path), "train"))


def test_several_categories_must_be_chosen_from(tmp_path):
    _write(tmp_path, categories=[CATEGORY, {**CATEGORY, "id": 4, "name": "dog"}])
    with pytest.raises(ValueError, match=r"categories cat, dog; say in config\.data\.category"):
        custom.read(Request(str(tmp_path), "train"))
    split = datasets.read_config(_config(tmp_path, **{"data.category": "cat"}), "train")
    assert len(split) == 1


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (Joints(sigmas=(0.1,)), "sigmas has 1 numbers for the 4 joints"),
        (Joints(flip_pairs=((1, 4),)), "names the joint 4; .* has 4, counted from 0"),
        (Joints(flip_pairs=(1, 2)), r"flip_pairs is \(1, 2\); expected pairs of joints"),
        (Joints(names=("a", "b")), r"2 joints of 'cat'; dropped: 1 with another number of joints"),
        (Joints(flip_pairs=((0, 1), (1, 2))), r"joint 1 \(left_paw\) more than once"),
        (Joints(flip_pairs=((3, 3),)), r"joint 3 \(tail\) more than once"),
        (Joints(flip_pairs=((0, 1),)), "doesn't match the joints' names: nose-left_paw"),
        (Joints(sigmas=(0.1, 0.1, 0, 0.1)), "sigmas holds 0; OKS needs a number above 0"),
        (Joints(sigmas=(0.1, 0.1, float("nan"), 0.1)), "sigmas holds nan"),
        (Joints(upper_body=("nose",)), "names the joint 'nose'"),
    ],
)
def test_joints_that_do_not_fit_the_file_are_an_error(tmp_path, joints, message):
    _write(tmp_path)
    with pytest.raises(ValueError, match=message):
        custom.read(Request(str(tmp_path), "train", joints=joints))


def test_missing_files_say_where_they_are_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotations/val\.json\nA custom dataset wants"):
        datasets.read_config(_config(tmp_path), "val")


def test_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(
        ValueError, match=r"'minival' of a custom dataset; did you mean val\? Choose one of: train"
    ):
        datasets.read_config(_config(tmp_path), "minival")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"keypoints": [0, 1, 2, 3]},
            r"keypoints of the category 'cat' is \[0, 1, 2, 3\]; expected",
        ),
        ({"keypoints": 5}, "keypoints of the category 'cat' is 5; expected a list of the joints'"),
        ({"skeleton": 7}, "skeleton of the category 'cat' is 7; expected pairs of joints"),
        ({"skeleton": [[1, 2, 3]]}, r"skeleton of the category 'cat' is \[\[1, 2, 3\]\]"),
        ({"skeleton": [["nose", None]]}, "skeleton of the category 'cat'"),
    ],
)
def test_a_category_of_another_type_is_named(tmp_path, changes, message):
    _write(tmp_path, categories=[{**CATEGORY, **changes}])
    with pytest.raises(ValueError, match=rf"train\.json: {message}"):
        custom.read(Request(str(tmp_path), "train"))


def test_limbs_may_be_called_by_their_joints(tmp_path):
    _write(tmp_path, categories=[{**CATEGORY, "skeleton": [["nose", "tail"], [1, 2.0]]}])
    assert custom.read(Request(str(tmp_path), "train")).skeleton.limbs == ((0, 3), (0, 1))


def test_joints_of_two_sides_without_a_pair_are_a_warning(tmp_path, caplog):
    names = ["nose", "left_paw", "right_foot", "tail"]
    _write(tmp_path, categories=[{**CATEGORY, "keypoints": names}])
    split = custom.read(Request(str(tmp_path), "train"))
    assert split.skeleton.flip_pairs == ()
    assert "have no pair, so that mirrored" in caplog.text
    assert "left_paw, right_foot; say in config.data.skeleton.flip_pairs" in caplog.text


def test_pairs_of_a_config_that_was_saved_as_json_are_read(tmp_path):
    _write(tmp_path)
    config = _config(tmp_path)
    config.skeleton.flip_pairs = [[1, 2]]
    assert datasets.read_config(config, "train").skeleton.flip_pairs == ((1, 2),)


def _detections(tmp_path, *changes):
    _write(tmp_path)
    detection = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5}
    file = tmp_path / "found.json"
    file.write_text(json.dumps([{**detection, **change} for change in changes]))
    return custom.read(Request(str(tmp_path), "train", str(file)))


def test_detections_are_matched_by_the_category_id_of_the_file(tmp_path):
    split = _detections(tmp_path, {}, {"category_id": 1}, {"category_id": 3.0, "image_id": 7.0})
    assert len(split) == 2
    assert split.dropped["of another category"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"category_id": 1}, "no detection has the category_id 3, which is 'cat' in .*they have 1"),
        ({"score": float("nan")}, r"detection 0: score must be 1 finite numbers; got \[nan\]"),
        ({"score": None}, "detection 0: score must be"),
        ({"score": "high"}, 'detection 0: score is "high"; expected a number'),
        ({"bbox": [1, 2, 3]}, "detection 0: bbox must be 4 finite numbers"),
        ({"bbox": [1, 2, 3, float("inf")]}, "detection 0: bbox must be 4 finite numbers"),
        ({"bbox": None}, "detection 0: bbox must be 4 finite numbers"),
        ({"image_id": "7"}, 'detection 0: image_id is "7"; expected a whole number'),
        ({"image_id": 8}, r"1 images of the detections are not in .*e\.g\. 8"),
    ],
)
def test_wrong_detections_are_named(tmp_path, change, message):
    with pytest.raises(ValueError, match=rf"found\.json: {message}"):
        _detections(tmp_path, change)


@pytest.mark.parametrize("contents", ["{}", "[5]", "[{]"])
def test_a_file_that_holds_no_detections_is_named(tmp_path, contents):
    _write(tmp_path)
    (tmp_path / "found.json").write_text(contents)
    with pytest.raises(ValueError, match=r"found\.json"):
        custom.read(Request(str(tmp_path), "train", str(tmp_path / "found.json")))


def test_a_split_without_annotations_is_read_with_detections_alone(tmp_path):
    _write(tmp_path, name="annotations/test.json")
    path = tmp_path / "annotations" / "test.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "annotations": []}))
    detection = {"image_id": 7, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.5}
    (tmp_path / "found.json").write_text(json.dumps([detection]))
    split = custom.read(Request(str(tmp_path), "test", str(tmp_path / "found.json")))
    assert (len(split), split.truth.annotated, split.truth.category_id) == (1, False, 3)
    with pytest.raises(ValueError, match=r"test\.json has no annotations.*config\.eval\.boxes"):
        custom.read(Request(str(tmp_path), "test"))


@pytest.mark.parametrize("name", ["../secret.jpg", "/etc/hostname", "a/../../b.jpg", "", "a\0b"])
def test_images_outside_of_their_folder_are_refused(tmp_path, name):
    _write(tmp_path)
    path = tmp_path / "annotations" / "train.json"
    contents = json.loads(path.read_text())
    contents["images"][0]["file_name"] = name
    path.write_text(json.dumps(contents))
    with pytest.raises(
        ValueError, match=r"train\.json: image 0 \(id 7\): .* expected (a|the) name"
    ):
        datasets.read("custom", str(tmp_path), "train")


@pytest.mark.parametrize("name", ["sub/7.jpg", "{root}/images/7.jpg", "\udcff.jpg", "é 7.jpg"])
def test_images_below_their_folder_are_read(tmp_path, name):
    _write(tmp_path)
    path = tmp_path / "annotations" / "train.json"
    contents = json.loads(path.read_text())
    contents["images"][0]["file_name"] = name.format(root=tmp_path)
    path.write_text(json.dumps(contents))
    split = datasets.read("custom", str(tmp_path), "train")
    for each in (split, pickle.loads(pickle.dumps(split))):  # as a worker process gets it
        assert each[0]["image_path"] == str(tmp_path / "images" / name.format(root=tmp_path))


def test_annotations_that_are_a_pipe_or_too_large_are_named(tmp_path, monkeypatch):
    _write(tmp_path)
    monkeypatch.setattr(json_files, "LARGEST_FILE", 100)
    with pytest.raises(ValueError, match=r"train\.json has \d+ bytes; at most 100 are read"):
        datasets.read("custom", str(tmp_path), "train")
    (tmp_path / "annotations" / "train.json").unlink()
    os.mkfifo(tmp_path / "annotations" / "train.json")
    with pytest.raises(ValueError, match=r"train\.json is a named pipe"):
        datasets.read("custom", str(tmp_path), "train")

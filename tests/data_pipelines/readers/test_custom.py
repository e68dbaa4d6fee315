"""A dataset of one's own: its skeleton from the file or from the config, its files anywhere."""

import json
import logging

import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import common
from data_pipelines import datasets
from data_pipelines.readers import custom

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


@pytest.mark.parametrize(
    "pair",
    [("left_eye", "right_eye"), ("eye_l", "eye_r"), ("LeftEye", "RightEye"), ("l-eye", "r-eye")],
)
def test_mirror_images_are_found_by_name(pair):
    assert custom.mirrored_names(("tail", *pair, "lower_tail")) == ((1, 2),)


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
    split = custom.read(str(tmp_path), "train")
    assert split.skeleton.limbs == ()
    assert "'cat' has limbs of joints that it lacks" in caplog.text


def test_joints_without_names_are_an_error(tmp_path):
    _write(tmp_path, categories=[{"id": 3, "name": "cat"}])
    with pytest.raises(ValueError, match=r"'cat' doesn't name its joints.*config\.data\.skeleton"):
        custom.read(str(tmp_path), "train")


def test_several_categories_must_be_chosen_from(tmp_path):
    _write(tmp_path, categories=[CATEGORY, {**CATEGORY, "id": 4, "name": "dog"}])
    with pytest.raises(ValueError, match=r"categories cat, dog; say in config\.data\.category"):
        custom.read(str(tmp_path), "train")
    split = datasets.read_config(_config(tmp_path, **{"data.category": "cat"}), "train")
    assert len(split) == 1


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        (custom.Joints(sigmas=(0.1,)), "sigmas has 1 numbers for the 4 joints"),
        (custom.Joints(flip_pairs=((1, 4),)), "names the joint 4; .* has 4, counted from 0"),
        (custom.Joints(flip_pairs=(1, 2)), r"flip_pairs is \(1, 2\); expected pairs of joints"),
        (custom.Joints(names=("a", "b")), r"has shape \(12,\), expected \(6,\)"),
    ],
)
def test_joints_that_do_not_fit_the_file_are_an_error(tmp_path, joints, message):
    _write(tmp_path)
    with pytest.raises(ValueError, match=message):
        custom.read(str(tmp_path), "train", joints=joints)


def test_missing_files_say_where_they_are_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"annotations/val\.json\nA custom dataset wants"):
        datasets.read_config(_config(tmp_path), "val")


def test_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match="'minival' of a custom dataset; choose one of: train"):
        datasets.read_config(_config(tmp_path), "minival")

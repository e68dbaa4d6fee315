"""The MPII reader on files in both published layouts."""

import contextlib
import json
import os
import random
import warnings

import fuzzing
import numpy as np
import pytest
import scipy.io

from data_pipelines.readers import mpii
from data_pipelines.readers.request import Request


def _person(**changes):
    person = {
        "image": "a.jpg",
        "center": [101.0, 51.0],
        "scale": 2.0,
        "joints": [[float(10 * joint + 1), 21.0] for joint in range(16)],
        "joints_vis": [1] * 15 + [0],
    }
    return {**person, **changes}


def _write(root, people, name="annotations/mpii_val.json"):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    path.write_text(json.dumps(people))
    return path


def _write_truth(path, count, head=(30.0, 40.0)):
    boxes = np.zeros((2, 2, count))
    boxes[1] = np.array(head)[:, None]
    joints = np.full((16, 2, count), 11.0)
    missing = np.zeros((16, count), np.uint8)
    missing[3] = 1
    scipy.io.savemat(path, {"headboxes_src": boxes, "pos_gt_src": joints, "jnt_missing": missing})


@pytest.mark.parametrize("name", ["annotations/mpii_val.json", "annot/valid.json"])
def test_coordinates_become_0_based_and_boxes_padded(tmp_path, name):
    _write(tmp_path, [_person()], name)
    split = mpii.read(Request(str(tmp_path), "val"))
    example = split[0]
    assert example["image_path"] == str(tmp_path / "images" / "a.jpg")
    np.testing.assert_allclose(example["center"], [100, 80])  # 51 + 15 * scale - 1
    np.testing.assert_allclose(example["size"], [500, 500])  # 200 * scale * 1.25
    np.testing.assert_allclose(example["keypoints"][:, 0], np.arange(16) * 10)
    np.testing.assert_array_equal(example["visible"], [1] * 15 + [0])
    assert {value.dtype for key, value in example.items() if key != "image_path"} == {
        np.dtype("float32"),
        np.dtype("int32"),
    }


@pytest.mark.parametrize(
    ("annotations", "truth"),
    [
        ("annotations/mpii_val.json", "annotations/mpii_gt_val.mat"),
        ("annot/valid.json", "annot/gt_valid.mat"),
    ],
)
def test_truth_of_pckh_comes_from_the_mat(tmp_path, annotations, truth):
    _write(tmp_path, [_person(), _person()], annotations)
    _write_truth(tmp_path / truth, count=2)
    columns = mpii.read(Request(str(tmp_path), "val")).columns
    np.testing.assert_allclose(columns["head_size"], [30, 30])  # 0.6 * 50
    np.testing.assert_allclose(columns["truth_keypoints"], np.full((2, 16, 2), 10))
    np.testing.assert_array_equal(columns["truth_visible"][0], np.arange(16) != 3)


def test_without_the_mat_head_sizes_are_unknown(tmp_path):
    _write(tmp_path, [_person()])
    columns = mpii.read(Request(str(tmp_path), "val")).columns
    assert np.isnan(columns["head_size"]).all()
    np.testing.assert_array_equal(columns["truth_keypoints"], columns["keypoints"])


def test_a_mat_of_another_split_is_refused(tmp_path):
    _write(tmp_path, [_person()])
    _write_truth(tmp_path / "annotations" / "mpii_gt_val.mat", count=3)
    with pytest.raises(ValueError, match=r"is about 3 people and .* about 1"):
        mpii.read(Request(str(tmp_path), "val"))


def test_a_damaged_mat_is_named(tmp_path):
    _write(tmp_path, [_person()])
    (tmp_path / "annotations" / "mpii_gt_val.mat").write_bytes(b"not a mat file")
    with pytest.raises(ValueError, match=r"mpii_gt_val\.mat is damaged"):
        mpii.read(Request(str(tmp_path), "val"))


def test_missing_dataset_says_where_it_is_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mpii_train\.json or .*train\.json\nMPII wants"):
        mpii.read(Request(str(tmp_path), "train"))


def test_missing_images_are_noticed_before_training(tmp_path):
    _write(tmp_path, [_person()])
    (tmp_path / "images").rmdir()
    with pytest.raises(FileNotFoundError, match=r"there is no .*images\n"):
        mpii.read(Request(str(tmp_path), "val"))


def test_unknown_split_lists_the_choices(tmp_path):
    with pytest.raises(ValueError, match=r"unknown MPII split 'valid'.*train, val, trainval, test"):
        mpii.read(Request(str(tmp_path), "valid"))


@pytest.mark.parametrize("name", ["annotations/mpii_test.json", "annot/test.json"])
def test_people_of_the_test_split_have_boxes_only(tmp_path, name):
    person = _person()
    del person["joints"], person["joints_vis"]
    _write(tmp_path, [person], name)
    split = mpii.read(Request(str(tmp_path), "test"))
    np.testing.assert_allclose(split[0]["center"], [100, 80])
    assert not split[0]["visible"].any()
    assert np.isnan(split.columns["head_size"]).all()


def test_wrong_joint_count_names_the_person(tmp_path):
    _write(tmp_path, [_person(), _person(joints=[[1.0, 2.0]] * 17)])
    with pytest.raises(ValueError, match=r"joints of entry 1 has shape \(17, 2\).*\(16, 2\)"):
        mpii.read(Request(str(tmp_path), "val"))


def test_missing_field_names_the_person(tmp_path):
    person = _person()
    del person["scale"]
    _write(tmp_path, [_person(), person])
    with pytest.raises(ValueError, match="person 1 has no scale; each needs image, center"):
        mpii.read(Request(str(tmp_path), "val"))


def test_an_empty_split_is_an_error(tmp_path):
    _write(tmp_path, [])
    with pytest.raises(ValueError, match="is an empty list"):
        mpii.read(Request(str(tmp_path), "val"))


def test_real_people_agree_with_their_ground_truth(shared):
    report = json.loads((shared / "samples" / "check.json").read_text())["mpii"]
    split = mpii.read(Request(str(shared / "samples" / "mpii"), "val"))
    columns = split.columns
    assert len(split) == report["annotations"]
    assert columns["visible"].sum() == report["labelled_keypoints"]
    np.testing.assert_array_equal(columns["visible"], columns["truth_visible"])
    centers = [person["center_official"] for person in report["per_image"]]
    np.testing.assert_allclose(columns["center"], centers, rtol=1e-6)
    heads = [person["headbox_px"] for person in report["per_image"]]
    np.testing.assert_allclose(columns["head_size"] / 0.6, heads, atol=0.01)
    seen = columns["visible"] > 0
    difference = np.abs(columns["keypoints"] - columns["truth_keypoints"])[seen]
    assert difference.max() < 5e-5  # the .json is rounded to four digits


def test_the_whole_validation_split_agrees_with_its_ground_truth(shared, tmp_path):
    files = shared / "samples" / "mpii_annotations"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "mpii_val.json").symlink_to(files / "mpii_val_rebuilt.json")
    (tmp_path / "annotations" / "mpii_gt_val.mat").symlink_to(files / "mpii_gt_val.mat")
    columns = mpii.read(Request(str(tmp_path), "val")).columns
    assert len(columns["head_size"]) == 2958
    assert (columns["head_size"] > 0).all()
    seen = columns["truth_visible"] > 0
    np.testing.assert_array_equal(columns["visible"] > 0, seen)
    difference = np.abs(columns["keypoints"] - columns["truth_keypoints"])[seen]
    assert difference.max() < 2e-4


NAN = float("nan")


@pytest.mark.parametrize(
    "wrong", [{"scale": 0}, {"scale": -1}, {"scale": NAN}, {"scale": None}, {"center": [NAN, 5]}]
)
def test_people_without_scale_or_center_are_left_out_with_their_truth(tmp_path, wrong):
    people = [_person(image=f"{row}.jpg") for row in range(3)]
    people[1] |= wrong
    _write(tmp_path, people)
    _write_truth(tmp_path / "annotations" / "mpii_gt_val.mat", count=3)
    split = mpii.read(Request(str(tmp_path), "val"))
    assert [path.rpartition("/")[2] for path in split.columns["image_path"]] == ["0.jpg", "2.jpg"]
    assert {len(column) for column in split.columns.values()} == {2}
    assert split.dropped == {"without scale or center": 1}
    ((what, names),) = split.defects.items()
    assert "scale" in what
    assert names[0].startswith("person 1 in 1.jpg (scale ")


def test_a_file_without_any_usable_scale_is_an_error(tmp_path):
    _write(tmp_path, [_person(scale=0)])
    with pytest.raises(ValueError, match=r"mpii_val\.json has no people to use: no scale is above"):
        mpii.read(Request(str(tmp_path), "val"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image": 5}, "image of person 1 is 5; expected the name of a file"),
        ({"scale": "big"}, "scale of entry 1 holds something that is not a number"),
        ({"joints": 5}, r"joints of entry 1 has shape \(\), expected \(16, 2\)"),
        ({"joints": [["a", "b"]] * 16}, "joints of entry 1 holds something that is not a number"),
        (
            {"joints": [[NAN, 5]] * 16},
            "joints of person 1 holds NaN or an infinite number for right_ankle",
        ),
        ({"joints_vis": None}, r"joints_vis of entry 1 has shape \(\)"),
    ],
)
def test_values_of_another_type_name_the_person(tmp_path, wrong, message):
    _write(tmp_path, [_person(), _person(**wrong)])
    with pytest.raises(ValueError, match=rf"mpii_val\.json: {message}"):
        mpii.read(Request(str(tmp_path), "val"))


def test_invisible_joints_may_be_nan(tmp_path):
    joints = [[NAN, NAN], *[[5.0, 6.0]] * 15]
    _write(tmp_path, [_person(joints=joints, joints_vis=[0] + [1] * 15)])
    example = mpii.read(Request(str(tmp_path), "val"))[0]
    assert np.isfinite(example["keypoints"]).all()
    assert example["visible"].tolist() == [0] + [1] * 15


def test_a_mat_that_is_a_pipe_is_named(tmp_path):
    _write(tmp_path, [_person()])
    os.mkfifo(tmp_path / "annotations" / "mpii_gt_val.mat")
    with pytest.raises(ValueError, match=r"mpii_gt_val\.mat is a named pipe"):
        mpii.read(Request(str(tmp_path), "val"))


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_mats_are_read_or_named(tmp_path, compressed):
    _write(tmp_path, [_person()])
    path = tmp_path / "annotations" / "mpii_gt_val.mat"
    _write_truth(path, count=1)
    contents = scipy.io.loadmat(path)
    arrays = {name: value for name, value in contents.items() if not name.startswith("__")}
    scipy.io.savemat(path, arrays, do_compression=compressed)
    whole, rng = path.read_bytes(), random.Random(0)
    for _ in range(150):
        path.write_bytes(fuzzing.bytewise(rng, [whole]))
        with contextlib.suppress(ValueError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mpii.read(Request(str(tmp_path), "val"))

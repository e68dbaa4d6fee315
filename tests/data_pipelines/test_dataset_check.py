"""Defects that are planted in a small dataset are found and named."""

import json
import struct

import cv2
import numpy as np
import pytest

from data_pipelines import dataset_check
from data_pipelines.readers import coco, custom
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import COCO, Skeleton

NAMES = ["nose", "left_eye", "right_eye", "left_hip", "right_hip", "left_knee", "right_knee"]
# A person who faces the camera: their left is on the image's right.
POSE = [[50, 20], [55, 15], [45, 15], [58, 60], [42, 60], [60, 80], [40, 80]]


def _write(root, change=lambda contents: None, *, images=2):
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    contents = {
        "images": [
            {"id": n, "file_name": f"{n}.png", "width": 100, "height": 120}
            for n in range(1, images + 1)
        ],
        "annotations": [
            {
                "id": 10 * n,
                "image_id": n,
                "category_id": 1,
                "bbox": [30, 10, 40, 80],
                "area": 900,
                "num_keypoints": 7,
                "keypoints": [value for point in POSE for value in (*point, 2)],
            }
            for n in range(1, images + 1)
        ],
        "categories": [{"id": 1, "name": "person", "keypoints": NAMES}],
    }
    change(contents)
    (root / "annotations" / "train.json").write_text(json.dumps(contents))
    for n in range(1, images + 1):
        cv2.imwrite(str(root / "images" / f"{n}.png"), np.zeros((120, 100, 3), np.uint8))
    return custom.read(Request(str(root), "train"))


def _problems(split):
    return {problem.what: problem.places for problem in dataset_check.find_problems(split, iter)}


def test_a_good_dataset_has_no_problems(tmp_path):
    assert _problems(_write(tmp_path)) == {}


def _set(number, **changes):
    return lambda contents: contents["annotations"][number].update(changes)


FAR_JOINTS = "people have most of their joints outside of their box"
COUNTS = "annotations: num_keypoints differs from the number of labeled joints, which is used"
TWICE = "annotation ids are used twice; other tools need unique ones"
AREAS = "annotations: area is not positive: that of the box is used"


@pytest.mark.parametrize(
    ("change", "what", "places"),
    [
        (_set(0, id=20), TWICE, ("20",)),
        (_set(0, id=0), "annotations have the id 0, a miss to pycocotools", ("0",)),
        (_set(0, bbox=[30, 10, 0, 80]), "boxes are empty", ("10",)),
        (_set(0, bbox=[70, 10, 40, 80]), "boxes reach outside of their image", ("10",)),
        (_set(0, bbox=[30, 90, 20, 20]), FAR_JOINTS, ("10",)),
        (_set(0, area=0), AREAS, ("10",)),
        (_set(1, num_keypoints=6), COUNTS, ("20",)),
        (
            lambda contents: contents["images"][0].update(file_name="2.png"),
            "file names are listed twice",
            ("2.png",),
        ),
    ],
)  # fmt: skip
def test_defects_of_annotations_are_found(tmp_path, change, what, places):
    assert _problems(_write(tmp_path, change))[what] == places


def test_joints_outside_of_the_image_are_found(tmp_path):
    split = _write(tmp_path, _set(0, keypoints=[140, 20, 2, *[50, 50, 2] * 6]))
    assert _problems(split)["people have joints outside of the image"] == ("10",)


def test_annotations_without_ids_are_called_by_their_image(tmp_path):
    split = _write(tmp_path, _set(0, id=None, bbox=[70, 10, 40, 80]))
    assert _problems(split)["boxes reach outside of their image"] == ("one of 1.png",)


def test_annotations_that_were_left_out_are_named(tmp_path):
    def change(contents):
        contents["annotations"] += [
            {**contents["annotations"][0], "id": 30, "keypoints": [1, 1, 2]},
            {**contents["annotations"][0], "id": 40, "bbox": []},
        ]

    problems = _problems(_write(tmp_path, change))
    assert problems["annotations: left out with another number of joints"] == ("30",)
    assert problems["annotations: left out without a box"] == ("40",)


def test_defects_of_images_are_found(tmp_path):
    split = _write(tmp_path, images=4)
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "images" / "2.png").write_bytes(b"nothing")
    cv2.imwrite(str(tmp_path / "images" / "3.png"), np.zeros((20, 30, 3), np.uint8))
    problems = _problems(split)
    assert problems["images are missing"] == (str(tmp_path / "images" / "1.png"),)
    (unreadable,) = problems["images can't be read"]
    assert "2.png: 7 bytes" in unreadable
    (different,) = problems["images have another size than stated"]
    assert different.endswith("3.png has 30x20 pixels (width x height), stated 100x120")


def test_joints_of_a_side_without_a_pair_are_found():
    skeleton = Skeleton(COCO.names, COCO.flip_pairs[1:], (), COCO.sigmas, ())
    (problem,) = dataset_check.check_names(skeleton)
    assert problem.places == ("left_eye", "right_eye")
    assert not problem.serious


def _write_oriented(path, size, orientation):
    """A JPEG whose EXIF block asks for a turn."""
    image = np.zeros((*size, 3), np.uint8)
    image[:50] = 200
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:])


@pytest.mark.parametrize(
    ("size", "orientation", "message"),
    [
        ((100, 120), 6, "look at: 1 images are stored sideways; they are turned to their stated"),
        ((120, 100), 3, "look at: 1 images have an EXIF orientation and are used as stored"),
        ((100, 120), 1, "error: 1 images have another size than stated"),
    ],
)
def test_images_with_an_orientation_are_named(tmp_path, size, orientation, message):
    split = _write(tmp_path)
    _write_oriented(tmp_path / "images" / "1.png", size, orientation)
    (problem,) = dataset_check.find_problems(split, iter)
    assert str(problem).startswith(message)


def _swap(*joints):
    def change(contents):
        for annotation in contents["annotations"]:
            points = np.reshape(annotation["keypoints"], (-1, 3))
            for left in joints:
                points[[left, left + 1]] = points[[left + 1, left]]
            annotation["keypoints"] = points.ravel().tolist()

    return change


def test_a_pair_that_is_swapped_in_all_people_is_found(tmp_path):
    problems = _problems(_write(tmp_path, _swap(3)))
    what = "flip pairs look swapped, compared with the other pairs"
    assert problems == {what: ("left_hip-right_hip",)}


def test_people_labeled_from_the_viewers_side_are_found(tmp_path):
    problems = _problems(_write(tmp_path, _swap(1, 3, 5)))
    assert problems == {
        "split has left and right swapped in most people with a visible nose": ("all",)
    }


def test_sides_are_told_by_short_names_too(tmp_path):
    def change(contents):
        names = [name.replace("left_", "l_").replace("right_", "r_") for name in NAMES]
        contents["categories"][0]["keypoints"] = names

    assert _problems(_write(tmp_path, change)) == {}


def test_the_summary_counts_people_and_joints(tmp_path):
    text = dataset_check.summarize(_write(tmp_path))
    assert "2 people to use in 2 images; dropped: none; 14 joints labeled" in text
    (row,) = [line.split() for line in text.splitlines() if "right_knee" in line]
    assert row[0::2] == ["right_knee", "2"]


def test_real_people_have_no_serious_problems(shared):
    split = coco.read(Request(str(shared / "samples" / "coco"), "val"))
    assert not [
        str(problem) for problem in dataset_check.find_problems(split, iter) if problem.serious
    ]

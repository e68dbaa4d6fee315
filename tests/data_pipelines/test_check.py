"""Defects that are planted in a small dataset are found and named."""

import json

import cv2
import numpy as np
import pytest

from data_pipelines import check
from data_pipelines.readers import custom
from data_pipelines.skeletons import COCO, Skeleton

NAMES = ["nose", "left_eye", "right_eye", "left_hip", "right_hip", "left_knee", "right_knee"]
# Someone who looks at us: their left is on the image's right.
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
    return custom.read(str(root), "train")


def _found(split):
    return {problem.what: problem.places for problem in check.find_problems(split, iter)}


def test_a_good_dataset_has_no_problems(tmp_path):
    assert _found(_write(tmp_path)) == {}


def _set(number, **changes):
    return lambda contents: contents["annotations"][number].update(changes)


FAR_JOINTS = "people have most of their joints outside of their box"
COUNTS = "people have another num_keypoints than labelled joints"


@pytest.mark.parametrize(
    ("change", "what", "places"),
    [
        (_set(0, id=20), "annotation ids are used twice", ("20",)),
        (_set(0, id=0), "annotations have the id 0, a miss to pycocotools", ("0",)),
        (_set(0, bbox=[30, 10, 0, 80]), "boxes are empty", ("10",)),
        (_set(0, bbox=[70, 10, 40, 80]), "boxes reach outside of their image", ("10",)),
        (_set(0, bbox=[30, 90, 20, 20]), FAR_JOINTS, ("10",)),
        (_set(0, area=0), "areas are zero", ("10",)),
        (_set(1, num_keypoints=6), COUNTS, ("20",)),
        (
            lambda contents: contents["images"][0].update(file_name="2.png"),
            "file names are listed twice",
            ("2.png",),
        ),
    ],
)  # fmt: skip
def test_defects_of_annotations_are_found(tmp_path, change, what, places):
    assert _found(_write(tmp_path, change))[what] == places


def test_two_images_of_one_id_are_found(tmp_path):
    def change(contents):
        contents["images"].append({**contents["images"][0], "file_name": "3.png"})

    assert _found(_write(tmp_path, change))["image ids are used twice"] == ("1",)


def test_joints_outside_of_the_image_and_odd_flags_are_found(tmp_path):
    def change(contents):
        contents["annotations"][0]["keypoints"][0] = 140
        contents["annotations"][1]["keypoints"][2] = 3

    found = _found(_write(tmp_path, change))
    assert found["people have joints outside of the image"] == ("10",)
    assert found["people have visibilities other than 0, 1 and 2"] == ("20",)


def test_defects_of_images_are_found(tmp_path):
    split = _write(tmp_path, images=4)
    (tmp_path / "images" / "1.png").unlink()
    (tmp_path / "images" / "2.png").write_bytes(b"nothing")
    cv2.imwrite(str(tmp_path / "images" / "3.png"), np.zeros((20, 30, 3), np.uint8))
    found = _found(split)
    assert found["images are missing"] == (str(tmp_path / "images" / "1.png"),)
    (unreadable,) = found["images can't be read"]
    assert "2.png: 7 bytes" in unreadable
    (different,) = found["images have another size than stated"]
    assert different.endswith("3.png is 20x30, stated 120x100")


def test_flip_pairs_that_do_not_match_their_names_are_found():
    pairs = ((1, 4), (5, 6), (7, 8), (9, 10), (11, 12), (13, 14), (15, 16))
    skeleton = Skeleton(COCO.names, pairs, (), COCO.sigmas, ())
    wrong, missing = check.check_names(skeleton)
    assert wrong.places == ("left_eye-right_ear",)
    assert missing.places == ("left_eye-right_eye", "left_ear-right_ear")


def _exchange(*joints):
    def change(contents):
        for annotation in contents["annotations"]:
            points = np.reshape(annotation["keypoints"], (-1, 3))
            for left in joints:
                points[[left, left + 1]] = points[[left + 1, left]]
            annotation["keypoints"] = points.ravel().tolist()

    return change


def test_a_pair_that_is_exchanged_in_everyone_is_found(tmp_path):
    found = _found(_write(tmp_path, _exchange(3)))
    what = "flip pairs look exchanged, seen by the other pairs"
    assert found == {what: ("left_hip-right_hip",)}


def test_people_labelled_from_the_viewers_side_are_found(tmp_path):
    found = _found(_write(tmp_path, _exchange(1, 3, 5)))
    assert found == {"of the sides look exchanged in people whose nose is seen": ("all",)}


def test_sides_are_told_by_short_names_too(tmp_path):
    def change(contents):
        names = [name.replace("left_", "l_").replace("right_", "r_") for name in NAMES]
        contents["categories"][0]["keypoints"] = names

    assert _found(_write(tmp_path, change)) == {}


def test_the_summary_counts_people_and_joints(tmp_path):
    text = check.summarize(_write(tmp_path))
    assert "2 people to use in 2 images; dropped: nobody; 14 joints labelled" in text
    (row,) = [line.split() for line in text.splitlines() if "right_knee" in line]
    assert row[0::2] == ["right_knee", "2"]


def test_real_people_have_no_serious_problems(shared):
    from data_pipelines.readers import coco

    split = coco.read(str(shared / "samples" / "coco"), "val")
    assert not [str(problem) for problem in check.find_problems(split, iter) if problem.serious]

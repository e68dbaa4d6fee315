"""Images held out of one annotation file, and joints that are chosen and renamed."""

import json

import numpy as np
import pytest

from data_pipelines import coco_split, datasets
from data_pipelines.coco_split import Plan

NAMES = ("nose", "left_wrist", "right_wrist")


def write(tmp_path, images=40, folders=1, people=2, labeled=True, **category):
    """A file of images with people whose joints say which image, person and joint they are."""
    content = {
        "images": [
            {"id": 100 + i, "file_name": f"v{i % folders}/{i}.jpg", "width": 640, "height": 480}
            for i in range(images)
        ],
        "annotations": [
            {
                "id": i * people + p + 1,
                "image_id": 100 + i,
                "category_id": 7,
                "bbox": [10, 20, 30, 40],
                "area": 600.5,
                "keypoints": [
                    x for joint in range(3) for x in (100 + i, 10 * p + joint, 2 * labeled)
                ],
                "segmentation": [[1, 2, 3]],
            }
            for i in range(images)
            for p in range(people)
        ],
        "categories": [
            {"id": 7, "name": "mouse", "keypoints": NAMES, "skeleton": [[1, 2], [2, 3]], **category}
        ],
    }
    file = tmp_path / "labels.json"
    file.write_text(json.dumps(content))
    return file


def ids(part):
    return {image["id"] for image in part["images"]}


def test_no_image_is_in_two_parts(tmp_path):
    parts = coco_split.split(write(tmp_path), "", Plan(val=0.25, test=0.25))
    assert list(parts) == ["train", "val", "test"]
    assert [len(part["images"]) for part in parts.values()] == [20, 10, 10]
    assert len(set.union(*map(ids, parts.values()))) == 40
    for part in parts.values():
        assert {person["image_id"] for person in part["annotations"]} == ids(part)
        assert coco_split.count(part) == (len(part["images"]), 2 * len(part["images"]))


def test_the_same_seed_gives_the_same_parts(tmp_path):
    file = write(tmp_path)
    first, again, other = (coco_split.split(file, "", Plan(seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert ids(first["val"]) != ids(other["val"])
    assert list(first) == ["train", "val"]


def test_folders_stay_whole(tmp_path):
    parts = coco_split.split(write(tmp_path, folders=5), "", Plan(val=0.2, test=0.2, by="folder"))
    folders = [{image["file_name"][:2] for image in part["images"]} for part in parts.values()]
    assert sorted(map(len, folders)) == [1, 1, 3]
    assert len(set.union(*folders)) == 5


@pytest.mark.parametrize(("limit", "people"), [(11, 9), (7, 7), (1, 1)])
def test_the_people_to_train_on_can_be_limited_to_whole_images(tmp_path, limit, people):
    count = 3 if people == 9 else 1
    parts = coco_split.split(write(tmp_path, people=count), "", Plan(val=0.5, people=limit))
    assert coco_split.count(parts["train"]) == (people // count, people)
    assert len(parts["val"]["images"]) == 20


def test_joints_are_chosen_renamed_and_reordered(tmp_path):
    joints = coco_split.parse_joints("paw_right=right_wrist,nose")
    assert joints == {"paw_right": "right_wrist", "nose": "nose"}
    part = coco_split.split(write(tmp_path), "", Plan(joints=joints))["train"]
    (category,) = part["categories"]
    assert category["keypoints"] == ["paw_right", "nose"]
    assert category["skeleton"] == []
    for person in part["annotations"]:
        x, right, _, _, nose, shown = person["keypoints"]
        assert (x, nose % 10, right % 10, shown) == (person["image_id"], 0, 2, 2)
        assert (person["num_keypoints"], person["area"]) == (2, 600.5)
    # Limbs follow their joints.
    joints = coco_split.parse_joints("b=left_wrist,a=nose")
    part = coco_split.split(write(tmp_path), "", Plan(joints=joints))["train"]
    assert part["categories"][0]["skeleton"] == [[2, 1]]


def test_what_is_written_is_a_custom_dataset(tmp_path):
    parts = coco_split.split(write(tmp_path), "", Plan())
    root = tmp_path / "mice"
    files = coco_split.write(parts, root)
    assert [file.name for file in files] == ["train.json", "val.json"]
    (root / "images").mkdir()
    people = datasets.read("custom", str(root), "train")
    assert people.skeleton.names == NAMES
    assert people.skeleton.flip_pairs == ((1, 2),)
    assert len(people) == 64
    np.testing.assert_array_equal(people.columns["box"][0], [10, 20, 30, 40])
    with pytest.raises(ValueError, match=r"train\.json exists already; choose another root"):
        coco_split.write(parts, root)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"val": 0.0}, "shares of val and test are 0.0 and 0.0; expected a positive one of val"),
        ({"val": 0.6, "test": 0.4}, "leave something to train on"),
        ({"by": "day"}, "unknown group 'day'; choose one of: image, folder"),
        ({"people": -1}, "people is -1; expected 0"),
    ],
)
def test_a_plan_that_cannot_work_is_an_error(plan, message):
    with pytest.raises(ValueError, match=message):
        Plan(**plan)


def test_files_that_cannot_be_split_are_errors(tmp_path):
    with pytest.raises(ValueError, match="has 1 images in 1 image; expected two or more"):
        coco_split.split(write(tmp_path, images=1), "", Plan())
    with pytest.raises(ValueError, match="has 40 images in 1 folder; expected two or more"):
        coco_split.split(write(tmp_path), "", Plan(by="folder"))
    with pytest.raises(ValueError, match="has no joint 'tail'; choose one of: nose, left_wrist"):
        coco_split.split(write(tmp_path), "", Plan(joints={"tail": "tail"}))
    with pytest.raises(
        ValueError, match=r"has 0 images with 0 people .*none is left for train and"
    ):
        coco_split.split(write(tmp_path, labeled=False), "", Plan())
    with pytest.raises(ValueError, match="have an empty name or one twice"):
        coco_split.parse_joints("a=nose,a=left_wrist")

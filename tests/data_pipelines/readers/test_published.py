"""Datasets that need no more than their joints: what is peculiar to their files."""

import json
import pathlib

import numpy as np
import pytest

from data_pipelines import datasets, skeletons
from data_pipelines.readers import published
from data_pipelines.skeletons import whole_body

SIZE = {"width": 640, "height": 480}
CATEGORY = {"id": 1, "name": "person", "keypoints": [], "skeleton": [[99, 1]]}


def write(root, name, split, annotations, categories=(CATEGORY,)):
    """A file of a dataset where its layout wants it, with the folders of its images."""
    layout = published.LAYOUTS[name]
    path = root / layout.annotations[split][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(root, layout.images[split][0]).mkdir(parents=True, exist_ok=True)
    images = [{"id": 1, "file_name": "a.jpg", **SIZE}]
    entries = [
        {"id": row, "image_id": 1, "category_id": 1, "bbox": [11, 21, 100, 200], **entry}
        for row, entry in enumerate(annotations, start=1)
    ]
    lists = {"images": images, "annotations": entries, "categories": list(categories)}
    path.write_text(json.dumps(lists))
    return str(root)


def joints_of(name, **flags):
    """The numbers of all joints at (10 k, 5 k), labeled but for those that `flags` says."""
    count = published.LAYOUTS[name].skeleton.num_joints
    return [number for k in range(count) for number in (10 * k, 5 * k, flags.get(f"j{k}", 2))]


@pytest.mark.parametrize("name", published.LAYOUTS)
def test_splits_are_read_with_the_datasets_joints(tmp_path, name):
    entry, numbers = datasets.find(name), joints_of(name, j1=0)
    fields = {"keypoints": numbers}
    if name == "coco_wholebody":
        ends = np.cumsum([51, 18, 204, 63, 63])
        starts = [0, *ends[:-1]]
        parts = zip(whole_body.FIELDS, starts, ends, strict=True)
        fields = {field: numbers[start:end] for field, start, end in parts}
    for split in (entry.train_split, entry.eval_split):
        write(tmp_path, name, split, [fields])
        people = datasets.read(name, str(tmp_path), split)
        assert people.skeleton is entry.skeleton
        visible = [1.0, 0.0, *[1.0] * (entry.skeleton.num_joints - 2)]
        assert people.columns["visible"].tolist() == [visible]
        shift = 1 if name == "jhmdb" else 0
        assert people.columns["keypoints"][0, 3].tolist() == [30 - shift, 15 - shift]


def test_every_species_counts(tmp_path):
    species = [{**CATEGORY, "id": number, "name": name} for number, name in enumerate("abc", 1)]
    animals = [{"category_id": n, "keypoints": joints_of("ap10k")} for n in (3, 1)]
    root = write(tmp_path, "ap10k", "train", animals, species)
    assert len(datasets.read("ap10k", root, "train")) == 2


def test_hands_with_scores_as_visibility_are_labeled(tmp_path):
    person = {"keypoints": joints_of("coco_wholebody")[:51], "foot_kpts": [0] * 18}
    person |= {"face_kpts": [0] * 204, "lefthand_kpts": [5, 6, 0.087] * 21}
    person |= {"righthand_kpts": [5, 6, 0.0] * 21, "num_keypoints": 17}
    root = write(tmp_path, "coco_wholebody", "val", [person])
    people = datasets.read("coco_wholebody", root, "val")
    labeled = np.flatnonzero(people.columns["visible"][0]).tolist()
    assert labeled == [*range(17), *range(whole_body.LEFT_HAND, whole_body.RIGHT_HAND)]
    assert people.truth.visibility[0, whole_body.LEFT_HAND] == 2


def test_the_first_26_joints_of_halpe_count(tmp_path):
    numbers = joints_of("halpe26") + [7, 7, 2] * 110
    root = write(tmp_path, "halpe26", "val", [{"keypoints": numbers, "num_keypoints": 17}])
    people = datasets.read("halpe26", root, "val")
    assert people.columns["keypoints"].shape == (1, 26, 2)
    assert people.truth.labeled.tolist() == [26]


def test_jhmdb_counts_from_one(tmp_path):
    root = write(tmp_path, "jhmdb", "test", [{"keypoints": joints_of("jhmdb")}])
    people = datasets.read("jhmdb", root, "test")
    assert people.truth.boxes.tolist() == [[10, 20, 100, 200]]
    assert people.truth.keypoints[0, 2].tolist() == [19, 9]


def test_posetracks_heads_and_ignored_regions_are_read(tmp_path):
    people = [{"keypoints": joints_of("posetrack18")} for _ in range(2)]
    people[0]["bbox_head"] = [20, 30, 40, 50]
    root = write(tmp_path, "posetrack18", "val", people)
    path = tmp_path / published.LAYOUTS["posetrack18"].annotations["val"][0]
    contents = json.loads(path.read_text())
    image = contents["images"][0]
    image |= {
        "ignore_regions_x": [[0, 9, 9], [1, 2, 3]],
        "ignore_regions_y": [[0, 0, 9], [4, 5, 6]],
    }
    path.write_text(json.dumps(contents))
    truth = datasets.read("posetrack18", root, "val").truth
    np.testing.assert_array_equal(truth.heads, [[20, 30, 40, 50], [np.nan] * 4])
    (first, second) = truth.ignored[0]
    np.testing.assert_array_equal(first, [(0, 0), (9, 0), (9, 9)])
    np.testing.assert_array_equal(second, [(1, 4), (2, 5), (3, 6)])
    part = truth.take_images(np.array([0]))
    assert len(part.ignored[0]) == 2
    assert part.heads.shape == (2, 4)
    image["ignore_regions_y"][1].pop()
    path.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=r"image 0 .*ignore_regions_x and ignore_regions_y do not"):
        datasets.read("posetrack18", root, "val")


def test_areas_of_ai_challenger_are_of_the_boxes(tmp_path):
    root = write(tmp_path, "aic", "val", [{"keypoints": joints_of("aic"), "area": 7}])
    people = datasets.read("aic", root, "val")
    assert people.truth.areas.tolist() == pytest.approx([0.53 * 100 * 200])


def test_missing_files_say_what_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Human-Art wants(?s:.)*idea-research\.github\.io"):
        datasets.read("humanart", str(tmp_path), "val")
    with pytest.raises(ValueError, match="unknown JHMDB split 'val'; choose one of: train, test"):
        datasets.read("jhmdb", str(tmp_path), "val")


SAMPLES = {
    # The file, the joints and the box of its first person, and how many joints are labeled.
    "ap10k": ("ap10k/test_ap10k.json", "test", {"left_eye": (134, 415), "nose": (94, 475)}, 16),
    "animalpose": ("animalpose/test_animalpose.json", "test", {"L_Eye": (117, 95)}, 17),
    "halpe26": (
        "halpe/test_halpe.json",
        "val",
        {"head": (370, 52), "left_big_toe": (431, 378), "right_big_toe": (364, 366)},
        None,
    ),
    "coco_wholebody": (
        "coco_wholebody/test_coco_wholebody.json",
        "val",
        {"nose": (367, 81), "left_big_toe": (439, 378), "right_hand_root": (304.104, 181.751)},
        None,
    ),
    "aic": ("aic_mmpose_coco/test_aic.json", "val", {"right_elbow": (312, 313)}, 10),
    "humanart": ("humanart/test_humanart.json", "val", {"nose": (715.431, 970.020)}, 13),
    "jhmdb": (
        "jhmdb/test_jhmdb_sub1.json",
        "test",
        {"neck": (97.852, 91.599), "belly": (100.382, 132.489)},
        15,
    ),
    "posetrack18": (
        "posetrack18/009473_mpii_test.json",
        "val",
        {"nose": (750, 297.5), "head_bottom": (734.194, 371.2), "head_top": (704.1, 254.48)},
        14,
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_files_of_the_datasets_give_the_expected_joints(shared, tmp_path, name):
    path, split, joints, count = SAMPLES[name]
    source = shared / "samples_labelling" / "datasets" / path
    target = pathlib.Path(write(tmp_path, name, split, []))
    target = target / published.LAYOUTS[name].annotations[split][0]
    target.unlink()
    target.symlink_to(source)
    truth = datasets.read(name, str(tmp_path), split).truth
    names = truth.skeleton.names
    for joint, expected in joints.items():
        x, y = truth.keypoints[0, names.index(joint)]
        assert (x, y) == pytest.approx(expected, abs=6e-3)
        assert truth.visibility[0, names.index(joint)] > 0
    if count is not None:
        assert truth.labeled[0] == count
    own = json.loads(source.read_text())["categories"][0]["keypoints"]
    plain = [joint.lower().replace(" ", "_") for joint in own[: len(names)]]
    if own:
        assert plain == [joint.lower() for joint in names[: len(plain)]]


def test_sigmas_of_coco_parts_are_cocos():
    for skeleton in (skeletons.HALPE_26, skeletons.COCO_WHOLEBODY):
        assert skeleton.names[:17] == skeletons.COCO.names
        assert skeleton.sigmas[:17] == skeletons.COCO.sigmas

"""Whatever an annotation file holds, it is read or refused in one message that names it."""

import functools
import json
import pathlib
import tempfile

import cv2
import fuzzing
import numpy as np
import pytest

from data_pipelines import dataset_check, datasets
from data_pipelines.splits import Split
from hrjax import detections
from hrjax.evaluation import average_precision

MEGABYTES = 500
FILES = {
    "custom": "annotations/val.json",
    "coco": "annotations/person_keypoints_val2017.json",
    "crowdpose": "annotations/mmpose_crowdpose_val.json",
    "mpii": "annotations/mpii_val.json",
}
JOINTS = {"custom": 3, "coco": 17, "crowdpose": 14, "mpii": 16}


def document(dataset: str) -> list | dict:
    """A small annotation file of a dataset: two people in each of two images."""
    joints = JOINTS[dataset]
    if dataset == "mpii":
        person = {"image": "a.jpg", "center": [30, 20], "scale": 0.2}
        person |= {"joints": [[10 + j, 20] for j in range(16)], "joints_vis": [1] * 16}
        return [person, {**person, "image": "b.jpg"}]
    person = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 5, 30, 25.5], "area": 400.0}
    person |= {"iscrowd": 0, "num_keypoints": joints}
    person |= {"keypoints": [x for j in range(joints) for x in (10 + j, 20.5, 2)]}
    image = {"id": 1, "file_name": "a.jpg", "height": 40, "width": 60, "crowdIndex": 0.5}
    names = ["nose", "left_eye", "right_eye", *(f"joint_{j}" for j in range(3, joints))]
    return {
        "images": [image, {**image, "id": 2, "file_name": "b.jpg"}],
        "annotations": [{**person, "id": n, "image_id": 1 + n % 2} for n in range(1, 5)],
        "categories": [{"id": 1, "name": "person", "keypoints": names, "skeleton": [[1, 2]]}],
    }


def write_images(root: pathlib.Path) -> pathlib.Path:
    """Makes the folders of all datasets below a root, each with both images."""
    (root / "annotations").mkdir()
    for folder in ("images", "val2017"):
        (root / folder).mkdir()
        for name in ("a.jpg", "b.jpg"):
            cv2.imwrite(str(root / folder / name), np.full((40, 60, 3), 90, np.uint8))
    return root


def use(dataset: str, root: pathlib.Path) -> None:
    """Reads a split, checks it, takes its examples, and evaluates the truth against itself."""
    split = datasets.read(dataset, str(root), "val")
    dataset_check.find_problems(split, iter)
    dataset_check.summarize(split)
    for row in range(len(split)):
        assert np.isfinite(split[row]["keypoints"]).all()
        assert np.isfinite(split[row]["center"]).all()
    if split.truth is not None:
        evaluate(split)


def evaluate(split: Split) -> None:
    truth = split.truth
    image_ids = truth.image_ids[truth.image_rows]
    scores = np.ones(truth.keypoints.shape[:2])
    people = detections.make(image_ids, truth.keypoints, scores, np.ones(len(truth)))
    numbers = average_precision.coco_ap(people, truth, max_people=20)
    assert np.isfinite(list(numbers.values())).all()


@functools.cache
def _root():
    return write_images(pathlib.Path(tempfile.mkdtemp(prefix=fuzzing.NAME)))


def _use(dataset, data):
    (_root() / FILES[dataset]).write_bytes(data)
    with np.errstate(over="ignore"):
        use(dataset, _root())


def use_custom(data: bytes) -> None:
    _use("custom", data)


def use_coco(data: bytes) -> None:
    _use("coco", data)


def use_crowdpose(data: bytes) -> None:
    _use("crowdpose", data)


def use_mpii(data: bytes) -> None:
    _use("mpii", data)


@pytest.mark.parametrize("dataset", FILES)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_every_field_with_a_wrong_value_is_read_or_named(tmp_path, dataset):
    root = write_images(tmp_path)
    outcomes = fuzzing.require_read_or_named(
        lambda: use(dataset, root), root / FILES[dataset], document(dataset)
    )
    assert outcomes["message"] > outcomes["read"] > 50


@pytest.mark.long
@pytest.mark.parametrize("dataset", FILES)
def test_damaged_annotations_are_read_or_named(tmp_path, dataset):
    report = fuzzing.fuzz(
        f"{__file__}:use_{dataset}",
        [json.dumps(document(dataset)).encode()],
        fuzzing.jsonwise,
        megabytes=MEGABYTES,
        seconds=fuzzing.SECONDS / len(FILES),
    )
    fuzzing.require_none(report, tmp_path)
    assert report.outcomes["read"] > 20

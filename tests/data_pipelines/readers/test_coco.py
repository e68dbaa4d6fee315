"""The COCO reader: who is used, their boxes, and what it says about broken files."""

import gzip
import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.readers import coco
from data_pipelines.readers.request import Request


def _annotation(number, **changes):
    annotation = {
        "id": number,
        "image_id": 7,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [10, 20, 31, 61],
        "area": 900.0,
        "keypoints": [15, 25, 2, 16, 26, 1] + [0] * 45,
        "num_keypoints": 2,
        "segmentation": [[1, 2, 3]],
    }
    return {**annotation, **changes}


def _contents(*annotations, **changes):
    contents = {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 100, "height": 200}],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "dog"}],
    }
    return {**contents, **changes}


def _write(root, contents, images="val2017"):
    (root / images).mkdir(parents=True)
    path = root / "annotations" / "person_keypoints_val2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps(contents))


@pytest.mark.parametrize("images", ["val2017", "images/val2017"])
def test_person_is_read_from_both_layouts(tmp_path, images):
    _write(tmp_path, _contents(_annotation(3)), images)
    split = coco.read(Request(str(tmp_path), "val"))
    example = split[0]
    assert example["image_path"] == str(tmp_path / images / "7.jpg")
    # The references' boxes are one pixel smaller: 10..40 and 20..80, then a quarter of padding.
    np.testing.assert_allclose(example["center"], [25, 50])
    np.testing.assert_allclose(example["size"], [75, 37.5])
    np.testing.assert_array_equal(example["keypoints"][:2], [[15, 25], [16, 26]])
    np.testing.assert_array_equal(example["visible"], [1, 1] + [0] * 15)
    assert split.columns["image_id"][0] == 7
    assert split.truth.annotation_ids[split.columns["truth_row"][0]] == 3
    assert split.columns["area"][0] == 900
    assert split.columns["box"].tolist() == [[10, 20, 31, 61]]


def _detection(**changes):
    detection = {"image_id": 7, "category_id": 1, "bbox": [-5, 20, 30, 60], "score": 0.5}
    return {**detection, **changes}


def _read_detections(root, *detections, threshold=0.0):
    _write(root, _contents(_annotation(1)))
    file = root / "found.json"
    file.write_text(json.dumps(detections))
    return coco.read(Request(str(root), "val", str(file), threshold))


def test_detected_boxes_are_not_clipped(tmp_path):
    split = _read_detections(tmp_path, _detection())
    example = split[0]
    np.testing.assert_allclose(example["center"], [10, 50])
    np.testing.assert_allclose(example["size"], [75, 37.5])
    assert not example["visible"].any()
    assert split.columns["box_score"].tolist() == [0.5]
    assert split.annotation_file.endswith("person_keypoints_val2017.json")


def test_detections_without_use_are_dropped_and_counted(tmp_path):
    detections = [
        _detection(),
        _detection(category_id=2),
        _detection(score=0.1),
        _detection(bbox=[1, 2, 0, 4]),
    ]
    split = _read_detections(tmp_path, *detections, threshold=0.2)
    assert len(split) == 1
    assert split.dropped == {
        "of another category": 1,
        "below the threshold": 1,
        "with an empty box": 1,
    }


def test_detections_in_unknown_images_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"1 images of the detections are not in .*e\.g\. 8"):
        _read_detections(tmp_path, _detection(), _detection(image_id=8))


def test_a_missing_file_of_detections_is_an_error(tmp_path):
    _write(tmp_path, _contents(_annotation(1)))
    with pytest.raises(FileNotFoundError, match="no file of detections at"):
        coco.read(Request(str(tmp_path), "val", str(tmp_path / "found.json")))


def test_the_samples_detections_are_read(shared):
    root = shared / "samples" / "coco"
    file = root / "person_detection_results" / "COCO_val2017_detections_AP_H_56_person.json"
    split = coco.read(Request(str(root), "val", str(file)))
    assert len(split) == 275
    assert split[0]["center"] == pytest.approx([277.1183 + 225.0913 / 2, 45.69967 + 333.56027 / 2])


def test_people_without_use_are_dropped_and_counted(tmp_path):
    annotations = [
        _annotation(1),
        _annotation(2, iscrowd=1, keypoints=[0] * 51),
        _annotation(3, keypoints=[0] * 51),
        _annotation(4, category_id=2),
        _annotation(5, bbox=[10, 20, 1, 61]),
        _annotation(6, bbox=[120, 20, 30, 30]),
    ]
    _write(tmp_path, _contents(*annotations))
    split = coco.read(Request(str(tmp_path), "val"))
    assert split.columns["truth_row"].tolist() == [0]
    assert split.dropped == {
        "of another category": 1,
        "crowd": 1,
        "without labeled joints": 1,
        "with an empty box": 2,
    }


def test_missing_dataset_says_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"person_keypoints_train2017\.json\nCOCO wants"):
        coco.read(Request(str(tmp_path), "train"))


def test_people_without_an_area_have_that_of_their_box(tmp_path):
    _write(tmp_path, _contents(_annotation(1, area=0), _annotation(2, area=None)))
    areas = coco.read(Request(str(tmp_path), "val")).columns["area"]
    assert areas.tolist() == [31 * 61] * 2


def test_missing_images_are_noticed_before_training(tmp_path):
    _write(tmp_path, _contents(_annotation(1)))
    (tmp_path / "val2017").rmdir()
    with pytest.raises(FileNotFoundError, match=r"val2017 or .*images/val2017"):
        coco.read(Request(str(tmp_path), "val"))


def test_unknown_split_lists_the_choices(tmp_path):
    message = r"unknown COCO split 'test'; did you mean test-dev\? Choose one of: train, val, test"
    with pytest.raises(ValueError, match=message):
        coco.read(Request(str(tmp_path), "test"))


@pytest.mark.parametrize(
    "name", ["image_info_test-dev2017.json", "person_keypoints_test-dev-2017.json"]
)
def test_test_dev_is_read_with_detections_only(shared, tmp_path, name):
    sample = shared / "samples" / "coco"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / name).symlink_to(sample / "annotations" / name)
    (tmp_path / "test2017").symlink_to(sample / "val2017")
    file = sample / "person_detection_results" / "COCO_test-dev2017_detections_AP_H_609_person.json"
    boxes = coco.read(Request(str(tmp_path), "test-dev", str(file)))
    assert len(boxes) == len(json.loads(file.read_text()))
    assert not boxes.truth.annotated
    assert boxes[0]["image_path"] == str(tmp_path / "test2017" / "000000000785.jpg")
    with pytest.raises(ValueError, match=r"no annotations: .*not public.*config\.eval\.boxes"):
        coco.read(Request(str(tmp_path), "test-dev"))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (_contents({"id": 1}), r"no people to use.* 1 without a category_id"),
        (
            _contents(_annotation(9, image_id=8)),
            r"annotation 0 \(id 9\): belongs to image 8, which",
        ),
        (_contents(_annotation(1), images=[{"id": 7}]), "image 0 .*height is null; expected"),
        (_contents(_annotation(1, iscrowd=1)), "no people to use.*: 1 crowd"),
        (_contents(_annotation(1, keypoints=[1] * 48)), "1 with another number of joints"),
        (_contents(_annotation(1), categories=[]), r"has no category 'person'; it has: \(none\)"),
        (_contents(), "has no annotations"),
        ({"images": []}, "has no list 'categories': it is not a COCO annotation file"),
        ([], "it holds no object"),
    ],
)
def test_broken_files_are_explained(tmp_path, contents, message):
    _write(tmp_path, contents)
    with pytest.raises(ValueError, match=message):
        coco.read(Request(str(tmp_path), "val"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_real_counts_are_the_published_ones(shared, split):
    report = json.loads((shared / "samples" / "check.json").read_text())[f"coco/{split}2017"]
    people = coco.read(Request(str(shared / "samples" / "coco"), split))
    assert len(people) == report["persons_with_keypoints"]
    assert people.columns["visible"].sum() == report["labelled_keypoints"]
    assert people.dropped["crowd"] == report["iscrowd"]
    assert len(people) + sum(people.dropped.values()) == report["annotations"]


OPEN = """
import pathlib, re, sys
from data_pipelines import datasets
people = datasets.read("coco", sys.argv[1], "train")
images = len(set(people.columns["image_id"].tolist()))
# Not ru_maxrss, which starts at what the process had that started this one.
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
print(len(people), images, int(peak[1]) * 1024)
"""


@pytest.mark.long
@pytest.mark.skipif(not pathlib.Path("/proc/self/status").is_file(), reason="needs Linux")
@pytest.mark.parametrize("outlines", [0, 140])
def test_the_whole_training_split_opens_in_little_memory(shared, tmp_path, outlines):
    name = "person_keypoints_train2017"
    packed = shared / "samples" / "coco_people" / "annotations" / f"{name}_all_rebuilt.json.gz"
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    text = gzip.decompress(packed.read_bytes())
    if outlines:  # as large as COCO's own file, 240 MB
        numbers = b", ".join(b"%.2f" % number for number in np.linspace(0, 640, outlines))
        text = text.replace(b'"bbox"', b'"segmentation": [[' + numbers + b']], "bbox"')
    (tmp_path / "annotations" / f"{name}.json").write_bytes(text)
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    people, images, peak = map(int, done.stdout.split())
    assert (people, images) == (149813, 56599)
    assert peak < 600e6

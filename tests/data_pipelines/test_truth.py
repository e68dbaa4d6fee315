"""Annotation files as people write them: which annotations count, and what is said about flaws."""

import json
import pickle

import coco_files
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from data_pipelines import datasets, truth
from data_pipelines.readers.request import Joints, Request
from data_pipelines.skeletons import Skeleton

NAMES = ("tip", "left_edge", "right_edge", "left_foot", "right_foot")
SKELETON = Skeleton(NAMES, ((1, 2), (3, 4)), (), (0.05,) * 5, ())
CATEGORY = {"id": 1, "name": "thing", "keypoints": list(NAMES), "skeleton": []}
OTHER = {"id": 2, "name": "other", "keypoints": list(NAMES)}


# --- arbitrary files

ARBITRARY = settings(
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def _skeleton(file):
    return Skeleton(file.names, (), (), (0.05,) * len(file.names), ())


def _truth_of(file, tmp_path):
    return truth.read(file.write(tmp_path), _skeleton(file), category=file.category)


def _check_people(file, known):
    """Holds that the truth has the annotations that count, as the file has them."""
    entries = file.document["annotations"]
    kept = sorted((*file.counted, *file.ignored))
    counted = [row for row, counts in zip(kept, known.counted, strict=True) if counts]
    assert tuple(counted) == file.counted
    assert known.category_id == file.category_id
    assert list(known.annotation_ids) == [entries[row].get("id") for row in kept]
    np.testing.assert_array_equal(known.boxes, [entries[row]["bbox"] for row in kept])
    labeled = known.visibility > 0
    np.testing.assert_array_equal(known.labeled, labeled.sum(axis=1))
    np.testing.assert_array_equal(known.keypoints[labeled], file.poses[kept][labeled])
    assert np.isfinite(known.keypoints).all()
    assert (np.isfinite(known.areas) & (known.areas > 0)).all()
    numbers = [image["id"] for image in file.document["images"]]
    owners = [numbers.index(entries[row]["image_id"]) for row in kept]
    np.testing.assert_array_equal(known.image_rows, owners)
    assert sum(known.dropped.values()) == len(entries) - len(kept)


@ARBITRARY
@given(file=coco_files.files())
def test_exactly_the_counted_people_of_a_file_count(tmp_path, file):
    _check_people(file, _truth_of(file, tmp_path))


@ARBITRARY
@given(file=coco_files.plain_files())
def test_a_plain_file_is_read_as_it_stands(tmp_path, file):
    known = _truth_of(file, tmp_path)
    _check_people(file, known)
    entries = file.document["annotations"]
    assert known.areas.tolist() == [entry["area"] for entry in entries]
    assert known.labeled.tolist() == [entry["num_keypoints"] for entry in entries]
    assert not known.dropped
    assert not known.notes


@ARBITRARY
@given(file=coco_files.files())
def test_the_loader_shows_the_people_that_count(tmp_path, file):
    file.write(tmp_path, "val")
    joints = Joints(names=file.names)
    split = datasets.read_request(
        "custom", Request(str(tmp_path), "val", joints=joints, category=file.category)
    )
    np.testing.assert_array_equal(split.columns["truth_row"], np.flatnonzero(split.truth.counted))
    shown = split.truth.keypoints[split.columns["truth_row"]]
    np.testing.assert_array_equal(split.columns["keypoints"], shown.astype(np.float32))


@ARBITRARY
@given(file=coco_files.flawed_files())
def test_a_flaw_is_one_message_that_names_it(tmp_path, file):
    path = file.write(tmp_path)
    request = Request(str(tmp_path), "val", category=file.category)
    with pytest.raises(ValueError, match=rf"(?s)^{path}.*{file.flaw}"):
        datasets.read_request("custom", request)


# --- single oddities


def _document(**changes):
    """Three images of two things each."""
    images = [
        {"id": number, "file_name": f"{number:06d}.jpg", "width": 480, "height": 240}
        for number in (1, 2, 3)
    ]
    annotations = [
        {
            "id": row + 1,
            "image_id": 1 + row // 2,
            "category_id": 1,
            "bbox": [60 + 240 * (row % 2), 40, 120, 160],
            "area": 19200,
            "iscrowd": 0,
            "num_keypoints": 5,
            "keypoints": [100 + row, 80, 2] * 5,
        }
        for row in range(6)
    ]
    return {"images": images, "annotations": annotations, "categories": [CATEGORY], **changes}


def _read(tmp_path, document, category="thing", **options):
    path = tmp_path / "things.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return truth.read(path, SKELETON, category=category, **options)


def _each(part, **fields):
    document = _document()
    for entry in document[part]:
        entry |= {key: value(entry) if callable(value) else value for key, value in fields.items()}
    return document


def _first(**fields):
    document = _document()
    document["annotations"][0] |= fields
    return document


def _without(*fields):
    document = _document()
    for entry in document["annotations"]:
        for field in fields:
            del entry[field]
    return document


FLOAT_IDS = _each("images", id=lambda entry: float(entry["id"]))
for _entry in FLOAT_IDS["annotations"]:
    _entry["image_id"] = float(_entry["image_id"])
READ = {
    "annotation ids begin anew in each image": _each("annotations", id=lambda e: 1 + e["id"] % 2),
    "an annotation id of 21 digits": _first(id=10**20),
    "no annotation ids": _without("id"),
    "whole floats as image ids": FLOAT_IDS,
    "iscrowd null": _each("annotations", iscrowd=None),
    "iscrowd 0.0": _each("annotations", iscrowd=0.0),
    "iscrowd false": _each("annotations", iscrowd=False),
    "num_keypoints 5.0": _each("annotations", num_keypoints=5.0),
    "num_keypoints 0 though joints are labeled": _each("annotations", num_keypoints=0),
    "no areas, counts or crowds": _without("area", "num_keypoints", "iscrowd"),
    "NaN for a joint without label": _first(
        keypoints=[float("nan"), float("nan"), 0] + [9, 9, 2] * 4
    ),
    "null for a joint without label": _first(keypoints=[None, None, 0] + [9, 9, 2] * 4),
    "visibility true and false": _first(keypoints=[9, 9, True] * 4 + [0, 0, False]),
    "a byte-order mark": b"\xef\xbb\xbf" + json.dumps(_document()).encode(),
    "other entries of any kind": _document(info=[[]], licenses=5),
}


@pytest.mark.parametrize("oddity", READ)
def test_untidy_files_are_read(tmp_path, oddity):
    known = _read(tmp_path, READ[oddity])
    assert known.counted.tolist() == [True] * 6
    assert known.image_rows.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(known.labeled, (known.visibility > 0).sum(axis=1))


@pytest.mark.parametrize("area", [0, -1, None, float("nan"), float("inf")])
def test_areas_that_are_not_positive_are_of_the_boxes(tmp_path, area):
    known = _read(tmp_path, _each("annotations", area=area))
    assert known.areas.tolist() == [120 * 160] * 6
    assert _read(tmp_path, _document()).areas.tolist() == [19200.0] * 6


def test_repaired_annotations_are_named(tmp_path):
    document = _first(area=0)
    document["annotations"][2] |= {"num_keypoints": 1, "id": None}
    assert _read(tmp_path, document).notes == {
        "area is not positive: that of the box is used": ("1",),
        "num_keypoints differs from the number of labeled joints, which is used": (
            "the one in row 2",
        ),
    }


def test_counts_and_areas_of_the_file_are_used_as_asked(tmp_path):
    document = _each("annotations", num_keypoints=0)
    known = _read(tmp_path, document, trust_counts=True, trust_areas=False)
    assert not known.counted.any()
    assert known.areas.tolist() == [0.53 * 120 * 160] * 6


OTHERS = {
    "as many joints": {},
    "no keypoints": {"keypoints": None},
    "empty keypoints": {"keypoints": []},
    "three joints": {"keypoints": [1, 2, 2] * 3},
    "nonsense": {"keypoints": "none", "bbox": 5, "area": "big", "image_id": None, "id": [1]},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_categories_are_left_out_and_counted(tmp_path, kind):
    document = _document(categories=[CATEGORY, OTHER])
    for entry in document["annotations"][1::2]:
        entry |= {"category_id": 2, **OTHERS[kind]}
    known = _read(tmp_path, document)
    assert known.annotation_ids == [1, 3, 5]
    assert known.dropped == {"of another category": 3}


@pytest.mark.parametrize("keypoints", [None, []])
def test_an_annotation_without_keypoints_has_no_labeled_joints(tmp_path, keypoints):
    known = _read(tmp_path, _first(keypoints=keypoints))
    assert known.counted.tolist() == [False] + [True] * 5
    assert known.labeled[0] == 0
    assert not known.dropped


def test_annotations_without_box_or_with_other_joints_are_left_out(tmp_path):
    document = _first(bbox=None)
    document["annotations"][1]["keypoints"] = [1, 2, 2] * 4
    known = _read(tmp_path, document)
    assert known.annotation_ids == [3, 4, 5, 6]
    assert known.dropped == {"without a box": 1, "with another number of joints": 1}


def test_the_category_keeps_the_id_of_its_file(tmp_path):
    document = _each("annotations", category_id=3)
    known = _read(tmp_path, {**document, "categories": [{**CATEGORY, "id": 3}]})
    assert (known.category_id, known.category, len(known)) == (3, "thing", 6)


def test_a_category_needs_no_name(tmp_path):
    document = _document(categories=[{"id": 1, "keypoints": list(NAMES)}])
    assert len(_read(tmp_path, document, category="")) == 6


@pytest.mark.parametrize("change", [{"annotations": []}, None])
def test_a_file_without_annotations_is_read(tmp_path, change):
    document = _document(**(change or {}))
    if change is None:
        del document["annotations"]
    known = _read(tmp_path, document)
    assert not known.annotated
    assert (len(known), len(known.image_names)) == (0, 3)
    assert known.keypoints.shape == (0, 5, 2)


def test_image_ids_that_are_used_twice_are_named_with_their_files(tmp_path):
    document = _document()
    more = [{**image, "file_name": f"b{image['file_name']}"} for image in document["images"]]
    document["images"] += more
    message = r"image id 1 is used twice, by 000001\.jpg and b000001\.jpg \(3 image ids are\)"
    with pytest.raises(ValueError, match=message):
        _read(tmp_path, document)


def _of_category(**fields):
    return _document(categories=[{**CATEGORY, **fields}])


NAN = float("nan")
NESTED = json.dumps(_document()).replace('"area"', '"x": ' + "[" * 99999 + "]" * 99999 + ', "area"')
FLAWS = {
    "words as ids": (
        _first(id="one"),
        r'annotation 0 \(id "one"\): id is "one"; expected a number',
    ),
    "NaN where a joint is labeled": (
        _first(keypoints=[NAN, 5, 2] * 5),
        r"annotation 0 \(id 1\): keypoints holds NaN or an infinite number for tip",
    ),
    "NaN as visibility": (_first(keypoints=[5, 5, NAN] * 5), "keypoints holds NaN"),
    "an infinite joint": (
        _first(keypoints=[5, float("inf"), 1] * 5),
        "keypoints holds NaN or an inf",
    ),
    "visibility 3": (_first(keypoints=[5, 5, 3] * 5), "visibility 3 of tip; expected 0, 1 or 2"),
    "NaN in a box": (_first(bbox=[NAN, 1, 2, 3]), r"annotation 0 \(id 1\): bbox is \[nan"),
    "words in a box": (_first(bbox=["a", 1, 2, 3]), 'bbox holds "a", which is not a number'),
    "a box of three numbers": (_first(bbox=[1, 2, 3]), "bbox has 3 numbers; expected x, y, width"),
    "keypoints that are a number": (_first(keypoints=5), "keypoints is 5; expected a list"),
    "an image that is not listed": (_first(image_id=8), "belongs to image 8, which the file does"),
    "an image id that is a fraction": (_first(image_id=1.5), "image_id is 1.5; expected a whole"),
    "iscrowd as a word": (_first(iscrowd="no"), 'iscrowd is "no"; expected a number'),
    "a category id that is a word": (_of_category(id="a"), r'category 0 \(thing\): id is "a"'),
    "categories of one id": (
        _document(categories=[CATEGORY, {**OTHER, "id": 1}]),
        "several categories of the id 1: thing, other",
    ),
    "lists nested without end": (NESTED.encode(), "nests lists or objects too deeply"),
    "an image without size": (_each("images", width=None), "image 0 .*width is null; expected"),
    "UTF-16": (json.dumps(_document()).encode("utf-16"), "is in UTF-16; save it as UTF-8"),
    "half a file": (json.dumps(_document()).encode()[:700], "is damaged or cut off"),
    "a picture": (b"\xff\xd8\xff\xe0", "is damaged or cut off"),
    "no images": ({"annotations": []}, "has no list 'images': it is not a COCO annotation file"),
    "a number": (b"5", "is not a COCO annotation file: it holds no object"),
    "images that are numbers": (_document(images=[1]), "image 0: it is 1; expected an object"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_what_cannot_be_read_is_one_message_that_names_it(tmp_path, flaw):
    document, message = FLAWS[flaw]
    with pytest.raises(ValueError, match=rf"things\.json.*{message}"):
        _read(tmp_path, document)


def test_the_message_counts_other_annotations_with_the_same_flaw(tmp_path):
    document = _each("annotations", keypoints=[5, 5, 3] * 5)
    with pytest.raises(ValueError, match=r"annotation 0 .*\(5 more annotations have such joints\)"):
        _read(tmp_path, document)


def test_images_are_found_by_id_in_any_order():
    rows = truth.find_rows(np.array([30, 10, 20]), np.array([10, 20, 30, 15, 99]))
    assert rows.tolist() == [1, 2, 0, -1, -1]
    assert truth.find_rows(np.zeros(0, np.int64), np.array([1])).tolist() == [-1]


def test_workers_get_a_split_without_its_truth(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations" / "val.json").write_text(json.dumps(_document()))
    split = datasets.read("custom", str(tmp_path), "val")
    assert split.truth.path == split.annotation_file
    copy = pickle.loads(pickle.dumps(split))
    assert copy.truth is None
    np.testing.assert_array_equal(copy[5]["keypoints"], split[5]["keypoints"])
    assert copy[5]["image_size"].tolist() == [240, 480]

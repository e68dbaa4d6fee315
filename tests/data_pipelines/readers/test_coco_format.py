"""Files in COCO's format: what is read, what is left out, what is said about broken ones."""

import json

import numpy as np
import pytest

from data_pipelines.readers import coco_format

IMAGE = {"id": 7, "file_name": "7.jpg", "width": 100, "height": 200}
ANNOTATION = {
    "id": 1,
    "image_id": 7,
    "category_id": 1,
    "bbox": [1, 2, 3, 4.5],
    "keypoints": [5, 6, 2, 0, 0, 0],
}


def _write(path, *annotations, images=(IMAGE,)):
    contents = {"images": list(images), "annotations": list(annotations), "categories": []}
    path.write_text(json.dumps(contents))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "people.json"


def test_columns_have_what_the_file_says_and_marks_for_what_it_lacks(file):
    full = {**ANNOTATION, "id": 2, "area": 9, "iscrowd": 1, "num_keypoints": 1}
    loaded = coco_format.load(_write(file, ANNOTATION, full, images=[{**IMAGE, "crowdIndex": 1}]))
    found = coco_format.annotations(loaded, 2)
    assert loaded.images["size"].tolist() == [[200, 100]]
    assert loaded.images["crowd_index"].tolist() == [1]
    assert found["boxes"].tolist() == [[1, 2, 3, 4.5]] * 2
    assert found["joints"].tolist() == [[[5, 6, 2], [0, 0, 0]]] * 2
    assert np.isnan(found["area"]).tolist() == [True, False]
    assert found["num_keypoints"].tolist() == [-1, 1]
    assert found["crowd"].tolist() == [False, True]


def test_images_are_found_by_id_in_any_order(file):
    images = [{**IMAGE, "id": number} for number in (30, 10, 20)]
    loaded = coco_format.load(_write(file, images=images))
    rows = coco_format.image_rows(loaded, np.array([10, 20, 30, 15, 99]))
    assert rows.tolist() == [1, 2, 0, -1, -1]


def test_a_file_that_was_cut_off_is_named(file):
    whole = _write(file, ANNOTATION).read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"people\.json is damaged or cut off .*download"):
        coco_format.load(file)


def test_a_file_that_is_not_text_is_damaged_too(file):
    file.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"people\.json is damaged"):
        coco_format.load(file)


def test_values_of_another_type_are_named_with_their_place(file):
    _write(file, ANNOTATION, {**ANNOTATION, "image_id": "seven"})
    with pytest.raises(
        ValueError, match=r"annotation 1: Expected `int`, got `str` - at `\$\.image_id"
    ):
        coco_format.annotations(coco_format.load(file), 2)


def test_another_joint_count_names_the_entry(file):
    _write(file, ANNOTATION, {**ANNOTATION, "keypoints": [1] * 9})
    with pytest.raises(ValueError, match=r"keypoints of entry 1 has shape \(9,\), expected \(6,\)"):
        coco_format.annotations(coco_format.load(file), 2)


def test_detections_without_a_score_are_an_error(file):
    file.write_text(json.dumps([{"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4]}]))
    with pytest.raises(ValueError, match="detection 0 has no score; each needs image_id"):
        coco_format.detections(file)

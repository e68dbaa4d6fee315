"""What readers share: examples from columns, finding files, reading JSON."""

import numpy as np
import pytest

from data_pipelines import dataset
from data_pipelines.skeletons import MPII


def test_example_holds_the_person_and_its_row():
    columns = {
        "image_path": dataset.path_column(["a.jpg", "b.jpg"]),
        "center": np.array([[1, 2], [3, 4]], np.float32),
        "size": np.array([[5, 6], [7, 8]], np.float32),
        "keypoints": np.zeros((2, 16, 2), np.float32),
        "visible": np.ones((2, 16), np.float32),
        "head_size": np.array([9.0, 10.0]),
    }
    split = dataset.Split("val", MPII, "val.json", columns, {})
    example = split[1]
    assert len(split) == 2
    assert set(example) == {"image_path", "center", "size", "keypoints", "visible", "index"}
    assert (example["image_path"], example["index"].dtype, example["index"]) == ("b.jpg", "i4", 1)
    np.testing.assert_array_equal(example["center"], [3, 4])


def test_a_missing_dataset_says_what_to_get_and_how_to_do_without(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        dataset.find(str(tmp_path / "data"), ["one.json", "two.json"], "Get it there.")
    message = str(error.value)
    assert f"{tmp_path}/data/one.json or {tmp_path}/data/two.json" in message
    assert "Get it there." in message
    assert "configs/quickstart.py" in message


def test_a_cut_off_json_file_is_named(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('[{"image": "a.jpg", "sc')
    with pytest.raises(ValueError, match=r"cut\.json is damaged or cut off .*download"):
        dataset.read_json(path, expected=list)


def test_a_file_that_is_not_text_is_damaged_too(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"binary\.json is damaged"):
        dataset.read_json(path, expected=list)


def test_json_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "dict.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds a dict where a list is expected"):
        dataset.read_json(path, expected=list)


def test_a_field_can_be_skipped_while_reading(tmp_path):
    path = tmp_path / "big.json"
    path.write_text('{"people": [{"id": 1, "segmentation": [1, 2, 3]}]}')
    contents = dataset.read_json(path, expected=dict, skip="segmentation")
    assert contents == {"people": [{"id": 1}]}

"""What readers share: examples from columns, finding files, reading JSON."""

import gc
import pathlib
import pickle

import numpy as np
import pytest

from data_pipelines import json_files, splits
from data_pipelines.skeletons import MPII


def test_example_holds_the_person_and_its_row():
    columns = {
        "image_path": splits.path_column(["a.jpg", "b.jpg"]),
        "center": np.array([[1, 2], [3, 4]], np.float32),
        "size": np.array([[5, 6], [7, 8]], np.float32),
        "keypoints": np.zeros((2, 16, 2), np.float32),
        "visible": np.ones((2, 16), np.float32),
        "head_size": np.array([9.0, 10.0]),
    }
    split = splits.Split("val", MPII, "val.json", columns, {})
    example = split[1]
    assert len(split) == 2
    assert set(example) == {"image_path", "center", "size", "keypoints", "visible", "index"}
    assert (example["image_path"], example["index"].dtype, example["index"]) == ("b.jpg", "i4", 1)
    np.testing.assert_array_equal(example["center"], [3, 4])


def _columns(count):
    return {
        "image_path": splits.path_column([f"bild_ü_{row}.jpg" for row in range(count)]),
        "center": np.arange(2.0 * count).reshape(count, 2).astype(np.float32),
        "size": np.ones((count, 2), np.float32),
        "keypoints": np.zeros((count, 16, 2), np.float32),
        "visible": np.ones((count, 16), np.float32),
    }


def test_pickled_splits_share_one_copy_of_their_columns():
    split = splits.Split("val", MPII, "val.json", _columns(3000), {"crowd": 1})
    pickles = [pickle.dumps(split) for _ in range(2)]
    copies = [pickle.loads(data) for data in pickles]
    assert max(map(len, pickles)) < 3000  # bytes: a folder's name, not the columns
    files = {copy.columns["center"].filename for copy in copies}
    assert len(files) == 1
    assert isinstance(copies[0].columns["keypoints"], np.memmap)
    assert (copies[0].name, copies[0].dropped) == ("val", {"crowd": 1})
    for key, value in split[2999].items():
        np.testing.assert_array_equal(copies[0][2999][key], value)
    assert copies[0][0]["image_path"] == "bild_ü_0.jpg"


def test_the_shared_columns_go_with_the_split():
    split = splits.Split("val", MPII, "val.json", _columns(2), {})
    folder = pathlib.Path(pickle.loads(pickle.dumps(split)).columns["center"].filename).parent
    assert folder.is_dir()
    del split
    gc.collect()
    assert not folder.exists()


def test_images_in_records_need_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train2017 or .*images/train2017"):
        splits.find_images(str(tmp_path), ["train2017", "images/train2017"], "Get it.")
    (tmp_path / splits.RECORDS).mkdir()
    found = splits.find_images(str(tmp_path), ["train2017", "images/train2017"], "Get it.")
    assert found == tmp_path / "train2017"


def test_a_missing_dataset_says_what_to_get_and_how_to_do_without(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        splits.find(str(tmp_path / "data"), ["one.json", "two.json"], "Get it there.")
    message = str(error.value)
    assert f"{tmp_path}/data/one.json or {tmp_path}/data/two.json" in message
    assert "Get it there." in message
    assert "configs/quickstart.py" in message


def test_a_cut_off_json_file_is_named(tmp_path):
    path = tmp_path / "cut.json"
    path.write_text('[{"image": "a.jpg", "sc')
    with pytest.raises(ValueError, match=r"cut\.json is damaged or cut off .*download"):
        json_files.read_json(path, expected=list)


def test_a_file_that_is_not_text_is_damaged_too(tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match=r"binary\.json is damaged"):
        json_files.read_json(path, expected=list)


def test_json_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "dict.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="holds a dict where a list is expected"):
        json_files.read_json(path, expected=list)

"""Images in ArrayRecord shards: as they were, resumable, checked."""

import json
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest

from data_pipelines import records, splits
from data_pipelines.skeletons import MPII


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "source" / "images"
    folder.mkdir(parents=True)
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(bytes([number]) * (10 + number))
    return {f"{number}.jpg": folder / f"{number}.jpg" for number in range(5)}


def _split(root, *names):
    count = len(names)
    columns = {
        "image_path": splits.path_column([f"{root}/{name}" for name in names]),
        "center": np.zeros((count, 2), np.float32),
        "size": np.ones((count, 2), np.float32),
        "keypoints": np.zeros((count, 16, 2), np.float32),
        "visible": np.ones((count, 16), np.float32),
    }
    return splits.Split("train", MPII, "train.json", columns, {})


def test_a_record_is_the_bytes_of_its_file(files, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PART_IMAGES", 2)
    root = str(tmp_path / "packed")
    assert list(records.build(root, files)) == [0, 2, 4, 5]
    split = records.attach(_split(root, "images/4.jpg", "images/1.jpg", "images/4.jpg"), root)
    split = pickle.loads(pickle.dumps(split))  # as a worker process gets it
    assert [split[row]["encoded"]() for row in range(3)] == [b"\x04" * 14, b"\1" * 11, b"\x04" * 14]


def test_a_build_goes_on_with_what_is_missing(files, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PART_IMAGES", 2)
    root = str(tmp_path / "packed")
    stopped = records.build(root, files)
    assert [next(stopped), next(stopped)] == [0, 2]
    stopped.close()
    files["0.jpg"].unlink()  # packed already: not read again
    assert list(records.build(root, files)) == [2, 4, 5]
    assert list(records.build(root, files)) == [5]
    assert sorted(records.index(root).values()) == list(range(5))


def test_a_part_that_was_removed_is_built_again(files, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "PART_IMAGES", 2)
    root = tmp_path / "packed"
    list(records.build(str(root), files))
    shutil.rmtree(root / splits.RECORDS / "part_00001")
    left_over = root / splits.RECORDS / "part_00003" / "images" / "incomplete.A_1.0.0"
    left_over.mkdir(parents=True)
    assert list(records.build(str(root), files)) == [3, 5]
    assert not left_over.exists()
    split = records.attach(_split(root, *files), str(root))
    contents = [split[row]["encoded"]() for row in range(5)]
    assert contents == [file.read_bytes() for file in files.values()]


def test_broken_records_are_found_by_their_checksums(files, tmp_path):
    root = str(tmp_path / "packed")
    list(records.build(root, files))
    assert [names for _, names in records.verify(root)] == [[]]
    (shard,) = pathlib.Path(root).rglob("*.array_record*")
    data = bytearray(shard.read_bytes())
    places = [place for place, value in enumerate(data) if value]
    data[places[len(places) // 2]] ^= 1
    shard.write_bytes(data)
    ((part, names),) = records.verify(root)
    assert part == shard.parent
    assert set(names) <= set(files)
    assert names


def test_readable_records_of_other_images_are_found_too(files, tmp_path):
    root = str(tmp_path / "packed")
    list(records.build(root, files))
    (file,) = pathlib.Path(root).rglob("metadata.json")
    metadata = json.loads(file.read_text())
    metadata["names"].reverse()
    file.write_text(json.dumps(metadata))
    ((_, names),) = records.verify(root)
    assert names == ["4.jpg", "3.jpg", "1.jpg", "0.jpg"]


@pytest.mark.parametrize("folder", ["images/train2017", "train2017"])
def test_names_do_not_depend_on_the_layout(folder):
    assert records.name(f"data/coco/{folder}/1.jpg", "data/coco/") == "train2017/1.jpg"


def test_images_without_records_are_an_error(files, tmp_path):
    root = str(tmp_path / "packed")
    list(records.build(root, files))
    with pytest.raises(ValueError, match=r"no records of 1 images of train, e\.g\. 9\.jpg"):
        records.attach(_split(root, "images/4.jpg", "images/9.jpg"), root)


def test_a_pipe_among_the_images_is_named(files, tmp_path):
    files["3.jpg"].unlink()
    os.mkfifo(files["3.jpg"])
    with pytest.raises(ValueError, match=r"3\.jpg is a named pipe; expected a regular file"):
        list(records.build(str(tmp_path / "packed"), files))


@pytest.mark.parametrize("content", ["{}", "[]", '{"names": 5, "sha256": []}', '{"names": ["a"]}'])
def test_damaged_metadata_are_named(files, tmp_path, content):
    root = tmp_path / "packed"
    list(records.build(str(root), files))
    (metadata,) = root.rglob("metadata.json")
    metadata.write_text(content)
    with pytest.raises(ValueError, match=r"metadata\.json"):
        records.index(str(root))

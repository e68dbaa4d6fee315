"""Batches: the same samples for any number of processes and workers, and after any restart."""

import dataclasses
import json
import logging
import pathlib
import shutil
import subprocess
import sys
import types

import cv2
import numpy as np
import pytest

from configs import common
from data_pipelines import datasets, records, splits
from data_pipelines.batching import loading
from data_pipelines.skeletons import MPII
from data_pipelines.transforms import chains

AUGMENT = types.SimpleNamespace(
    flip=0.5,
    half_body=0.3,
    half_body_joints=8,
    scale=0.25,
    rotation=30,
    rotation_probability=0.6,
    center_shift=0.3,
    draws="clipped",
    shift=0.16,
    shift_probability=0.3,
    color_jitter=0.0,
    hue=0.0,
    blur=0.0,
    dropout=0.0,
)


def _split(count):
    """A split without images; the ops of these tests don't open any."""
    columns = {
        "image_path": splits.path_column([f"{row}.jpg" for row in range(count)]),
        "center": np.zeros((count, 2), np.float32),
        "size": np.ones((count, 2), np.float32),
        "keypoints": np.zeros((count, 16, 2), np.float32),
        "visible": np.ones((count, 16), np.float32),
    }
    return splits.Split("train", MPII, "train.json", columns, {})


def _draw(example, rng):
    return {**example, "draw": rng.random()}


def _take(count, split, **options):
    options = {"batch_size": 4, "seed": 5, **options}
    with loading.train_batches(split, [_draw], **options) as batches:
        return [next(batches) for _ in range(count)]


def _assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def _joined(parts):
    """One global batch from the slices of the processes."""
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@pytest.fixture
def mpii_root(tmp_path):
    """Six people, two of them with images that can't be read, in MPII's layout."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    people = [
        {
            "image": f"{row}.jpg",
            "center": [31.0, 21.0],
            "scale": 0.2,
            "joints": [[20.0 + joint, 30.0] for joint in range(16)],
            "joints_vis": [1] * 16,
        }
        for row in range(6)
    ]
    (tmp_path / "annotations" / "mpii_train.json").write_text(json.dumps(people))
    for row in range(4):
        cv2.imwrite(str(tmp_path / "images" / f"{row}.jpg"), np.full((48, 64, 3), 200, np.uint8))
    (tmp_path / "images" / "4.jpg").write_bytes(b"not an image")
    return str(tmp_path)


# --- training batches


@pytest.mark.parametrize("process_count", [2, 4])
def test_processes_read_contiguous_slices_of_the_same_batches(process_count):
    split = _split(10)
    slices = [
        _take(5, split, process_index=index, process_count=process_count)
        for index in range(process_count)
    ]
    joined = [_joined(parts) for parts in zip(*slices, strict=True)]
    _assert_same(joined, _take(5, split))


def test_an_epoch_shows_each_person_at_most_once_and_drops_the_rest():
    epochs = np.concatenate([batch["index"] for batch in _take(4, _split(10))]).reshape(2, 8)
    assert [len(set(epoch)) for epoch in epochs.tolist()] == [8, 8]
    assert epochs[0].tolist() != epochs[1].tolist()


def test_every_pass_draws_anew_for_every_person():
    draws = np.concatenate([batch["draw"] for batch in _take(10, _split(8))])
    assert len(set(draws.tolist())) == 40


def test_order_and_draws_depend_on_the_seed():
    one, other = _take(2, _split(10), seed=1), _take(2, _split(10), seed=2)
    assert one[0]["index"].tolist() != other[0]["index"].tolist()
    assert not set(one[0]["draw"].tolist()) & set(other[0]["draw"].tolist())


def test_a_seed_is_not_another_seeds_later_epoch():
    first = _take(4, _split(8), seed=1)
    following = _take(4, _split(8), seed=0)
    assert first[0]["index"].tolist() != following[2]["index"].tolist()


def test_epochs_end():
    with loading.train_batches(_split(10), [], batch_size=4, seed=0, epochs=3) as batches:
        assert len(list(batches)) == len(batches) == 6


def test_start_skips_to_any_batch():
    _assert_same(_take(3, _split(10), start=7), _take(10, _split(10))[7:])


def test_state_restores_the_middle_of_an_epoch():
    options = {"batch_size": 2, "seed": 5}
    with loading.train_batches(_split(7), [_draw], **options) as batches:
        for _ in range(4):
            next(batches)
        state = json.loads(json.dumps(batches.get_state()))
        rest = [next(batches) for _ in range(4)]
    with loading.train_batches(_split(7), [_draw], **options) as batches:
        next(batches)
        batches.set_state(state)
        assert batches.get_state() == state
        _assert_same([next(batches) for _ in range(4)], rest)


def test_state_holds_for_any_process_count():
    split = _split(12)
    parts = []
    for index in range(2):
        options = {"process_index": index, "process_count": 2}
        with loading.train_batches(split, [_draw], batch_size=4, seed=5, **options) as batches:
            batches.set_state({"next_batch": 4})
            parts.append(next(batches))
            assert batches.get_state() == {"next_batch": 5}
    _assert_same([_joined(parts)], _take(5, split)[4:])


def test_workers_change_neither_samples_nor_state():
    options = {"batch_size": 4, "seed": 5, "workers": 2, "start": 1}
    with loading.train_batches(_split(10), [_draw], **options) as batches:
        batch = {key: np.array(value) for key, value in next(batches).items()}
        assert batches.get_state() == {"next_batch": 2}
    _assert_same([batch], _take(2, _split(10))[1:])


def test_people_of_an_image_can_follow_each_other():
    split = _split(12)
    names = splits.path_column([f"{row % 5}.jpg" for row in range(12)])
    split = dataclasses.replace(split, columns={**split.columns, "image_path": names})
    batches = _take(6, split, group_images=True)
    for epoch in (batches[:3], batches[3:]):
        rows = np.concatenate([batch["index"] for batch in epoch])
        assert sorted(rows) == list(range(12))
        assert np.count_nonzero(np.diff(rows % 5)) == 4
    _assert_same(_take(2, split, group_images=True, start=4), batches[4:])
    slices = [
        _take(6, split, group_images=True, process_index=index, process_count=2)
        for index in range(2)
    ]
    _assert_same([_joined(parts) for parts in zip(*slices, strict=True)], batches)


@pytest.mark.parametrize(("people", "batch_size"), [(5, 8), (5, 9), (5, 16), (1, 4)])
def test_a_small_split_is_repeated_to_fill_a_batch(caplog, people, batch_size):
    with caplog.at_level(logging.INFO):
        (batch,) = _take(1, _split(people), batch_size=batch_size)
    assert loading.steps_per_epoch(_split(people), batch_size) == 1
    times = -(-batch_size // people)
    counts = np.bincount(batch["index"], minlength=people)
    assert counts.sum() == batch_size
    assert counts.max() <= times
    messages = [record.message for record in caplog.records if "repeated" in record.message]
    assert messages == [f"{people} people for batches of {batch_size}: repeated {times}x"]


def test_steps_per_epoch_drops_the_partial_batch():
    assert loading.steps_per_epoch(_split(10), 4) == 2
    assert loading.steps_per_epoch(_split(8), 4) == 2


@pytest.mark.parametrize(("batch_size", "process_count"), [(6, 4), (0, 1), (-2, 1)])
def test_a_batch_that_processes_cannot_share_is_an_error(batch_size, process_count):
    message = f"a batch of {batch_size} can't be shared by {process_count} processes"
    options = {"batch_size": batch_size, "process_count": process_count}
    with pytest.raises(ValueError, match=message):
        loading.train_batches(_split(10), [], seed=0, **options)
    with pytest.raises(ValueError, match=message):
        loading.eval_batches(_split(10), [], **options)


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_a_program_that_never_closes_its_batches_ends(mpii_root, workers):
    program = f"""
from data_pipelines import datasets
from data_pipelines.batching import loading
from data_pipelines.transforms import chains
if __name__ == "__main__":
    split = datasets.read("mpii", {mpii_root!r}, "train")
    ops = chains.eval_ops((64, 64), strict=False)
    batches = loading.train_batches(split, ops, batch_size=2, seed=0, workers={workers})
    print(next(batches)["image"].shape)
"""
    file = f"{mpii_root}/program.py"
    with open(file, "w") as script:
        script.write(program)
    done = subprocess.run([sys.executable, file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "(2, 64, 64, 3)\n")


# --- evaluation batches


@pytest.mark.parametrize("process_count", [1, 2, 4])
@pytest.mark.parametrize("people", [1, 8, 9, 13])
def test_evaluation_shows_each_person_once_in_order(people, process_count):
    slices = []
    for index in range(process_count):
        options = {"process_index": index, "process_count": process_count}
        with loading.eval_batches(_split(people), [_draw], batch_size=4, **options) as batches:
            slices.append(list(batches))
    assert {len(part) for part in slices} == {-(-people // 4)}
    joined = [_joined(parts) for parts in zip(*slices, strict=True)]
    assert {len(batch["index"]) for batch in joined} == {4}
    index = np.concatenate([batch["index"][batch["mask"]] for batch in joined])
    np.testing.assert_array_equal(index, np.arange(people))
    masks = np.concatenate([batch["mask"] for batch in joined])
    np.testing.assert_array_equal(masks, np.arange(len(masks)) < people)
    padding = np.concatenate([batch["index"][~batch["mask"]] for batch in joined])
    assert set(padding.tolist()) <= {people - 1}


# --- from files to batches


def test_batches_hold_the_documented_fields(mpii_root):
    split = datasets.read("mpii", mpii_root, "train")
    ops = chains.train_ops(AUGMENT, split.skeleton, (64, 48), strict=False)
    with loading.train_batches(split, ops, batch_size=6, seed=0) as batches:
        batch = next(batches)
    assert {key: (value.shape[1:], value.dtype.name) for key, value in batch.items()} == {
        "image": ((64, 48, 3), "uint8"),
        "keypoints": ((16, 2), "float32"),
        "visible": ((16,), "float32"),
        "to_original": ((2, 3), "float32"),
        "index": ((), "int32"),
        "mask": ((), "bool"),
        "readable": ((), "bool"),
        "turned": ((), "bool"),
    }
    assert batch["mask"].all()


@pytest.mark.parametrize("strict", [False, True])
def test_unreadable_images_are_flagged_or_raise(mpii_root, strict):
    split = datasets.read("mpii", mpii_root, "train")
    ops = chains.eval_ops((64, 48), strict=strict)
    with loading.eval_batches(split, ops, batch_size=6) as batches:
        if strict:
            for _ in range(2):  # asking again tries the same batch
                with pytest.raises(ValueError, match=r"can't read the image .*4\.jpg: 12 bytes"):
                    next(batches)
            return
        batch = next(batches)
    np.testing.assert_array_equal(batch["readable"], [True] * 4 + [False] * 2)
    np.testing.assert_array_equal(batch["visible"].any(axis=1), batch["readable"])
    np.testing.assert_array_equal(batch["image"].any(axis=(1, 2, 3)), batch["readable"])


@pytest.mark.parametrize(("group_images", "workers"), [(False, 0), (True, 1)])
def test_records_give_the_batches_of_files_and_resume(mpii_root, group_images, workers):
    root = pathlib.Path(mpii_root)
    (root / "images" / "5.jpg").write_bytes((root / "images" / "0.jpg").read_bytes())
    split = datasets.read("mpii", mpii_root, "train")
    options = {"batch_size": 2, "seed": 5, "group_images": group_images}
    chain = chains.train_ops(AUGMENT, split.skeleton, (64, 48), strict=False)
    with loading.train_batches(split, chain, **options) as batches:
        expected = [next(batches) for _ in range(5)]
    files = {f"{row}.jpg": root / "images" / f"{row}.jpg" for row in range(6)}
    assert list(records.build(mpii_root, files)) == [0, 6]
    shutil.rmtree(root / "images")
    packed = records.attach(datasets.read("mpii", mpii_root, "train"), mpii_root)
    with loading.train_batches(packed, chain, **options) as batches:
        taken = [next(batches) for _ in range(3)]
        state = json.loads(json.dumps(batches.get_state()))
    with loading.train_batches(packed, chain, **options, workers=workers) as batches:
        batches.set_state(state)
        taken += [{key: np.array(v) for key, v in next(batches).items()} for _ in range(2)]
    _assert_same(taken, expected)


def test_images_that_are_in_records_are_not_searched_for_in_files(mpii_root):
    options = {"default": "hrnet_w32", "dataset": "mpii", "input_size": (64, 64)}
    data = common.recipe("", **options).data
    data.root = mpii_root
    (pathlib.Path(mpii_root) / splits.RECORDS).mkdir()
    shutil.rmtree(pathlib.Path(mpii_root) / "images")
    with pytest.raises(FileNotFoundError, match=r"set config\.data\.records=True"):
        datasets.read_config(data, "train")
    data.records = True
    with pytest.raises(ValueError, match=r"no records of 6 images of train, e\.g\. 0\.jpg"):
        datasets.read_config(data, "train")


def test_augmentations_are_switches():
    def names(**changes):
        augment = types.SimpleNamespace(**{**vars(AUGMENT), **changes})
        return [type(op).__name__ for op in chains.train_ops(augment, MPII, (64, 48), strict=True)]

    plain = ["Decode", "ShiftCenter", "RandomFlip", "HalfBody", "RandomCrop"]
    assert names() == plain
    assert names(draws="truncated") == [*plain[:-1], "TruncatedCrop"]
    switched = {"color_jitter": 0.4, "blur": 0.1, "dropout": 0.2}
    assert names(**switched) == [*plain, "ColorJitter", "Blur", "CoarseDropout"]
    assert names(hue=0.1) == [*plain, "ColorJitter"]
    with pytest.raises(ValueError, match=r"unknown config\.augment\.draws 'wild'; choose one of"):
        names(draws="wild")

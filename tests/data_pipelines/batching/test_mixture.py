"""Several datasets as one: joints by name, shares of a batch, the same people in every run."""

import dataclasses
import pickle

import numpy as np
import pytest

from data_pipelines import splits
from data_pipelines.batching import loading, mixture
from data_pipelines.skeletons import COCO, MPII, Skeleton


def _split(count, skeleton, name="train.json"):
    joints = skeleton.num_joints
    columns = {
        "image_path": splits.path_column([f"{row}.jpg" for row in range(count)]),
        "center": np.full((count, 2), 5.0, np.float32),
        "size": np.ones((count, 2), np.float32),
        "keypoints": np.tile(np.arange(joints, dtype=np.float32)[:, None], (count, 1, 2)),
        "visible": np.ones((count, joints), np.float32),
    }
    return splits.Split("train", skeleton, name, columns, {})


def _rows(batches, count):
    with batches:
        return [next(batches)["index"].tolist() for _ in range(count)]


@pytest.fixture
def both():
    return mixture.mix([_split(9, COCO), _split(6, MPII, "mpii.json")], (2, 1), COCO)


def test_joints_are_found_by_name(both):
    example = both[9]  # the first of MPII
    assert example["index"] == 9
    assert example["keypoints"].shape == (17, 2)
    shown = dict(zip(COCO.names, example["keypoints"][:, 0].tolist(), strict=True))
    # In MPII the right ankle is joint 0, the left wrist joint 15, and there are no eyes.
    assert (shown["right_ankle"], shown["left_wrist"], shown["left_shoulder"]) == (0, 15, 13)
    hidden = {name for name, seen in zip(COCO.names, example["visible"], strict=True) if not seen}
    assert hidden == {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    np.testing.assert_array_equal(both[8]["keypoints"], _split(9, COCO)[8]["keypoints"])


def test_columns_are_those_of_the_examples(both):
    assert len(both) == 15
    for row in (0, 8, 9, 14):
        for key in ("keypoints", "visible", "center", "size"):
            np.testing.assert_array_equal(both.columns[key][row], both[row][key])


def test_workers_get_the_splits_and_no_copy_of_their_columns(both):
    both.columns  # noqa: B018 (computed and kept from here on)
    again = pickle.loads(pickle.dumps(both))
    assert "columns" not in vars(again)
    assert again[9]["image_path"] == both[9]["image_path"]
    np.testing.assert_array_equal(again[9]["keypoints"], both[9]["keypoints"])


def test_joints_with_two_names_are_one():
    crowd = Skeleton(("top_head", "neck", "left_hip"), (), (), (0.1,) * 3, ())
    mixed = mixture.mix([_split(1, MPII), _split(1, crowd)], (1, 1), MPII)
    seen = {name for name, x in zip(MPII.names, mixed[1]["visible"], strict=True) if x}
    assert seen == {"head_top", "upper_neck", "left_hip"}


def test_every_batch_has_the_shares_of_the_weights(both):
    assert mixture.shares(both, 6) == (4, 2)
    assert mixture.shares(both, 4) == (3, 1)  # 2.67 and 1.33
    rows = _rows(loading.train_batches(both, [], batch_size=6, seed=1), 5)
    assert [sum(row < 9 for row in batch) for batch in rows] == [4] * 5
    order = [[row < 9 for row in batch] for batch in rows]
    assert len(set(map(tuple, order))) > 1  # not always the same places


def test_without_weights_shares_follow_the_numbers_of_people():
    mixed = mixture.mix([_split(30, COCO), _split(10, MPII)], (), COCO)
    assert mixture.shares(mixed, 8) == (6, 2)


def test_every_dataset_goes_round_in_its_own_time():
    mixed = mixture.mix([_split(8, COCO), _split(6, MPII)], (2, 1), COCO)
    rows = np.concatenate(_rows(loading.train_batches(mixed, [], batch_size=3, seed=1), 12))
    for count, people in ((8, rows[rows < 8]), (6, rows[rows >= 8])):
        rounds = people.reshape(-1, count)
        assert all(len(set(turn.tolist())) == count for turn in rounds)
        assert rounds[0].tolist() != rounds[1].tolist()
    assert loading.steps_per_epoch(mixed, 3) == 4  # 8 people, 2 a batch


def test_people_depend_on_the_seed_and_the_batch_alone(both):
    def opened(**options):
        return loading.train_batches(both, [], **{"batch_size": 6, "seed": 5, **options})

    whole = _rows(opened(), 8)
    assert _rows(opened(start=5), 3) == whole[5:]
    halves = [_rows(opened(process_index=p, process_count=2), 8) for p in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole
    assert _rows(opened(seed=6), 8) != whole
    with opened() as batches:
        batches.set_state({"next_batch": 4})
        assert next(batches)["index"].tolist() == whole[4]


def test_a_number_of_epochs_ends(both):
    with loading.train_batches(both, [], batch_size=3, seed=0, epochs=2) as batches:
        assert len(list(batches)) == 8


def test_mistakes_say_what_to_do(both):
    with pytest.raises(ValueError, match=r"2 datasets are mixed and the weights are \(1, 2, 3\)"):
        mixture.mix(both.splits, (1, 2, 3), COCO)
    with pytest.raises(ValueError, match="above 0"):
        mixture.mix(both.splits, (1, 0), COCO)
    uneven = dataclasses.replace(both, weights=(100.0, 1.0))
    with pytest.raises(
        ValueError, match=r"batches of 6.*no room for people of mpii\.json; use larger"
    ):
        loading.train_batches(uneven, [], batch_size=6, seed=0)
    with pytest.raises(ValueError, match=r"group_images works with one dataset, not with config"):
        loading.train_batches(both, [], batch_size=6, seed=0, group_images=True)
    other = Skeleton(("tail",), (), (), (0.1,), ())
    with pytest.raises(ValueError, match=r"none of the joints of zoo\.json \(tail\) is one of"):
        mixture.mix([_split(2, COCO), _split(2, other, "zoo.json")], (), COCO)

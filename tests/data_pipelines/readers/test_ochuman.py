"""The OCHuman reader."""

import json

import pytest

from data_pipelines.readers import ochuman
from data_pipelines.readers.request import Request


@pytest.mark.parametrize("split", ochuman.SPLITS)
def test_counts_of_the_samples_are_the_published_ones(shared, split):
    report = json.loads((shared / "samples" / "check.json").read_text())["ochuman"]
    people = ochuman.read(Request(str(shared / "samples" / "ochuman"), split))
    assert len(people) == report["annotations"] == report["persons_with_keypoints"]
    assert people.columns["visible"].sum() == report["labelled_keypoints"]
    assert (people.columns["area"] > 0).all()


def test_missing_dataset_says_what_to_get(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"val_range_0\.00_1\.00\.json\nOCHuman wants"):
        ochuman.read(Request(str(tmp_path), "val"))


def test_there_is_nothing_to_train_on(tmp_path):
    with pytest.raises(ValueError, match=r"'train'; choose one of: val, test .*train on COCO"):
        ochuman.read(Request(str(tmp_path), "train"))

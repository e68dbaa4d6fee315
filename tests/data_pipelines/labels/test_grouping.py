"""Splits keep films, scenes and copies of a photograph together."""

import numpy as np
import pytest

from data_pipelines.labels import grouping
from data_pipelines.labels.columns import Image
from data_pipelines.labels.grouping import Shares


def split(names, **options):
    images = [name if isinstance(name, Image) else Image(name) for name in names]
    counts = np.ones(len(images), np.int64)
    return grouping.split(images, counts, Shares(**options))


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("labeled-data/film/img005.png", "labeled-data/film/img"),
        ("video0/frame_000012", "video0/frame"),
        ("holiday (3).jpg", "./holiday"),
        ("mouse-0012.jpg", "./mouse"),
        ("a\\b_7.png", "a/b"),
        ("portrait.jpg", "portrait.jpg"),
    ],
)
def test_images_that_are_numbered_belong_together(name, group):
    assert grouping.group_of(Image(name)) == group


def test_films_are_not_cut():
    names = [f"film{film}/{frame:03d}.png" for film in range(20) for frame in range(5)]
    splits, groups, notes = split(names, val=0.2, test=0.1)
    by_group = {}
    for name, group in zip(splits, groups, strict=True):
        by_group.setdefault(group, set()).add(name)
    assert len(by_group) == 20
    assert all(len(names) == 1 for names in by_group.values())
    assert (splits.count("val"), splits.count("test")) == (20, 10)
    assert notes == []


def test_the_end_of_a_single_film_is_held_out():
    names = [f"film/{frame}.png" for frame in range(20)]  # 10 is after 9
    splits, _, (note,) = split(names, val=0.2)
    assert splits == ["train"] * 16 + ["val"] * 4
    assert "val is the end of one film or folder, 4 of its 20 images" in str(note)


def test_a_short_film_is_taken_whole_beside_a_long_one():
    names = [f"long/{n}.png" for n in range(90)] + [f"short/{n}.png" for n in range(10)]
    splits, _, _ = split(names, val=0.1)
    assert splits == ["train"] * 90 + ["val"] * 10


def test_photographs_are_drawn_one_by_one_and_the_same_way_every_time():
    names = [f"{chr(97 + n)}.jpg" for n in range(20)]
    first, _, _ = split(names, val=0.2)
    assert first.count("val") == 4
    assert split(names, val=0.2)[0] == first
    assert split(names, val=0.2, seed=1)[0] != first


def test_each_image_on_its_own_where_that_is_asked_for():
    names = [f"film/{frame}.png" for frame in range(20)]
    splits, _, _ = split(names, val=0.2, by="image")
    assert splits.count("val") == 4
    assert splits[-4:] != ["val"] * 4


def test_the_tools_own_splits_are_kept_and_leaks_are_said():
    images = [Image("a.jpg", split="train", group="x"), Image("b.jpg", split="val", group="x")]
    images.append(Image("c.jpg", group="y"))
    splits, _, (note,) = split(images, val=0.5)
    assert splits == ["train", "val", "train"]
    assert "the tool put into several splits, so that scores flatter: x" in str(note)
    splits, _, _ = split(images, val=0.4, by="group")
    assert splits[0] == splits[1]


def test_a_tools_split_that_leaves_nothing_to_train_on_is_made_anew():
    images = [Image(f"film/{n}.png", split="test") for n in range(10)]
    assert split(images, val=0.2)[0] == ["train"] * 8 + ["val"] * 2


def test_a_single_image_leaves_no_val_and_says_so():
    splits, _, (note,) = split(["a.jpg"], val=0.5)
    assert splits == ["train"]
    assert "val is empty: there are too few images" in str(note)


@pytest.mark.parametrize("shares", [{"val": 1.0}, {"val": 0.6, "test": 0.4}, {"test": -0.1}])
def test_shares_must_leave_something_to_train_on(shares):
    with pytest.raises(ValueError, match="leave something to train on"):
        split(["a.jpg"], **shares)


def test_an_unknown_way_to_split_lists_the_choices():
    with pytest.raises(ValueError, match="'moon'; choose one of: tool, group, image"):
        split(["a.jpg"], by="moon")

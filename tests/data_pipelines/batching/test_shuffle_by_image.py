"""Shuffling that keeps the people of an image together."""

import grain
import numpy as np

from data_pipelines.batching.shuffle_by_image import ShuffledImages

IMAGES = np.array([0, 1, 2, 0, 1, 0, 3, 4, 4])


def _epoch(number, seed=0):
    people = grain.MapDataset.range(len(IMAGES))
    order = ShuffledImages(people, IMAGES, seed)
    start = number * len(IMAGES)
    return [order[start + place] % len(IMAGES) for place in range(len(IMAGES))]


def test_all_people_come_once_and_images_stay_together():
    people = _epoch(0)
    assert sorted(people) == list(range(len(IMAGES)))
    images = IMAGES[people]
    assert 1 + np.count_nonzero(np.diff(images)) == len(set(images))


def test_each_epoch_and_each_seed_have_an_order_of_their_own():
    orders = [_epoch(0), _epoch(1), _epoch(0, seed=1)]
    assert len(set(map(tuple, orders))) == 3
    assert orders[0] == _epoch(0)

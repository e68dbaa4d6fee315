"""Shuffling by image, so that each image is decoded once per epoch."""

from typing import Any

import grain
import numpy as np


class ShuffledImages(grain.MapDataset):
    """People reshuffled every epoch, with all people of an image next to each other.

    grain's shuffle has no groups. `images` (n,) is the number of each person's image.
    """

    def __init__(self, parent: grain.MapDataset, images: np.ndarray, seed: int):
        super().__init__(parent)
        self._images = images
        self._seed = seed
        self._orders = {}

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        epoch, place = divmod(index, len(self))
        return self._parent[epoch * len(self) + int(self._order(epoch)[place])]

    def _order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, kept for two epochs because readers run ahead into the next."""
        order = self._orders.get(epoch)
        if order is None:
            rng = np.random.default_rng([self._seed, epoch])
            turns = rng.permutation(self._images.max() + 1)[self._images]
            order = np.lexsort((rng.random(len(turns)), turns)).astype(np.int32)
            self._orders = {epoch - 1: self._orders.get(epoch - 1), epoch: order}
        return order

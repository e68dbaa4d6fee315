"""An order of people that decodes each image once."""

import grain
import numpy as np


class ShuffledImages(grain.MapDataset):
    """People in an order that is new in every epoch, with those of one image behind each other.

    grain's shuffle has no groups. `images` (n,) says which people share an image.
    """

    def __init__(self, parent: grain.MapDataset, images: np.ndarray, seed: int):
        super().__init__(parent)
        self._images = images
        self._seed = seed
        self._orders = {}

    def __len__(self) -> int:
        return len(self._parent)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.slice(index)
        epoch, place = divmod(index, len(self))
        return self._parent[epoch * len(self) + int(self._order(epoch)[place])]

    def _order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch; kept for two, because readers that are ahead may be in the next."""
        order = self._orders.get(epoch)
        if order is None:
            rng = np.random.default_rng([self._seed, epoch])
            turns = rng.permutation(self._images.max() + 1)[self._images]
            order = np.lexsort((rng.random(len(turns)), turns)).astype(np.int32)
            self._orders = {epoch - 1: self._orders.get(epoch - 1), epoch: order}
        return order

"""Several datasets as one to train on: joints matched by name, a fixed share of every batch each.

Which people batch t has is a function of the seed and t alone, as it is of a single split.
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import Split

# Joints that datasets call differently: what is on the left is what is on the right.
SAME_JOINTS = {"neck": "upper_neck", "top_head": "head_top", "head": "head_top"}


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Splits as one split with the joints of `skeleton`; rows count through one after the other.

    Joints that a split lacks are invisible in its people: they teach nothing. `weights` are the
    shares of a batch that the splits have, in any unit.
    """

    splits: tuple[Split, ...]
    weights: tuple[float, ...]
    skeleton: Skeleton

    @property
    def name(self) -> str:
        """The names of the splits."""
        return " + ".join(split.name for split in self.splits)

    @property
    def annotation_file(self) -> str:
        """The files that they come from."""
        return " + ".join(split.annotation_file for split in self.splits)

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """The first row of each split."""
        return (0, *itertools.accumulate(len(split) for split in self.splits))[:-1]

    @functools.cached_property
    def columns(self) -> Mapping[str, np.ndarray]:
        """What is known of all people: image_path, center, size, keypoints, visible."""
        columns = {
            key: np.concatenate([split.columns[key] for split in self.splits])
            for key in ("image_path", "center", "size")
        }
        pairs = [
            match(split.columns["keypoints"], split.columns["visible"], split, self.skeleton)
            for split in self.splits
        ]
        keypoints, visible = (np.concatenate(part) for part in zip(*pairs, strict=True))
        return {**columns, "keypoints": keypoints, "visible": visible}

    def __reduce__(self):
        return Mixture, (self.splits, self.weights, self.skeleton)  # without `columns`

    def __len__(self) -> int:
        return sum(len(split) for split in self.splits)

    def __getitem__(self, row: int) -> dict:
        """The example of one person, with the joints of `skeleton`; `index` is its row here."""
        part = bisect.bisect_right(self.starts, row) - 1
        split, start = self.splits[part], self.starts[part]
        example = split[row - start]
        joints = match(example["keypoints"], example["visible"], split, self.skeleton)
        return {
            **example,
            "keypoints": joints[0],
            "visible": joints[1],
            "index": np.int32(row),
        }


def mix(splits: Sequence[Split], weights: Sequence[float], skeleton: Skeleton) -> Mixture:
    """The splits as one; without `weights` each has a share like its number of people."""
    weights = tuple(weights) or tuple(float(len(split)) for split in splits)
    if len(weights) != len(splits) or min(weights) <= 0:
        raise ValueError(
            f"{len(splits)} datasets are mixed and the weights are {weights}; give each a number "
            "above 0, that of the main dataset first"
        )
    for split in splits:
        if not set(_names(split.skeleton)) & set(_names(skeleton)):
            raise ValueError(
                f"none of the joints of {split.annotation_file} ({', '.join(split.skeleton.names)})"
                f" is one of {', '.join(skeleton.names)}; there is nothing to learn from it"
            )
    return Mixture(tuple(splits), weights, skeleton)


def match(
    keypoints: np.ndarray, visible: np.ndarray, split: Split, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (…, k, 2) and (…, k) of a split as joints of `skeleton`, found by their names."""
    order, found = _order(split.skeleton, skeleton)
    return keypoints[..., order, :] * found[:, None], visible[..., order] * found


@functools.lru_cache(maxsize=64)
def _order(source, target):
    """For each joint of `target`: which one it is in `source`, and 1 or 0 for whether it is."""
    names = _names(source)
    places = [names.index(name) if name in names else -1 for name in _names(target)]
    return np.maximum(places, 0), (np.array(places) >= 0).astype(np.float32)


def _names(skeleton):
    return [SAME_JOINTS.get(name, name) for name in skeleton.names]


def shares(mixture: Mixture, batch_size: int) -> tuple[int, ...]:
    """How many people of a batch come from each split: the weights, rounded; the sum is exact."""
    ideal = np.array(mixture.weights) / sum(mixture.weights) * batch_size
    counts = np.floor(ideal).astype(int)
    most_lost = np.argsort(counts - ideal, kind="stable")[: batch_size - counts.sum()]
    counts[most_lost] += 1
    if min(counts) < 1:
        raise ValueError(
            f"batches of {batch_size} with the weights {mixture.weights} have nobody of "
            f"{mixture.splits[int(np.argmin(counts))].annotation_file}; take larger batches or "
            "other weights"
        )
    return tuple(counts.tolist())


def steps_per_epoch(mixture: Mixture, batch_size: int) -> int:
    """Batches until everybody of the first split was shown once."""
    return max(1, len(mixture.splits[0]) // shares(mixture, batch_size)[0])


def row(mixture: Mixture, batch_size: int, seed: int, place: int) -> int:
    """Whom the stream of people shows at `place`; batch t is places t * batch_size and so on.

    Every split goes round and round, in a new order each time.
    """
    batch, slot = divmod(place, batch_size)
    slot = int(_shuffled(batch_size, (seed, 0, batch))[slot])
    ends = list(itertools.accumulate(shares(mixture, batch_size)))
    part = bisect.bisect_right(ends, slot)
    count = ends[part] - (ends[part - 1] if part else 0)
    shown = batch * count + slot - (ends[part] - count)
    turn, place = divmod(shown, len(mixture.splits[part]))
    order = _shuffled(len(mixture.splits[part]), (seed, 1 + part, turn))
    return mixture.starts[part] + int(order[place])


@functools.lru_cache(maxsize=32)
def _shuffled(count, key):
    return np.random.default_rng(key).permutation(count)

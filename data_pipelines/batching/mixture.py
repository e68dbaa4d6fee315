"""Several datasets mixed for training: joints matched by name, each with its share of every batch.

The people in batch t are a function of the seed and t alone, as with a single split.
"""

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import Split

# Names that datasets give to joints of our skeletons, and the name that they are matched by.
SAME_JOINTS = {"neck": "upper_neck", "top_head": "head_top", "head": "head_top"}


@dataclasses.dataclass(frozen=True, eq=False)
class Mixture:
    """Splits as one split with the joints of `skeleton`; rows are numbered through all of them.

    Joints that a split lacks are invisible in its people and have zero loss weight. `weights` are
    the splits' shares of a batch, in any unit.
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
        """The files of the splits."""
        return " + ".join(split.annotation_file for split in self.splits)

    @functools.cached_property
    def starts(self) -> tuple[int, ...]:
        """The first row of each split."""
        return (0, *itertools.accumulate(len(split) for split in self.splits))[:-1]

    @functools.cached_property
    def columns(self) -> Mapping[str, np.ndarray]:
        """The columns of all people: image_path, center, size, keypoints, visible."""
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

    def __reduce__(self) -> tuple:
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
    """The splits as one; without `weights`, shares are proportional to the numbers of people."""
    weights = tuple(weights) or tuple(float(len(split)) for split in splits)
    if len(weights) != len(splits) or min(weights) <= 0:
        raise ValueError(
            f"{len(splits)} datasets are mixed and the weights are {weights}; give each dataset a "
            "number above 0, the main one first"
        )
    for split in splits:
        if not set(_names(split.skeleton)) & set(_names(skeleton)):
            raise ValueError(
                f"none of the joints of {split.annotation_file} ({', '.join(split.skeleton.names)})"
                f" is one of {', '.join(skeleton.names)}; it has nothing to teach"
            )
    return Mixture(tuple(splits), weights, skeleton)


def match(
    keypoints: np.ndarray, visible: np.ndarray, split: Split, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """Joints (…, k, 2) and (…, k) of a split as joints of `skeleton`, matched by their names."""
    sources, known = _matches(split.skeleton, skeleton)
    return keypoints[..., sources, :] * known[:, None], visible[..., sources] * known


@functools.lru_cache(maxsize=64)
def _matches(source, target):
    """For each joint of `target` its number in `source`, and 1 where `source` has it, else 0."""
    names = _names(source)
    places = [names.index(name) if name in names else -1 for name in _names(target)]
    return np.maximum(places, 0), (np.array(places) >= 0).astype(np.float32)


def _names(skeleton):
    return [SAME_JOINTS.get(name, name) for name in skeleton.names]


def shares(mixture: Mixture, batch_size: int) -> tuple[int, ...]:
    """How many people of a batch come from each split, rounded so that they fill the batch."""
    ideal = np.array(mixture.weights) / sum(mixture.weights) * batch_size
    counts = np.floor(ideal).astype(int)
    most_lost = np.argsort(counts - ideal, kind="stable")[: batch_size - counts.sum()]
    counts[most_lost] += 1
    if min(counts) < 1:
        raise ValueError(
            f"batches of {batch_size} with the weights {mixture.weights} have no room for people "
            f"of {mixture.splits[int(np.argmin(counts))].annotation_file}; use larger batches or "
            "other weights"
        )
    return tuple(counts.tolist())


def steps_per_epoch(mixture: Mixture, batch_size: int) -> int:
    """Batches until every person of the first split has been used once."""
    return max(1, len(mixture.splits[0]) // shares(mixture, batch_size)[0])


def row(mixture: Mixture, batch_size: int, seed: int, place: int) -> int:
    """The row at `place` in the stream of training people; batch t starts at t * batch_size.

    Each split repeats without end, reshuffled every time.
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

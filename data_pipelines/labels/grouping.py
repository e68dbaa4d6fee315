"""Splits in which neighbors stay together: frames of a film, copies of a photograph."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.labels import columns
from data_pipelines.labels.columns import Image, Note
from data_pipelines.messages import choices

NUMBER = re.compile(r"[\s_.\-(]*\d+\)?$")  # at the end of a name: that of a frame
DIGITS = re.compile(r"(\d+)")
TRAIN = "train"
LARGEST_SHARE = 0.25  # of all instances, in a film that is taken as a whole for a smaller share


@dataclasses.dataclass(frozen=True)
class Shares:
    """How images are split: parts of all that go to val and test, and by what.

    `by` is "tool" for the tool's own splits where it has some, else groups; "group" for films and
    scenes; "image" for each image on its own.
    """

    val: float = 0.1
    test: float = 0.0
    by: str = "tool"
    seed: int = 0


CHOICES = ("tool", "group", "image")


def check(shares: Shares) -> None:
    """Raises ValueError where the shares leave nothing to train on."""
    if shares.by not in CHOICES:
        raise ValueError(choices.unknown("way to split", shares.by, CHOICES))
    if not (0 <= shares.val < 1 and 0 <= shares.test < 1 and shares.val + shares.test < 1):
        raise ValueError(
            f"the shares of val ({shares.val:g}) and test ({shares.test:g}) must be at least 0 and "
            "leave something to train on"
        )


def split(
    images: Sequence[Image], counts: np.ndarray, shares: Shares
) -> tuple[list[str], list[str], list[Note]]:
    """The split and the group of every image, and what was guessed.

    `counts` (m,) is the number of instances of each image.
    """
    check(shares)
    groups = [group_of(image) for image in images]
    own = [image.split for image in images]
    chosen = [name or TRAIN for name in own]
    if shares.by == "tool" and TRAIN in chosen and {"val", "test"} & set(chosen):
        return chosen, groups, _leaks(chosen, groups)
    if shares.by == "image":
        groups = [image.name for image in images]
    members = {}
    for row in sorted(range(len(images)), key=lambda row: _natural(images[row].name)):
        members.setdefault(groups[row], []).append(row)
    chosen, notes = [TRAIN] * len(images), []
    for name, share in (("test", shares.test), ("val", shares.val)):
        rows, note = _take(members, counts, share * counts.sum(), shares.seed)
        for row in rows:
            chosen[row] = name
        notes += [Note(columns.GUESSED, f"{name} is {what}", (where,)) for what, where in note]
    return chosen, groups, notes


def group_of(image: Image) -> str:
    """The film of an image, else its folder and its name without the number at the end."""
    if image.group:
        return image.group
    path = pathlib.PurePosixPath(image.name.replace("\\", "/"))
    stem = NUMBER.sub("", path.stem)
    return f"{path.parent}/{stem}" if stem != path.stem else str(path)


def _natural(name):
    """A key that sorts frame_10 after frame_9."""
    return [int(part) if part.isdigit() else part for part in DIGITS.split(name)]


def _take(members, counts, wanted, seed):
    """Removes groups from `members` with about `wanted` instances; returns their images."""
    if wanted <= 0 or not members:
        return [], []
    weights = {group: int(counts[rows].sum()) for group, rows in members.items()}
    order = np.random.default_rng(seed).permutation(len(members))
    names = [list(members)[place] for place in order]
    most = max(2 * wanted, LARGEST_SHARE * sum(weights.values()))
    small = [name for name in names if 0 < weights[name] <= most]
    if len(members) == 1 or not small:
        return _cut(members, weights, counts, wanted)
    taken, total = [], 0
    for name in small:
        closer = abs(total + weights[name] - wanted) < abs(total - wanted)
        if len(members) > 1 and (closer or not taken):
            taken += members.pop(name)
            total += weights[name]
    return taken, []


def _cut(members, weights, counts, wanted):
    """The end of the largest group: with one film, the last frames are the least alike."""
    largest = max(weights, key=weights.get)
    rows = members[largest]
    if len(rows) < 2:
        return [], [("empty: there are too few images", largest)]
    after = np.cumsum(counts[rows][::-1])
    count = int(np.clip(np.searchsorted(after, wanted) + 1, 1, len(rows) - 1))
    members[largest] = rows[:-count]
    what = f"the end of one film or folder, {count} of its {len(rows)} images, for lack of others"
    return rows[-count:], [(what, largest)]


def _leaks(chosen, groups):
    """The groups that are in several of the tool's splits."""
    splits: Mapping[str, set] = {}
    for name, group in zip(chosen, groups, strict=True):
        splits.setdefault(group, set()).add(name)
    leaking = tuple(group for group, names in splits.items() if len(names) > 1)
    what = "films or scenes that the tool put into several splits, so that scores flatter"
    return [Note(columns.GUESSED, what, leaking)] if leaking else []

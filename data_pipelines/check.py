"""What is wrong with a dataset's files, and what is in them, before anyone trains on them."""

import collections
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Callable, Iterable

import numpy as np

from data_pipelines import geometry, images
from data_pipelines.readers import coco_format, custom
from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import Split

SHOWN = 5  # examples of each problem
BAR = 40  # characters of a histogram's longest bar
# Joints labelled a little outside of their box are usual; COCO has them.
BOX_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong, in words, and all places where it is; serious ones spoil a training."""

    what: str
    places: tuple[str, ...]
    serious: bool

    def __str__(self) -> str:
        shown = ", ".join(self.places[:SHOWN])
        more = ", …" if len(self.places) > SHOWN else ""
        kind = "error" if self.serious else "look at"
        return f"{kind}: {len(self.places)} {self.what}: {shown}{more}"


def find_problems(split: Split, progress: Callable[[Iterable], Iterable]) -> list[Problem]:
    """Everything suspicious about a split that could be read; decodes each of its images once.

    `progress` wraps the iteration over images.
    """
    found = check_images(split, progress)
    found += check_annotations(split)
    found += check_names(split.skeleton)
    found += check_sides(split)
    return [problem for problem in found if problem.places]


def check_images(split: Split, progress: Callable[[Iterable], Iterable]) -> list[Problem]:
    """Images that are missing, can't be decoded or have another size than the file says."""
    stated = _stated_sizes(split)
    missing, unreadable, different = [], [], []
    paths = dict.fromkeys(os.fsdecode(path) for path in split.columns["image_path"].tolist())
    for path in progress(paths):
        if not os.path.exists(path):
            missing.append(path)
            continue
        try:
            size = images.read_image(path).shape[:2]
        except ValueError as error:
            unreadable.append(str(error))
            continue
        if stated.get(path, size) != size:
            height, width = stated[path]
            different.append(f"{path} is {size[0]}x{size[1]}, stated {height:g}x{width:g}")
    return [
        Problem("images are missing", tuple(missing), serious=True),
        Problem("images can't be read", tuple(unreadable), serious=True),
        Problem("images have another size than stated", tuple(different), serious=True),
    ]


def _stated_sizes(split: Split) -> dict[str, tuple]:
    if "image_id" not in split.columns:
        return {}  # MPII's files say none
    file = coco_format.load(pathlib.Path(split.annotation_file))
    sizes = dict(zip(file.images["id"].tolist(), map(tuple, file.images["size"]), strict=True))
    ids = split.columns["image_id"].tolist()
    paths = (os.fsdecode(path) for path in split.columns["image_path"].tolist())
    return {path: sizes[number] for path, number in zip(paths, ids, strict=True)}


def check_annotations(split: Split) -> list[Problem]:
    """Ids that clash, boxes and areas that are empty or outside, joints outside of their boxes."""
    if "image_id" not in split.columns:
        return [_joints_outside(split)]
    file = coco_format.load(pathlib.Path(split.annotation_file))
    found = coco_format.annotations(file, split.skeleton.num_joints)
    ids, boxes = found["id"], found["boxes"]
    sizes = file.images["size"][found["image_row"]]
    person = ~found["crowd"]
    far = boxes[:, :2] + boxes[:, 2:]
    outside = ((boxes[:, :2] < -1) | (far > sizes[:, ::-1] + 1)).any(axis=1) & person
    empty = ((boxes[:, 2:] <= 0).any(axis=1)) & person
    flags = found["joints"][..., 2]
    labelled = (flags > 0).sum(axis=1)
    counts = found["num_keypoints"]
    places = (found["joints"][..., :2] < 0) | (found["joints"][..., :2] > sizes[:, None, ::-1])
    beyond = (places.any(axis=-1) & (flags > 0)).any(axis=1)
    zero = "annotations have the id 0, a miss to pycocotools"
    return [
        Problem("image ids are used twice", _twice(file.images["id"]), serious=True),
        Problem("file names are listed twice", _twice(np.array(file.names, str)), serious=True),
        Problem("annotation ids are used twice", _twice(ids), serious=True),
        Problem(zero, _ids(ids, ids == 0), serious=True),
        Problem("boxes are empty", _ids(ids, empty), serious=False),
        Problem("boxes reach outside of their image", _ids(ids, outside), serious=False),
        Problem("areas are zero", _ids(ids, (found["area"] <= 0) & person), serious=False),
        Problem("people have joints outside of the image", _ids(ids, beyond), serious=False),
        Problem(
            "people have visibilities other than 0, 1 and 2",
            _ids(ids, ~np.isin(flags, (0, 1, 2)).all(axis=1)),
            serious=True,
        ),
        Problem(
            "people have another num_keypoints than labelled joints",
            _ids(ids, (counts >= 0) & (counts != labelled)),
            serious=False,
        ),
        _joints_outside(split),
    ]


def _joints_outside(split: Split) -> Problem:
    columns = split.columns
    size = columns["size"][:, None, ::-1] / geometry.BOX_PADDING * (1 + 2 * BOX_MARGIN)
    offset = np.abs(columns["keypoints"] - columns["center"][:, None])
    outside = (offset > size / 2 + 1).any(axis=-1) & (columns["visible"] > 0)
    ids = columns.get("annotation_id", np.arange(len(split)))
    # Half of the joints: MPII's boxes are guessed from the body's height, arms often reach out.
    many = outside.sum(axis=1) > 0.5 * columns["visible"].sum(axis=1)
    what = "people have most of their joints outside of their box"
    return Problem(what, _ids(ids, many), serious=False)


def _ids(ids: np.ndarray, chosen: np.ndarray) -> tuple[str, ...]:
    return tuple(map(str, ids[chosen].tolist()))


def _twice(values: np.ndarray) -> tuple[str, ...]:
    names, counts = np.unique(values, return_counts=True)
    return tuple(map(str, names[counts > 1].tolist()))


def check_names(skeleton: Skeleton) -> list[Problem]:
    """Flip pairs that aren't left and right of the same name, and such names without a pair."""
    named = {frozenset(pair) for pair in custom.mirrored_names(skeleton.names)}
    used = {frozenset(pair) for pair in skeleton.flip_pairs}
    wrong, missing = _pair_names(skeleton, used - named), _pair_names(skeleton, named - used)
    return [
        Problem("flip pairs don't match their names", wrong, serious=True),
        Problem("left and right joints aren't paired", missing, serious=True),
    ]


def _pair_names(skeleton: Skeleton, pairs: set[frozenset]) -> tuple[str, ...]:
    ordered = sorted(map(sorted, pairs))
    return tuple("-".join(skeleton.names[joint] for joint in pair) for pair in ordered)


def check_sides(split: Split) -> list[Problem]:
    """Flip pairs whose left and right seem to be exchanged, in most of the people who show it.

    Someone who shows the nose looks at us: their left is on the image's right. And left is on the
    same side for all of a person's pairs, more often than not.
    """
    skeleton, columns = split.skeleton, split.columns
    if not skeleton.flip_pairs:
        return []
    pairs = [
        pair[::-1] if custom.is_right(skeleton.names[pair[0]]) else pair
        for pair in skeleton.flip_pairs
    ]
    left, right = np.array(pairs).T
    shown = (columns["visible"][:, left] > 0) & (columns["visible"][:, right] > 0)
    apart = columns["keypoints"][:, left, 0] - columns["keypoints"][:, right, 0]
    clear = shown & (np.abs(apart) > 0.05 * columns["size"][:, 1:])
    sides = np.sign(apart) * clear  # (n, pairs): 1 where left is on the image's right
    others = np.sign(sides.sum(axis=1, keepdims=True) - sides)
    names = [f"{skeleton.names[a]}-{skeleton.names[b]}" for a, b in zip(left, right, strict=True)]
    against = _disagreeing(sides, others)
    swapped = tuple(name for name, wrong in zip(names, against, strict=True) if wrong)
    what = "flip pairs look exchanged, seen by the other pairs"
    problems = [Problem(what, swapped, serious=False)]
    if "nose" in skeleton.names:
        nose = columns["visible"][:, skeleton.names.index("nose")] > 0
        facing = np.sign(sides.sum(axis=1))[nose]
        mirrored = len(facing) > 0 and (facing < 0).sum() > (facing > 0).sum()
        what = "of the sides look exchanged in people whose nose is seen"
        problems.append(Problem(what, ("all",) if mirrored else (), serious=False))
    return problems


def _disagreeing(sides: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each pair whether most people who show it have it against their other pairs."""
    agree, against = (sides * others > 0).sum(axis=0), (sides * others < 0).sum(axis=0)
    return against > agree


def summarize(split: Split) -> str:
    """Counts and histograms of a split's people."""
    columns = split.columns
    visible = columns["visible"] > 0
    _, people = np.unique(columns["image_path"], return_counts=True)
    dropped = ", ".join(f"{count} {reason}" for reason, count in split.dropped.items() if count)
    by_joint = dict(zip(split.skeleton.names, visible.sum(axis=0).tolist(), strict=True))
    parts = [
        f"{split.annotation_file}\n{len(split)} people to use in {len(people)} images; "
        f"dropped: {dropped or 'nobody'}; {int(visible.sum())} joints labelled",
        "labelled joints of a person\n"
        + _histogram(visible.sum(axis=1), split.skeleton.num_joints),
        "people in an image\n" + _histogram(people, bins=10),
        "height of the padded box, pixels\n" + _histogram(columns["size"][:, 0], bins=10),
        "how often a joint is labelled\n" + bars(by_joint),
    ]
    return "\n\n".join(parts)


def _histogram(values: np.ndarray, bins: int) -> str:
    low, high = float(values.min()), float(values.max())
    whole = np.issubdtype(values.dtype, np.integer)
    if whole and high - low < 2 * bins:
        counts = collections.Counter(values.tolist())
        return bars({str(n): counts[n] for n in range(int(low), int(high) + 1)})
    counts, edges = np.histogram(values, bins=bins)
    names = [f"{a:.0f}-{b:.0f}" for a, b in itertools.pairwise(edges)]
    return bars(dict(zip(names, counts.tolist(), strict=True)))


def bars(counts: dict[str, int]) -> str:
    """A horizontal bar per count."""
    width, most = max(map(len, counts)), max(1, *counts.values())
    return "\n".join(
        f"  {name:>{width}}  {'█' * round(BAR * count / most):{BAR}} {count}"
        for name, count in counts.items()
    )

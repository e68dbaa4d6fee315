"""What is wrong with a dataset's files, and what is in them, before training on them.

What makes a file unusable is an error when it is read, for `prepare_data check` and for training
alike; here are the problems that leave it readable.
"""

import collections
import dataclasses
import itertools
import os
from collections.abc import Callable, Iterable

import numpy as np

from data_pipelines import geometry, images
from data_pipelines.messages import sizes
from data_pipelines.readers import joint_names
from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import IMAGE_SIZE, Split

ERROR, REPAIR, LOOK_AT = "error", "repair", "look at"
SHOWN = 5  # examples of each problem
BAR = 40  # characters of a histogram's longest bar
# Joints labeled a little outside of their box are usual; COCO has them.
BOX_MARGIN = 0.1


@dataclasses.dataclass(frozen=True)
class Problem:
    """Something wrong, in words, and all places where it is.

    An ERROR spoils a training; a REPAIR is an entry of the file that is wrong, so that it is left
    out; LOOK_AT may be all right.
    """

    what: str
    places: tuple[str, ...]
    kind: str

    @property
    def serious(self) -> bool:
        """Whether it should be repaired before a training."""
        return self.kind != LOOK_AT

    def __str__(self) -> str:
        shown = ", ".join(self.places[:SHOWN])
        more = ", …" if len(self.places) > SHOWN else ""
        return f"{self.kind}: {len(self.places)} {self.what}: {shown}{more}"


def find_problems(split: Split, progress: Callable[[Iterable], Iterable]) -> list[Problem]:
    """Everything suspicious about a split that could be read; decodes each of its images once.

    `progress` wraps the iteration over images.
    """
    problems = check_images(split, progress)
    problems += [Problem(what, tuple(names), REPAIR) for what, names in split.defects.items()]
    problems += check_annotations(split)
    problems += check_names(split.skeleton)
    problems += check_sides(split)
    return [problem for problem in problems if problem.places]


def check_images(split: Split, progress: Callable[[Iterable], Iterable]) -> list[Problem]:
    """Images that are missing, can't be decoded or have another size than the file says."""
    stated = _stated_sizes(split)
    missing, unreadable, different, turned, rotated = [], [], [], [], []
    paths = dict.fromkeys(os.fsdecode(path) for path in split.columns["image_path"].tolist())
    for path in progress(paths):
        if not os.path.exists(path):
            missing.append(path)
            continue
        size = stated.get(path)
        try:
            data = images.read_bytes(path)
            image, was_turned = images.decode_as_stated(data, path, size)
        except ValueError as error:
            unreadable.append(str(error))
            continue
        if was_turned:
            turned.append(path)
        elif size and size != image.shape[:2]:
            real = sizes.pixels(image.shape[:2])
            different.append(f"{path} has {real}, stated {sizes.text(size)}")
        elif images.has_orientation(data, path):
            rotated.append(path)
    ignored = "images have an EXIF orientation and are used as stored, which fits their stated size"
    what = (
        "images are stored sideways; they are turned to their stated size as EXIF orientation says"
    )
    return [
        Problem("images are missing", tuple(missing), kind=ERROR),
        Problem("images can't be read", tuple(unreadable), kind=ERROR),
        Problem("images have another size than stated", tuple(different), kind=ERROR),
        Problem(what, tuple(turned), kind=LOOK_AT),
        Problem(ignored, tuple(rotated), kind=LOOK_AT),
    ]


def _stated_sizes(split: Split) -> dict[str, tuple[int, int]]:
    """The (height, width) of each image by its path; MPII's files state none."""
    if IMAGE_SIZE not in split.columns:
        return {}
    sizes = split.columns[IMAGE_SIZE].astype(int).tolist()
    paths = (os.fsdecode(path) for path in split.columns["image_path"].tolist())
    return dict(zip(paths, map(tuple, sizes), strict=True))


def check_annotations(split: Split) -> list[Problem]:
    """Repairs while reading, names used twice, and what lies outside of its image or box."""
    truth = split.truth
    if truth is None:
        return [_joints_outside(split)]
    sizes = truth.image_sizes[truth.image_rows]
    people = ~truth.crowds
    near, far = truth.boxes[:, :2], truth.boxes[:, :2] + truth.boxes[:, 2:]
    outside = ((near < -1) | (far > sizes[:, ::-1] + 1)).any(axis=1)
    empty = (truth.boxes[:, 2:] <= 0).any(axis=1)
    points = truth.keypoints
    away = ((points < 0) | (points > sizes[:, None, ::-1])).any(axis=-1)
    beyond = (away & (truth.visibility > 0)).any(axis=1)
    repeated = "annotation ids are used twice; other tools need unique ones"
    found = {
        "file names are listed twice": _twice(truth.image_names),
        repeated: _twice([number for number in truth.annotation_ids if number is not None]),
        "annotations have the id 0, a miss to pycocotools": _names(truth, _zero_ids(truth)),
        "boxes are empty": _names(truth, empty & people),
        "boxes reach outside of their image": _names(truth, outside & people),
        "people have joints outside of the image": _names(truth, beyond),
        **{f"annotations: {what}": tuple(names) for what, names in truth.notes.items()},
    }
    problems = [Problem(what, places, kind=LOOK_AT) for what, places in found.items()]
    return [*problems, _joints_outside(split)]


def _zero_ids(truth):
    return np.array([number == 0 for number in truth.annotation_ids], bool)


def _names(truth, chosen):
    """What messages call the chosen annotations: their ids, or their image where they have none."""
    rows = np.flatnonzero(chosen).tolist()
    images = truth.image_rows[rows].tolist()
    ids = [truth.annotation_ids[row] for row in rows]
    named = zip(ids, images, strict=True)
    return tuple(
        f"one of {truth.image_names[image]}" if number is None else str(number)
        for number, image in named
    )


def _twice(values):
    counts = collections.Counter(values)
    return tuple(str(value) for value, count in counts.items() if count > 1)


def _joints_outside(split: Split) -> Problem:
    columns = split.columns
    size = columns["size"][:, None, ::-1] / geometry.BOX_PADDING * (1 + 2 * BOX_MARGIN)
    offset = np.abs(columns["keypoints"] - columns["center"][:, None])
    outside = (offset > size / 2 + 1).any(axis=-1) & (columns["visible"] > 0)
    # Half of the joints: MPII's boxes are guessed from the body's height, arms often reach out.
    many = outside.sum(axis=1) > 0.5 * columns["visible"].sum(axis=1)
    what = "people have most of their joints outside of their box"
    if split.truth is None or "truth_row" not in columns:
        names = tuple(f"row {row}" for row in np.flatnonzero(many).tolist())
        return Problem(what, names, kind=LOOK_AT)
    chosen = np.zeros(len(split.truth), bool)
    chosen[columns["truth_row"][many]] = True
    return Problem(what, _names(split.truth, chosen), kind=LOOK_AT)


def check_names(skeleton: Skeleton) -> list[Problem]:
    """Joints that are named for a side and have no flip pair."""
    lonely = joint_names.unpaired(skeleton.names, skeleton.flip_pairs)
    what = "joints are named for the left or the right and have no pair"
    return [Problem(what, lonely, kind=LOOK_AT)]


def check_sides(split: Split) -> list[Problem]:
    """Flip pairs whose left and right seem to be swapped in most people who show both joints.

    A visible nose means that the person faces the camera: their left is on the image's right. And
    left is on the same side for all of a person's pairs, more often than not.
    """
    skeleton, columns = split.skeleton, split.columns
    if not skeleton.flip_pairs:
        return []
    pairs = [joint_names.left_first(skeleton.names, pair) for pair in skeleton.flip_pairs]
    left, right = np.array(pairs).T
    shown = (columns["visible"][:, left] > 0) & (columns["visible"][:, right] > 0)
    apart = columns["keypoints"][:, left, 0] - columns["keypoints"][:, right, 0]
    clear = shown & (np.abs(apart) > 0.05 * columns["size"][:, 1:])
    sides = np.sign(apart) * clear  # (n, pairs): 1 where left is on the image's right
    others = np.sign(sides.sum(axis=1, keepdims=True) - sides)
    names = [f"{skeleton.names[a]}-{skeleton.names[b]}" for a, b in zip(left, right, strict=True)]
    against = _disagreeing(sides, others)
    swapped = tuple(name for name, wrong in zip(names, against, strict=True) if wrong)
    what = "flip pairs look swapped, compared with the other pairs"
    problems = [Problem(what, swapped, kind=LOOK_AT)]
    if "nose" in skeleton.names:
        nose = columns["visible"][:, skeleton.names.index("nose")] > 0
        facing = np.sign(sides.sum(axis=1))[nose]
        mirrored = len(facing) > 0 and (facing < 0).sum() > (facing > 0).sum()
        what = "split has left and right swapped in most people with a visible nose"
        problems.append(Problem(what, ("all",) if mirrored else (), kind=LOOK_AT))
    return problems


def _disagreeing(sides: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each pair whether it disagrees with the other pairs in most people who show it."""
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
        f"dropped: {dropped or 'none'}; {int(visible.sum())} joints labeled",
        "labeled joints of a person\n" + _histogram(visible.sum(axis=1), split.skeleton.num_joints),
        "people in an image\n" + _histogram(people, bins=10),
        "height of the padded box, pixels\n" + _histogram(columns["size"][:, 0], bins=10),
        "how often a joint is labeled\n" + bars(by_joint),
    ]
    return "\n\n".join(parts)


def _histogram(values: np.ndarray, bins: int) -> str:
    low, high = float(values.min()), float(values.max())
    whole = np.issubdtype(values.dtype, np.integer)
    if whole and high - low < 2 * bins:
        counts = collections.Counter(values.tolist())
        return bars({str(n): counts[n] for n in range(int(low), int(high) + 1)})
    # Bins of less than a pixel would have the same names.
    counts, edges = np.histogram(values, bins=max(1, min(bins, int(high - low))))
    names = [f"{a:.0f}-{b:.0f}" for a, b in itertools.pairwise(edges)]
    return bars(dict(zip(names, counts.tolist(), strict=True)))


def bars(counts: dict[str, int]) -> str:
    """A horizontal bar per count."""
    width, most = max(map(len, counts)), max(1, *counts.values())
    return "\n".join(
        f"  {name:>{width}}  {'█' * round(BAR * count / most):{BAR}} {count}"
        for name, count in counts.items()
    )

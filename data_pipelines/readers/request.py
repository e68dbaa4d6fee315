"""What a reader is asked for: every reader takes one `Request`."""

import dataclasses
from typing import Any

ANNOTATED = "gt"  # the boxes of a request that wants the annotated people


@dataclasses.dataclass(frozen=True)
class Joints:
    """What a config says of the joints; an empty field is read from the file or told from names.

    `flip_pairs` and `limbs` are pairs of joints, by their numbers from 0.
    """

    names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    upper_body: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Request:
    """The people of one split, from the files below `root`.

    `boxes` is "gt" for the annotated people, or a file of detections, of which those with a score
    of at least `threshold` are read. The other fields are for datasets whose layout is yours to
    choose: `annotations` and `images` are places below the root or absolute, `category` names the
    category with the joints. Empty fields stand for the dataset's own.
    """

    root: str
    split: str
    boxes: str = ANNOTATED
    threshold: float = 0.0
    annotations: str = ""
    images: str = ""
    category: str = ""
    joints: Joints = Joints()


def from_config(data: Any, split: str, *, boxes: str, threshold: float) -> Request:
    """The request that `data`, the config's section of that name, makes for a split."""
    return Request(
        root=data.root,
        split=split,
        boxes=boxes,
        threshold=threshold,
        annotations=data.annotations.get(split, ""),
        images=data.images.get(split, ""),
        category=data.category,
        joints=Joints(**{name: _tuples(value) for name, value in data.skeleton.items()}),
    )


def _tuples(value):
    """Lists, as a config read from JSON has them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value

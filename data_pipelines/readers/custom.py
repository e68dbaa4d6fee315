"""Your own dataset: any files in COCO's keypoint format, with any joints.

By default, below the root: annotations/{train,val,test}.json and their images in images. Columns
beside the example's: those of `people`.
"""

import dataclasses
import logging
import pathlib
import re
from typing import Any

from data_pipelines import skeletons, splits
from data_pipelines.readers import coco_format, people
from data_pipelines.readers.coco_format import KeypointFile
from data_pipelines.skeletons import Skeleton

logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
HELP = """A custom dataset wants files in COCO's keypoint format: below its root
annotations/{train,val,test}.json and images, or wherever config.data.annotations.<split> and
config.data.images.<split> say."""
# Of OKS, for joints that our datasets lack; COCO's go from 0.025 (eyes) to 0.107 (hips).
SIGMA = 0.05
LEFT = re.compile(r"left|(?<![a-z])l(?![a-z])")
RIGHT = re.compile(r"right|(?<![a-z])r(?![a-z])")
UPPER = re.compile(
    r"(?<![a-z])(head|face|nose|eye|ear|neck|thorax|shoulder|elbow|wrist|hand)(?![a-z])"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where one split's files are, below the root or absolute, and whom they are of.

    An empty `category` is the only one that has joints.
    """

    annotations: str
    images: str
    category: str = ""


@dataclasses.dataclass(frozen=True)
class Joints:
    """What a config says of the joints; an empty field is read from the file or derived from names.

    `flip_pairs` and `limbs` are pairs of joints, by their numbers from 0.
    """

    names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    limbs: tuple[tuple[int, int], ...] = ()
    sigmas: tuple[float, ...] = ()
    upper_body: tuple[int, ...] = ()


def options(data: Any, split: str) -> dict:
    """What `data`, the config's section of that name, says of a split, as `read` takes it."""
    if split not in SPLITS:
        return {}
    layout = Layout(data.annotations[split], data.images[split], data.category)
    return {"layout": layout, "joints": Joints(**data.skeleton)}


def read(
    root: str, split: str, layout: Layout | None = None, joints: Joints | None = None
) -> splits.Split:
    """The people of one split who have at least one labelled joint and a box that isn't empty."""
    file, folder, category = _open(root, split, layout, annotated=True)
    skeleton = make_skeleton(file, category, joints or Joints())
    return people.annotated(file, folder, skeleton, split, category=category["name"])


def read_detections(
    root: str,
    split: str,
    detections: str,
    threshold: float,
    layout: Layout | None = None,
    joints: Joints | None = None,
) -> splits.Split:
    """The boxes that a detector found in a split's images; see `people.detected`."""
    file, folder, category = _open(root, split, layout, annotated=False)
    skeleton = make_skeleton(file, category, joints or Joints())
    options = {"detections": detections, "threshold": threshold, "category": category["name"]}
    return people.detected(file, folder, skeleton, split, **options)


def make_skeleton(file: KeypointFile, category: dict, joints: Joints) -> Skeleton:
    """The skeleton of a category: `joints` where they say something, else what the file says.

    Joints called left_… and right_… (or l_…, …_left and so on) are each other's mirror images.
    Sigmas of joints that COCO has are COCO's, of others SIGMA.
    """
    names = joints.names or tuple(category.get("keypoints") or ())
    if not names:
        raise ValueError(
            f"{file.path}: the category {category['name']!r} doesn't name its joints (a list "
            "'keypoints'); name them there or in config.data.skeleton.names"
        )
    _check_joints(file.path, len(names), joints)
    known = dict(zip(skeletons.COCO.names, skeletons.COCO.sigmas, strict=True))
    known |= dict(zip(skeletons.CROWDPOSE.names, skeletons.CROWDPOSE.sigmas, strict=True))
    guessed = [name for name in names if name not in known]
    if guessed and not joints.sigmas:
        logger.info("OKS with sigma %g for: %s", SIGMA, ", ".join(guessed))
    upper = [joint for joint, name in enumerate(names) if UPPER.search(name.lower())]
    return Skeleton(
        names=names,
        flip_pairs=joints.flip_pairs or mirrored_names(names),
        limbs=joints.limbs or _file_limbs(category, len(names)),
        sigmas=joints.sigmas or tuple(known.get(name, SIGMA) for name in names),
        upper_body=joints.upper_body or tuple(upper),
    )


def mirrored_names(names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of joints whose names differ in left and right (or l and r) alone, left ones first."""
    places = {name.lower(): joint for joint, name in enumerate(names)}
    mirrored = {name: LEFT.sub(_to_right, name) for name in places}
    pairs = [(places[left], places.get(right)) for left, right in mirrored.items() if left != right]
    return tuple(pair for pair in pairs if pair[1] is not None)


def is_right(name: str) -> bool:
    """Whether a joint's name says that it is one of the right side."""
    return RIGHT.search(name.lower()) is not None


def _to_right(match: re.Match) -> str:
    return {"left": "right", "l": "r"}[match.group()]


def _file_limbs(category: dict, count: int) -> tuple[tuple[int, int], ...]:
    """The category's limbs, which count joints from 1, without those of joints that aren't there.

    CrowdPose's files and others made from COCO's carry COCO's limbs; they are of use to nobody.
    """
    limbs = [(a - 1, b - 1) for a, b in category.get("skeleton") or ()]
    inside = [limb for limb in limbs if min(limb) >= 0 and max(limb) < count]
    if len(inside) < len(limbs):
        logger.warning(
            "the category %r has limbs of joints that it lacks; no limb of it is drawn "
            "(config.data.skeleton.limbs says which there are)",
            category["name"],
        )
        return ()
    return tuple(limbs)


def _check_joints(path: pathlib.Path, count: int, joints: Joints) -> None:
    if joints.sigmas and len(joints.sigmas) != count:
        raise ValueError(
            f"config.data.skeleton.sigmas has {len(joints.sigmas)} numbers for the {count} joints "
            f"of {path}"
        )
    for name in ("flip_pairs", "limbs"):
        pairs = getattr(joints, name)
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise ValueError(
                f"config.data.skeleton.{name} is {pairs}; expected pairs of joints, e.g. ((1, 2),)"
            )
    numbers = (*sum(joints.flip_pairs, ()), *sum(joints.limbs, ()), *joints.upper_body)
    wrong = [number for number in numbers if not 0 <= number < count]
    if wrong:
        raise ValueError(
            f"config.data.skeleton names the joint {wrong[0]}; {path} has {count}, counted from 0"
        )


def _open(
    root: str, split: str, layout: Layout | None, *, annotated: bool
) -> tuple[KeypointFile, pathlib.Path, dict]:
    """A split's file, its folder of images and the category of its people."""
    if split not in SPLITS:
        raise ValueError(
            f"unknown split {split!r} of a custom dataset; choose one of: {', '.join(SPLITS)}"
        )
    layout = layout or Layout(f"annotations/{split}.json", "images")
    path = splits.find(root, [layout.annotations], HELP)
    folder = splits.find_images(root, [layout.images], HELP)
    file = coco_format.load(path, annotated=annotated)
    return file, folder, _category(file, layout.category)


def _category(file: KeypointFile, name: str) -> dict:
    with_joints = [entry for entry in file.categories if entry.get("keypoints")]
    chosen = with_joints or list(file.categories)
    if name:
        chosen = [entry for entry in file.categories if entry.get("name") == name]
    if len(chosen) == 1 and "name" in chosen[0]:
        return chosen[0]
    found = ", ".join(str(entry.get("name")) for entry in file.categories)
    raise ValueError(
        f"{file.path} has the categories {found or '(none)'}; say in config.data.category which "
        f"of them the network learns (now {name!r})"
    )

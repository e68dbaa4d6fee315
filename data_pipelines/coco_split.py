"""Splits an annotation file in COCO's format by image, so that no image is in two of the parts.

A part may be limited to so many people, and its joints may be a choice of the file's, in another
order and under other names: `{"snout": "nose", "paw_left": "left_wrist"}`.
"""

import dataclasses
import json
import pathlib
import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines import ground_truth, json_files
from data_pipelines.ground_truth import Category, Truth
from data_pipelines.skeletons import Skeleton

TRAIN, VAL, TEST = "train", "val", "test"
GROUPS = ("image", "folder")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to split: the shares of the images that are held out, and how many people to train on.

    `people` limits the training people, 0 takes all; `by` says what stays together, an image or all
    images of a folder (a video, a cage, a day); `joints` maps new names to the file's.
    """

    val: float = 0.2
    test: float = 0.0
    people: int = 0
    by: str = "image"
    joints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self):
        if not (0 <= self.val < 1 and 0 <= self.test < 1 and self.val + self.test < 1):
            raise ValueError(
                f"the shares of val and test are {self.val} and {self.test}; expected numbers from "
                "0 on that leave something to train on"
            )
        if self.by not in GROUPS:
            raise ValueError(f"unknown group {self.by!r}; choose one of: {', '.join(GROUPS)}")
        if self.people < 0:
            raise ValueError(f"people is {self.people}; expected 0 (all) or more")


def split(path: pathlib.Path, category: str, plan: Plan) -> dict[str, dict]:
    """The annotation files of train, val and (with a share) test, ready to be written as JSON.

    People without any of the chosen joints stay, unlabeled, in the images that they are in. Raises
    ValueError where a part would have no people with labeled joints.
    """
    known = ground_truth.read(path, _skeleton_of, category=category)
    content = json_files.read_json(path, expected=dict)
    joints = dict(plan.joints) or {name: name for name in known.skeleton.names}
    order = _order(path, known.skeleton.names, joints)
    labeled = ~known.crowds & (known.visibility[:, order] > 0).any(axis=1)
    people = np.bincount(known.image_rows[labeled], minlength=len(known.image_ids))
    rows = _assign(known.image_names, people, plan)
    for name, own in rows.items():
        if not people[own].sum():
            raise ValueError(
                f"{path} has {len(people)} images with {people.sum()} people who have one of the "
                f"joints {', '.join(joints)}, of which none is left for {name}; lower the other "
                "shares, or label more images"
            )
    parts = {name: set(known.image_ids[own].tolist()) for name, own in rows.items()}
    return {name: _part(content, known, ids, joints, order) for name, ids in parts.items()}


def count(part: Mapping) -> tuple[int, int]:
    """The images of a part, and its people with labeled joints."""
    annotations = [x for x in part["annotations"] if x["num_keypoints"] and not x.get("iscrowd")]
    return len(part["images"]), len(annotations)


def parse_joints(text: str) -> dict[str, str]:
    """`snout=nose,left_wrist` as new names and the file's, {"snout": "nose", "left_wrist": …}."""
    pairs = [entry.partition("=") for entry in text.split(",") if entry]
    joints = {new.strip(): (old or new).strip() for new, _, old in pairs}
    if len(joints) < len(pairs):
        raise ValueError(f"the joints {text!r} have a name twice; expected new names to differ")
    return joints


def _skeleton_of(path: pathlib.Path, category: Category) -> Skeleton:
    names = category.fields.get("keypoints")
    if not isinstance(names, list) or not names or not all(isinstance(x, str) for x in names):
        raise ValueError(
            f"{path}: the category {category.name!r} doesn't name its joints (a list 'keypoints')"
        )
    return Skeleton(tuple(names), (), (), (), ())


def _order(path, names, joints):
    unknown = [name for name in joints.values() if name not in names]
    if unknown:
        raise ValueError(f"{path} has no joint {unknown[0]!r}; choose from: {', '.join(names)}")
    return [names.index(name) for name in joints.values()]


def _assign(names: Sequence[str], people: np.ndarray, plan: Plan) -> dict[str, np.ndarray]:
    """The rows of the images of each part."""
    keys = [
        posixpath.dirname(name) if plan.by == "folder" else row for row, name in enumerate(names)
    ]
    groups = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    group = np.array([groups[key] for key in keys], np.int64)
    if len(groups) < 2:
        raise ValueError(
            f"all images are in one {plan.by}, which can't be split; choose another group"
        )
    drawn = np.random.default_rng(plan.seed).permutation(len(groups))
    images = np.bincount(group, minlength=len(groups))[drawn]
    before = np.cumsum(images) - images  # in the order drawn: val, then test, then train
    val, test = plan.val * len(names), (plan.val + plan.test) * len(names)
    place = np.empty(len(groups), np.int64)
    place[drawn] = np.where(before < val, 0, np.where(before < test, 1, 2))
    rows = {
        name: np.flatnonzero(place[group] == number)
        for number, name in enumerate((VAL, TEST, TRAIN))
    }
    if plan.people:
        order = np.argsort(np.argsort(drawn)[group[rows[TRAIN]]], kind="stable")
        chosen = rows[TRAIN][order]
        total = np.cumsum(people[chosen])
        rows[TRAIN] = np.sort(chosen[total - people[chosen] < plan.people])
    wanted = {TRAIN: True, VAL: plan.val > 0, TEST: plan.test > 0}
    return {name: rows[name] for name, is_wanted in wanted.items() if is_wanted}


def _part(content, known: Truth, ids, joints, order):
    category = next(x for x in content["categories"] if x.get("id") == known.category_id)
    inside = [
        _chosen_joints(entry, order)
        for entry in content["annotations"]
        if entry.get("category_id") == known.category_id and entry.get("image_id") in ids
    ]
    places = {old: new for new, old in enumerate(order)}
    limbs = [
        [places[a - 1] + 1, places[b - 1] + 1]
        for a, b in category.get("skeleton") or []
        if a - 1 in places and b - 1 in places
    ]
    return {
        "images": [entry for entry in content["images"] if entry.get("id") in ids],
        "annotations": inside,
        "categories": [{**category, "keypoints": list(joints), "skeleton": limbs}],
    }


def _chosen_joints(entry, order):
    values = entry.get("keypoints") or [0, 0, 0] * (max(order) + 1)
    joints = [values[3 * joint : 3 * joint + 3] for joint in order]
    return {
        **{key: value for key, value in entry.items() if key != "segmentation"},
        "keypoints": [number for joint in joints for number in joint],
        "num_keypoints": sum(joint[2] > 0 for joint in joints),
    }


def write(parts: Mapping[str, dict], root: pathlib.Path) -> list[pathlib.Path]:
    """Writes annotations/<part>.json below `root`; returns the files."""
    from data_pipelines import files

    folder = root / "annotations"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, part in parts.items():
        written.append(folder / f"{name}.json")
        files.write_text(written[-1], json.dumps(part) + "\n")
    return written

"""Splits an annotation file in COCO's format by image, so that no image is in two of the parts.

The part to train on may be limited to so many people, and the joints may be a choice of the file's,
in another order and under other names: `{"snout": "nose", "paw_left": "left_wrist"}`.
"""

import dataclasses
import json
import pathlib
import posixpath
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines import files, ground_truth
from data_pipelines.ground_truth import Truth
from data_pipelines.messages import choices
from data_pipelines.readers import custom
from data_pipelines.readers.request import Joints

TRAIN, VAL, TEST = "train", "val", "test"
GROUPS = ("image", "folder")


@dataclasses.dataclass(frozen=True)
class Plan:
    """How to split: the shares of the images that are held out, and how many people to train on.

    `people` limits the people to train on, 0 takes all; `by` says what stays together, an image or
    all images of a folder (a video, a cage, a day); `joints` maps new names to the file's, {} keeps
    all.
    """

    val: float = 0.2
    test: float = 0.0
    people: int = 0
    by: str = "image"
    joints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    seed: int = 0

    def __post_init__(self):
        if not (0 < self.val < 1 and 0 <= self.test < 1 and self.val + self.test < 1):
            raise ValueError(
                f"the shares of val and test are {self.val} and {self.test}; expected a positive "
                "one of val, and that both together leave something to train on"
            )
        if self.by not in GROUPS:
            raise ValueError(choices.unknown("group", self.by, GROUPS))
        if self.people < 0:
            raise ValueError(f"people is {self.people}; expected 0, which takes all, or more")


def parse_joints(text: str) -> dict[str, str]:
    """`snout=nose,tail` as {"snout": "nose", "tail": "tail"}: new names and the file's."""
    pairs = [entry.partition("=") for entry in text.split(",") if entry]
    joints = {new.strip(): (old or new).strip() for new, _, old in pairs}
    if len(joints) < len(pairs) or not all(joints) or not all(joints.values()):
        raise ValueError(f"the joints {text!r} have an empty name or one twice; expected NEW=OLD,…")
    return joints


def split(path: pathlib.Path, category: str, plan: Plan) -> dict[str, dict]:
    """The annotation files of train, val and, where it has a share, test, ready to be written.

    An empty `category` is the only one that has joints. Whoever has none of the chosen joints stays
    in its image, unlabeled. Raises ValueError where a part would have no labeled people.
    """
    known = ground_truth.read(
        path, lambda *of_file: custom.make_skeleton(*of_file, Joints()), category=category
    )
    joints = dict(plan.joints) or {name: name for name in known.skeleton.names}
    order = _order(known, joints)
    labeled = ~known.crowds & (known.visibility[:, order] > 0).any(axis=1)
    people = np.bincount(known.image_rows[labeled], minlength=len(known.image_ids))
    rows = _assign(known, people, plan)
    empty = [name for name, own in rows.items() if not people[own].sum()]
    if empty:
        raise ValueError(
            f"{path} has {np.count_nonzero(people)} images with {people.sum()} people who are "
            f"labeled with one of {', '.join(joints.values())}; none is left for "
            f"{' and '.join(empty)}: change the shares or the seed, or label more images"
        )
    return {name: _part(known, own, joints, order) for name, own in rows.items()}


def write(parts: Mapping[str, dict], root: pathlib.Path) -> list[pathlib.Path]:
    """Writes annotations/<part>.json below `root`, which must not exist; returns the files."""
    written = {root / "annotations" / f"{name}.json": part for name, part in parts.items()}
    for file in written:
        if file.exists():
            raise ValueError(f"{file} exists already; choose another root, or remove it")
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for file, part in written.items():
        files.write_text(file, json.dumps(part) + "\n")
    return list(written)


def count(part: Mapping) -> tuple[int, int]:
    """The images of a part, and its people with labeled joints."""
    people = [x for x in part["annotations"] if x["num_keypoints"] and not x["iscrowd"]]
    return len(part["images"]), len(people)


def _order(known, joints):
    """The places of the chosen joints in the file."""
    names = known.skeleton.names
    unknown = [name for name in joints.values() if name not in names]
    if unknown:
        raise ValueError(
            f"{known.path} has no joint {unknown[0]!r}; {choices.advice(unknown[0], names)}"
        )
    return [names.index(name) for name in joints.values()]


def _assign(known: Truth, people: np.ndarray, plan: Plan) -> dict[str, np.ndarray]:
    """The rows of the images of each part; `people` (m,) are the labeled ones of each image."""
    names = known.image_names
    by_folder = plan.by == "folder"
    keys = [posixpath.dirname(name) if by_folder else row for row, name in enumerate(names)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    if len(numbers) < 2:
        raise ValueError(
            f"{known.path} has {len(names)} images in {len(numbers)} {plan.by}; expected two or "
            "more, of which one is held out"
        )
    group = np.array([numbers[key] for key in keys], np.int64)
    drawn = np.random.default_rng(plan.seed).permutation(len(numbers))
    rank = np.argsort(drawn)[group]  # (m,), the place of an image's group in the order drawn
    before = np.searchsorted(np.sort(rank), rank)  # how many images come before its group
    val, test = plan.val * len(names), (plan.val + plan.test) * len(names)
    part = np.where(before < val, VAL, np.where(before < test, TEST, TRAIN))
    rows = {name: np.flatnonzero(part == name) for name in (TRAIN, VAL, TEST)}
    if plan.people:
        order = rows[TRAIN][np.argsort(rank[rows[TRAIN]], kind="stable")]
        rows[TRAIN] = np.sort(_limited(order, people, plan.people))
    return rows if plan.test else {TRAIN: rows[TRAIN], VAL: rows[VAL]}


def _limited(rows: Sequence[int], people: np.ndarray, limit: int) -> np.ndarray:
    """Images from the first on, as long as they have no more than `limit` people together."""
    chosen, total = [], 0
    for row in rows:
        if total + people[row] <= limit:
            chosen.append(row)
            total += people[row]
    return np.array(chosen, np.int64)


def _part(known, rows, joints, order):
    inside = np.flatnonzero(np.isin(known.image_rows, rows))
    places = {old: new for new, old in enumerate(order, start=1)}
    limbs = [[places[a], places[b]] for a, b in known.skeleton.limbs if {a, b} <= places.keys()]
    category = {"id": known.category_id, "name": known.category, "keypoints": list(joints)}
    return {
        "images": [_image(known, row) for row in rows.tolist()],
        "annotations": [_annotation(known, row, order) for row in inside.tolist()],
        "categories": [{**category, "skeleton": limbs}],
    }


def _image(known, row):
    height, width = known.image_sizes[row].astype(int).tolist()
    names = {"id": int(known.image_ids[row]), "file_name": known.image_names[row]}
    return {**names, "width": width, "height": height}


def _annotation(known, row, order):
    shown = known.visibility[row, order]
    points = np.where(shown[:, None] > 0, known.keypoints[row, order], 0)
    joints = np.concatenate([points, shown[:, None]], axis=1)
    return {
        "id": row + 1,
        "image_id": int(known.image_ids[known.image_rows[row]]),
        "category_id": known.category_id,
        "bbox": known.boxes[row].tolist(),
        "area": float(known.areas[row]),
        "iscrowd": int(known.crowds[row]),
        "keypoints": joints.ravel().tolist(),
        "num_keypoints": int(np.count_nonzero(shown)),
    }

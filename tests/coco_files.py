"""Arbitrary files in COCO's keypoint format, for hypothesis, with what is known of their people.

`files()` draws files as tools really write them: several categories, ids of any kind, fields that
are missing, null or wrong, crowds, people without labeled joints, 1 to 60 annotations in an image,
1 to 30 joints. `flawed_files()` draws files with one flaw that no reader can repair, and
`plain_files()` files that pycocotools can read as they are.
"""

import dataclasses
import json
import pathlib
from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

CELL = 200  # pixels; every annotation has a square of its own, so that no two people are alike
COLUMNS = 8
MAX_ANNOTATIONS = 60  # in an image
NAN = float("nan")
CATEGORY = "thing"
SIDES = ("left", "right")


@dataclasses.dataclass(frozen=True, eq=False)
class CocoFile:
    """A file's contents and the truth about them.

    `document` is what the JSON holds. Of `category`, with the id `category_id` and the joints
    `names`, the rows of document["annotations"] in `counted` are those that AP counts, and those
    in `ignored` the crowds and people without labeled joints. All others must be dropped. `poses`
    (annotations, k, 2) has all joints of each row, labeled or not. `flaw` is a regular expression
    for the message about the file, empty where it must be read.
    """

    document: dict
    category: str
    category_id: int
    names: tuple[str, ...]
    counted: tuple[int, ...]
    ignored: tuple[int, ...]
    poses: np.ndarray
    flaw: str = ""

    def encoded(self) -> bytes:
        """The bytes of the file, with the tokens NaN and Infinity for such numbers."""
        return json.dumps(self.document).encode()

    def write(self, root: pathlib.Path, split: str = "val") -> pathlib.Path:
        """Writes a custom dataset below `root`, without its pictures; returns the file's path."""
        (root / "images").mkdir(parents=True, exist_ok=True)
        path = root / "annotations" / f"{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(self.encoded())
        return path


# What an annotation is. The first four are of the chosen category and have a box.
KINDS = (
    "counted",
    "crowd",
    "unlabeled",
    "no keypoints",
    "other joints",
    "no box",
    "other category",
)
IGNORED = ("crowd", "unlabeled", "no keypoints")
MISSING = object()  # the field is left out


def files() -> st.SearchStrategy[CocoFile]:
    """Files that must be read, however untidy they are."""
    return _files(st.sampled_from(KINDS), plain=False)


def plain_files() -> st.SearchStrategy[CocoFile]:
    """Files that pycocotools reads as they are: unique positive ids, all fields, right counts."""
    return _files(st.sampled_from(("counted", "crowd", "unlabeled")), plain=True)


@st.composite
def flawed_files(draw) -> CocoFile:
    """Files with one flaw that no reader can repair, named by `flaw`."""
    file = draw(files())
    flaw, spoil = draw(st.sampled_from(FLAWS))
    spoil(file)
    return dataclasses.replace(file, flaw=flaw)


@st.composite
def _files(draw, kinds, *, plain):
    joints = draw(st.integers(1, 30))
    counts = st.integers(1, MAX_ANNOTATIONS)
    per_image = counts.flatmap(lambda count: st.lists(kinds, min_size=count, max_size=count))
    images = draw(st.lists(per_image, min_size=1, max_size=3))
    images[0][0] = "counted"
    seed = draw(st.integers(0, 2**32 - 1))
    image_ids = draw(st.sampled_from(("small", "far apart") if plain else tuple(IMAGE_IDS)))
    ids = draw(st.sampled_from(("unique",) if plain else tuple(ANNOTATION_IDS)))
    category_id = draw(st.sampled_from((1, 3, 90) if plain else (1, 3, 0, -2, 90, 2.0)))
    return _make(images, joints, image_ids, ids, category_id, np.random.default_rng(seed), plain)


def _make(images, joints, image_ids, ids, category_id, rng, plain):
    names = _joint_names(joints, rng)
    own = {"id": category_id, "name": CATEGORY, "keypoints": list(names), "skeleton": []}
    categories = [own] if plain else [own, {"id": 7, "name": "other", "keypoints": ["a", "b"]}]
    document = {"images": [], "annotations": [], "categories": categories}
    numbers = [IMAGE_IDS[image_ids](place) for place in range(len(images))]
    for number, kinds in zip(numbers, images, strict=True):
        rows = -(-len(kinds) // COLUMNS)
        size = {"width": CELL * COLUMNS, "height": CELL * rows}
        document["images"].append({"id": number, "file_name": f"{number}.jpg", **size})
    kinds = [kind for image in images for kind in image]
    poses = np.stack([_pose(place, joints, rng) for image in images for place in range(len(image))])
    owners = [number for number, image in zip(numbers, images, strict=True) for _ in image]
    for row, (kind, owner, pose) in enumerate(zip(kinds, owners, poses, strict=True)):
        entry = _annotation(kind, pose, category_id, rng, plain)
        entry |= {"image_id": owner, "id": ANNOTATION_IDS[ids](row)}
        present = {name: value for name, value in entry.items() if value is not MISSING}
        document["annotations"].append(present)
    return CocoFile(
        document=document,
        category=CATEGORY,
        category_id=int(category_id),
        names=names,
        counted=tuple(row for row, kind in enumerate(kinds) if kind == "counted"),
        ignored=tuple(row for row, kind in enumerate(kinds) if kind in IGNORED),
        poses=poses,
    )


IMAGE_IDS = {
    "small": lambda place: place + 1,
    "far apart": lambda place: 10 ** (place + 5),
    "from zero": lambda place: place,
    "negative": lambda place: -1 - place,
    "huge": lambda place: 2**62 + place,
    "floats": lambda place: float(place + 1),
}
ANNOTATION_IDS = {
    "unique": lambda row: row + 1,
    "from zero": lambda row: row,
    "anew": lambda row: row % 3 + 1,
    "negative": lambda row: -row,
    "huge": lambda row: 10**20 + row,
    "floats": lambda row: float(row + 1),
    "null": lambda row: None,
    "missing": lambda row: MISSING,
}


def _joint_names(joints, rng):
    """Names, some of them in pairs of left and right."""
    pairs = int(rng.integers(0, joints // 2 + 1))
    sided = [f"{side}_{number}" for number in range(pairs) for side in SIDES]
    return (*sided, *(f"joint_{number}" for number in range(joints - len(sided))))


def _pose(place, joints, rng):
    """Joints in the cell of one annotation, (joints, 2), at whole and quarter pixels."""
    corner = CELL * np.array([place % COLUMNS, place // COLUMNS])
    return corner + rng.integers(4 * 20, 4 * 180, (joints, 2)) / 4


def _annotation(kind, pose, category_id, rng, plain):
    labeled = rng.random(len(pose)) < rng.choice([0.2, 0.8, 1.0])
    labeled[rng.integers(len(pose))] = True
    if kind == "unlabeled" or (kind == "crowd" and rng.random() < 0.5):
        labeled[:] = False
    corner = CELL * (pose.min(axis=0) // CELL)
    box = [*(corner + 10).tolist(), 180.0, 180.0]
    area = float(rng.integers(1, 180 * 180))
    count = int(labeled.sum())
    entry = {
        "category_id": category_id,
        "bbox": box,
        "area": area,
        "iscrowd": int(kind == "crowd"),
        "num_keypoints": count,
        "keypoints": _keypoints(pose, labeled, rng, plain),
    }
    return entry if plain else {**entry, **_untidy(kind, entry, len(pose), rng)}


def _keypoints(pose, labeled, rng, plain):
    numbers = []
    for (x, y), is_labeled in zip(pose.tolist(), labeled.tolist(), strict=True):
        absent = [(0, 0, 0)] if plain else [(0, 0, 0), (x, y, 0), (NAN, NAN, 0), (None, None, 0)]
        flags = [2, 1] if plain else [2, 1, 2.0, True]
        numbers += [x, y, _one(rng, flags)] if is_labeled else _one(rng, absent)
    return numbers


def _untidy(kind, entry, joints, rng):
    """Fields that are missing, null or wrong, as far as the kind allows them."""
    area, count = entry["area"], entry["num_keypoints"]
    changes = {
        "area": _one(rng, [area, area, MISSING, None, 0, -1.0, NAN]),
        "num_keypoints": _one(rng, [count, count, MISSING, None, 0, count + 1, float(count)]),
        "iscrowd": _one(rng, [1, 1.0, True] if kind == "crowd" else [0, 0.0, False, None, MISSING]),
    }
    if kind == "no keypoints":
        changes["keypoints"] = _one(rng, [MISSING, None, []])
    if kind == "other joints":
        changes["keypoints"] = [1, 1, 2] * _one(rng, [joints + 1, joints + 2])
    if kind == "no box":
        changes["bbox"] = _one(rng, [MISSING, None, []])
    if kind == "other category":
        changes["category_id"] = 7
        changes["keypoints"] = _one(rng, [MISSING, None, [], [1, 2], entry["keypoints"], "none"])
        changes["bbox"] = _one(rng, [MISSING, None, [], [NAN] * 4, entry["bbox"], "none"])
    return changes


def _one(rng, choices):
    return choices[rng.integers(len(choices))]


# Flaws: what the message must say, and the change that makes it. The first annotation is counted.


def _of_image(**fields) -> Callable[[CocoFile], None]:
    return lambda file: file.document["images"][0].update(fields)


def _of_annotation(**fields) -> Callable[[CocoFile], None]:
    return lambda file: file.document["annotations"][0].update(fields)


def _of_category(**fields) -> Callable[[CocoFile], None]:
    return lambda file: file.document["categories"][0].update(fields)


def _first_joint(*numbers) -> Callable[[CocoFile], None]:
    def spoil(file):
        file.document["annotations"][0]["keypoints"][:3] = numbers

    return spoil


def _image_twice(file):
    images = file.document["images"]
    images.append({**images[0], "file_name": "again.jpg"})


FLAWS = (
    (r"image id.*again\.jpg", _image_twice),
    ("image 0.*id", _of_image(id="one")),
    ("image 0.*id", _of_image(id=1.5)),
    ("image 0.*id", _of_image(id=None)),
    ("image 0.*id", _of_image(id=10**20)),
    ("image 0.*width", _of_image(width=None)),
    ("image 0.*width", _of_image(width=0)),
    ("image 0.*file_name", _of_image(file_name=5)),
    ("annotation 0.*image_id", _of_annotation(image_id=None)),
    ("annotation 0.*image_id", _of_annotation(image_id="one")),
    ("annotation 0.*image 987654", _of_annotation(image_id=987654)),
    (r"annotation 0.*\bid\b", _of_annotation(id="one")),
    ("annotation 0.*category_id", _of_annotation(category_id="thing")),
    ("annotation 0.*iscrowd", _of_annotation(iscrowd="no")),
    ("annotation 0.*area", _of_annotation(area="large")),
    ("annotation 0.*num_keypoints", _of_annotation(num_keypoints=[3])),
    ("annotation 0.*bbox", _of_annotation(bbox=[NAN, 0, 1, 1])),
    ("annotation 0.*bbox", _of_annotation(bbox=[1, 2, 3])),
    ("annotation 0.*bbox", _of_annotation(bbox=["a", 0, 1, 1])),
    ("annotation 0.*keypoints", _of_annotation(keypoints=5)),
    ("annotation 0.*keypoints", _first_joint("a", 1, 2)),
    ("annotation 0.*keypoints.*NaN", _first_joint(NAN, 1, 2)),
    ("annotation 0.*keypoints.*NaN", _first_joint(1, 1, NAN)),
    ("annotation 0.*keypoints", _first_joint(1, float("inf"), 1)),
    ("annotation 0.*visibilit", _first_joint(1, 1, 3)),
    ("keypoints", _of_category(keypoints=5)),
    ("keypoints", _of_category(keypoints=[0, 1, 2])),
    ("skeleton", _of_category(skeleton=7)),
    ("id", _of_category(id="one")),
)

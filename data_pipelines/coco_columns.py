"""The images and people of a file in COCO's format as columns, checked value by value."""

import dataclasses
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from data_pipelines import coco_json, files
from data_pipelines.coco_json import Document, Wrong
from data_pipelines.geometry import LARGEST
from data_pipelines.skeletons import Skeleton

OTHER_CATEGORY = "of another category"
NO_CATEGORY = "without a category_id"
OTHER_JOINTS = "with another number of joints"
NO_BOX = "without a box"


@dataclasses.dataclass(frozen=True)
class JointForm:
    """How the annotations of a file hold their joints, where that is not as in COCO.

    `fields` are put one after the other; with `leading` only as many joints count as the skeleton
    has. Joints and boxes count from `first_pixel`. With `scores`, any visibility but 0, 1 and 2 is
    a score: joints with more than 0 are labeled and visible. With `heads` there are boxes of heads
    and regions that are ignored, as in PoseTrack18.
    """

    fields: tuple[str, ...] = ("keypoints",)
    leading: bool = False
    first_pixel: float = 0.0
    scores: bool = False
    heads: bool = False


COCO_FORM = JointForm()


def images(document: Document, form: JointForm = COCO_FORM) -> dict[str, Any]:
    """The columns of a file's images by their names in `truth.Truth`."""
    count, names, regions = len(document.images), [], []
    ids = np.empty(count, np.int64)
    sizes, crowd_index = np.empty((count, 2)), np.empty(count)
    for row, raw in enumerate(document.images):
        try:
            image = coco_json.decode(raw, coco_json.Image)
            ids[row] = coco_json.whole(image.id, "id")
            sizes[row] = _length(image.height, "height"), _length(image.width, "width")
            crowd_index[row] = _crowd_index(image.crowdIndex)
            names.append(_file_name(image.file_name))
            regions.append(_regions(image) if form.heads else ())
        except Wrong as error:
            raise coco_json.explain(document.path, "image", row, raw, error) from None
    _check_unique(document.path, ids, names)
    return {
        "image_ids": ids,
        "image_names": names,
        "image_sizes": sizes,
        "crowd_index": crowd_index,
        "ignored": regions if form.heads else None,
    }


def _regions(image):
    """The polygons (p, 2) of an image in which neither people nor predictions count."""
    columns = [
        coco_json.lists_of_numbers(getattr(image, name), name)
        for name in ("ignore_regions_x", "ignore_regions_y")
    ]
    if [len(xs) for xs in columns[0]] != [len(ys) for ys in columns[1]]:
        raise Wrong("ignore_regions_x and ignore_regions_y do not have as many numbers")
    return tuple(np.column_stack(pair) for pair in zip(*columns, strict=True))


def _length(value, field):
    length = coco_json.number(value, field)
    if not 0 < length < LARGEST:
        raise Wrong(f"its {field} is {coco_json.shown(value)}; expected a number of pixels")
    return length


def _crowd_index(value):
    number = coco_json.number(value, "crowdIndex")
    if math.isinf(number):
        raise Wrong(f"its crowdIndex is {coco_json.shown(value)}; expected a number from 0 to 1")
    return number


def _file_name(value):
    problem = files.name_problem(value)
    if problem:
        raise Wrong(f"its file_name is {coco_json.shown(value)}; {problem}")
    return value


def _check_unique(path, ids, names):
    _, firsts, counts = np.unique(ids, return_index=True, return_counts=True)
    if (counts < 2).all():
        return
    first = int(firsts[counts > 1].min())
    second = int(np.flatnonzero(ids == ids[first])[1])
    raise ValueError(
        f"{path}: the image id {ids[first]} is used twice, by {names[first]} and {names[second]} "
        f"({np.count_nonzero(counts > 1)} image ids are); give every image an id of its own, also "
        "in image_id of the annotations"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class People:
    """The annotations of a category as they stand in the file, a row each.

    `rows` (n,) says which of all annotations they are; boxes (n, 4), joints (n, k, 3), areas and
    counts, the file's num_keypoints, (n,) are float64, NaN where the file has none, and so are the
    `heads` (n, 4), None where the form has no heads. `dropped` counts the other annotations by
    reason, `dropped_names` names those of the category.
    """

    document: Document
    rows: np.ndarray
    ids: list
    image_ids: np.ndarray
    category_ids: np.ndarray
    boxes: np.ndarray
    joints: np.ndarray
    areas: np.ndarray
    counts: np.ndarray
    crowds: np.ndarray
    heads: np.ndarray | None
    dropped: Mapping[str, int]
    dropped_names: Mapping[str, list[str]]

    def label(self, place: int) -> str:
        """What messages call the annotation of a row."""
        return _label(self.ids[place], int(self.rows[place]))

    def error(self, place: int, problem: str) -> ValueError:
        """The error that the annotation of a row has a problem."""
        row = int(self.rows[place])
        raw = self.document.annotations[row]
        return coco_json.explain(self.document.path, "annotation", row, raw, Wrong(problem))


def people(
    document: Document,
    category_ids: Collection[int],
    skeleton: Skeleton,
    form: JointForm = COCO_FORM,
) -> People:
    """The annotations of categories that have a box, with the skeleton's joints or without any."""
    names = ("rows", "ids", "image_ids", "category_ids", "areas", "counts", "crowds", "heads")
    columns = {name: [] for name in names}
    total, joints = len(document.annotations), skeleton.num_joints
    # Pages of rows that are never written take no memory.
    table, boxes = np.empty((total, 3 * joints)), np.empty((total, 4))
    dropped, dropped_names = Counter(), {}
    for row, raw in enumerate(document.annotations):
        try:
            entry = coco_json.decode(raw, coco_json.Annotation)
            reason = _add(columns, table, boxes, entry, category_ids, form)
        except Wrong as error:
            raise coco_json.explain(document.path, "annotation", row, raw, error) from None
        if not reason:
            columns["rows"].append(row)
            continue
        dropped[reason] += 1
        if reason in (NO_BOX, OTHER_JOINTS):
            dropped_names.setdefault(reason, []).append(_label(entry.id, row))
    count = len(columns["rows"])
    kinds = dict.fromkeys(("image_ids", "category_ids", "rows"), np.int64)
    kinds |= {"areas": float, "counts": float}
    columns |= {name: np.array(columns[name], kind) for name, kind in kinds.items()}
    columns |= {"crowds": np.array(columns["crowds"], bool), "boxes": boxes[:count]}
    heads = np.array(columns["heads"], float).reshape(-1, 4)
    columns["heads"] = heads if form.heads else None
    columns["joints"] = table[:count].reshape(count, joints, 3)
    _apply(form, columns["joints"], columns["boxes"])
    result = People(document, dropped=dict(dropped), dropped_names=dropped_names, **columns)
    _check_boxes(result)
    _clean_joints(result, skeleton)
    return result


def _add(columns, table, boxes, entry, category_ids, form):
    """Adds one row; returns why the annotation is dropped instead, or nothing."""
    if entry.category_id is None:
        return NO_CATEGORY
    category_id = coco_json.whole(entry.category_id, "category_id")
    if category_id not in category_ids:
        return OTHER_CATEGORY
    box, joints = _box(entry), _joints(entry, form, table.shape[1])
    if not box:
        return NO_BOX
    if len(joints) not in (0, table.shape[1]):
        return OTHER_JOINTS
    place = len(columns["ids"])
    columns["image_ids"].append(coco_json.whole(entry.image_id, "image_id"))
    columns["category_ids"].append(category_id)
    columns["areas"].append(coco_json.number(entry.area, "area"))
    columns["counts"].append(coco_json.number(entry.num_keypoints, "num_keypoints"))
    columns["crowds"].append(_crowd(entry.iscrowd))
    if form.heads:
        columns["heads"].append(_box(entry, "bbox_head") or (math.nan,) * 4)
    boxes[place] = box
    table[place] = joints or 0.0
    columns["ids"].append(_annotation_id(entry.id))
    return ""


def _joints(entry, form, count):
    """The numbers of an annotation's joints, `count` of them where it has any."""
    joints = coco_json.numbers(entry.keypoints, "keypoints")
    for field in form.fields[1:]:
        joints = joints + coco_json.numbers(getattr(entry, field), field)
    return joints[:count] if form.leading else joints


def _box(entry, field="bbox"):
    box = coco_json.numbers(getattr(entry, field), field)
    if len(box) not in (0, 4):
        raise Wrong(f"{field} has {len(box)} numbers; expected x, y, width and height")
    return box


def _crowd(value):
    number = coco_json.number(value, "iscrowd")
    return number == number and number != 0  # NaN, as of null, is no crowd


def _annotation_id(value):
    if value is not None and type(value) not in (int, float):
        raise Wrong(f"id is {coco_json.shown(value)}; expected a number")
    return value


def _label(number, row):
    """What messages call an annotation."""
    return f"the one in row {row}" if number is None else str(number)


def _check_boxes(people):
    wrong = ~(np.abs(people.boxes) < LARGEST).all(axis=1)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise people.error(
            place, f"bbox is {people.boxes[place].tolist()}; expected finite numbers"
        )


def _apply(form, joints, boxes):
    """Changes joints and boxes in place to those of COCO's form."""
    if form.first_pixel:
        joints[..., :2] -= form.first_pixel
        boxes[:, :2] -= form.first_pixel
    if form.scores:
        flags = joints[..., 2]
        flags[(flags > 0) & ~np.isin(flags, (1, 2))] = 2


def _clean_joints(people, skeleton):
    """Sets the coordinates of joints without labels that are NaN to 0; all others are an error."""
    flags = people.joints[..., 2]
    lost = ~(np.abs(people.joints) < LARGEST).all(axis=-1)
    people.joints[lost & (flags == 0)] = 0
    _refuse(people, skeleton, lost & (flags != 0), "NaN or an infinite number for {joint}")
    unknown = ~np.isin(flags, (0, 1, 2))
    _refuse(people, skeleton, unknown, "the visibility {flag:g} of {joint}; expected 0, 1 or 2")


def _refuse(people, skeleton, wrong, what):
    if not wrong.any():
        return
    place, joint = (int(axis[0]) for axis in np.nonzero(wrong))
    text = what.format(joint=skeleton.names[joint], flag=people.joints[place, joint, 2])
    others = np.count_nonzero(wrong.any(axis=1)) - 1
    more = f" ({others} more annotations have such joints)" if others else ""
    raise people.error(place, f"keypoints holds {text}{more}")

"""From what a tool says to what COCO's format needs: pixels, one joint set, boxes."""

import dataclasses

import numpy as np

from data_pipelines import skeletons
from data_pipelines.labels import columns
from data_pipelines.labels.columns import JointSet, Labels, Note
from data_pipelines.skeletons import Skeleton

# To draw joints that are named like those of a dataset, where a tool has no limbs.
KNOWN_LIMBS = {
    joints.names: joints.limbs
    for joints in vars(skeletons).values()
    if isinstance(joints, Skeleton)
}
SMALLEST = 0.1  # side of the box of a lone joint, as a share of the image, if nothing is known


def to_pixels(labels: Labels, sizes: np.ndarray) -> Labels:
    """The labels in pixels of images of these sizes, (m, 2) (height, width)."""
    if not labels.relative:
        return labels
    scale = sizes[labels.image_rows][:, ::-1]  # width, height
    return dataclasses.replace(
        labels,
        relative=False,
        boxes=labels.boxes * np.tile(scale, 2),
        keypoints=labels.keypoints * scale[:, None],
    )


def clear_unlabeled(labels: Labels) -> Labels:
    """Sets the coordinates of joints that are not labeled to 0, as COCO's format has them."""
    shown = labels.visibility > 0
    return dataclasses.replace(labels, keypoints=labels.keypoints * shown[..., None])


def choose_joints(labels: Labels, names: tuple[str, ...]) -> Labels:
    """The labels with these joints: those of the same names, or, with none such, all renamed.

    Joints that a set lacks are not labeled, and what it has beyond these is lost.
    """
    if not names or all(one.names == names for one in labels.joint_sets):
        return labels
    count = max(len(names), labels.keypoints.shape[1])
    keypoints, notes = np.zeros((len(labels), count, 2)), []
    visibility, sets = np.zeros((len(labels), count)), []
    for number, one in enumerate(labels.joint_sets):
        order, lost = _order(one, names)
        sets.append(_reordered(one, names, order))
        rows = np.flatnonzero(labels.set_rows == number)
        for new, old in order.items():
            keypoints[rows, new] = labels.keypoints[rows, old]
            visibility[rows, new] = labels.visibility[rows, old]
        if lost:
            notes.append(Note(columns.LOST, "joints that were not asked for", lost))
    return dataclasses.replace(
        labels,
        joint_sets=tuple(sets),
        keypoints=keypoints,
        visibility=visibility,
        notes=(*labels.notes, *notes),
    )


def _order(one, names):
    """For every place in `names` the place in a joint set, and the names that are lost."""
    order = {place: one.names.index(name) for place, name in enumerate(names) if name in one.names}
    if not order and len(names) != len(one.names):
        raise ValueError(
            f"{one.category!r} has the joints {', '.join(one.names)}; none of them is asked for, "
            f"and the {len(names)} names that are given can't rename {len(one.names)}"
        )
    order = order or {place: place for place in range(len(names))}
    kept = set(order.values())
    return order, tuple(name for place, name in enumerate(one.names) if place not in kept)


def _reordered(one, names, order):
    places = {old: new for new, old in order.items()}
    limbs, pairs = (
        tuple((places[a], places[b]) for a, b in which if a in places and b in places)
        for which in (one.limbs, one.flip_pairs)
    )
    return JointSet(one.category, names, limbs, pairs)


def merge_categories(labels: Labels) -> Labels:
    """One category for all that have the same joints; sets without instances are left out."""
    kept, places, notes = [], {}, []
    used = np.unique(labels.set_rows).tolist()
    for names in dict.fromkeys(labels.joint_sets[row].names for row in used):
        rows = [row for row in used if labels.joint_sets[row].names == names]
        sets = [labels.joint_sets[row] for row in rows]
        categories = list(dict.fromkeys(one.category for one in sets))
        name = categories[0] if len(categories) == 1 else _joined(categories)
        if len(categories) > 1:
            what = "categories with the same joints, which become one"
            notes.append(Note(columns.LOST, what, tuple(categories)))
        places |= dict.fromkeys(rows, len(kept))
        limbs = next((one.limbs for one in sets if one.limbs), KNOWN_LIMBS.get(names, ()))
        pairs = next((one.flip_pairs for one in sets if one.flip_pairs), ())
        kept.append(JointSet(name, names, limbs, pairs))
    rows = np.array([places[row] for row in labels.set_rows.tolist()], np.int64)
    kept = _with_own_names(kept)
    return dataclasses.replace(
        labels, joint_sets=tuple(kept), set_rows=rows, notes=(*labels.notes, *notes)
    )


def _joined(categories):
    shown = "+".join(categories[:3])
    return shown if len(categories) <= 3 else f"{shown}+{len(categories) - 3}"


def _with_own_names(sets):
    """The joint sets with categories that differ, by numbers where they do not."""
    counts, named = {}, []
    for one in sets:
        counts[one.category] = counts.get(one.category, 0) + 1
        number = counts[one.category]
        name = one.category if number == 1 else f"{one.category} {number}"
        named.append(dataclasses.replace(one, category=name))
    return named


def fill_boxes(labels: Labels, sizes: np.ndarray, *, padding: float) -> Labels:
    """The labels with a box for everything, inside of images of these sizes.

    Where a tool has none, it is the tight box of the labeled joints, wider on every side by
    `padding` times its longer side. A lone joint gets a square as large as the median box.
    """
    missing = np.isnan(labels.boxes).any(axis=1)
    boxes, notes = labels.boxes.copy(), []
    for row in np.flatnonzero(missing).tolist():
        points = labels.keypoints[row][labels.visibility[row] > 0]
        low, high = points.min(axis=0), points.max(axis=0)
        boxes[row] = (*low, *(high - low))
    if missing.any():
        _widen(boxes, missing, sizes[labels.image_rows], padding)
        count = int(missing.sum())
        how = f"boxes, from the labeled joints and {padding:g} of the longer side around them"
        notes.append(Note(columns.GUESSED, f"{count} {how}", (_first(labels, missing),)))
    clipped = clip(boxes, sizes[labels.image_rows])
    return dataclasses.replace(labels, boxes=clipped, notes=(*labels.notes, *notes))


def _first(labels, rows):
    return labels.images[labels.image_rows[int(np.argmax(rows))]].name


def _widen(boxes, missing, sizes, padding):
    longer = boxes[:, 2:].max(axis=1)
    points = missing & (longer <= 0)
    known = longer[(longer > 0) & ~np.isnan(longer)]
    side = np.full(len(boxes), np.median(known)) if len(known) else SMALLEST * sizes.max(axis=1)
    boxes[points, :2] -= side[points, None] / 2
    boxes[points, 2:] = side[points, None]
    wide = missing & ~points
    margin = padding * longer[wide, None]
    boxes[wide, :2] -= margin
    boxes[wide, 2:] += 2 * margin


def clip(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The parts of boxes (n, 4) that are inside of images of these sizes (n, 2)."""
    low = np.clip(boxes[:, :2], 0, sizes[:, ::-1])
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, sizes[:, ::-1])
    return np.concatenate([low, high - low], axis=1)


def drop_empty(labels: Labels) -> Labels:
    """The labels without instances that have neither a joint nor a box."""
    nothing = (labels.visibility <= 0).all(axis=1) & np.isnan(labels.boxes).any(axis=1)
    if not nothing.any():
        return labels
    names = [labels.images[row].name for row in labels.image_rows[nothing].tolist()]
    note = Note(columns.LOST, "instances without a labeled joint", tuple(names))
    return dataclasses.replace(labels.take(~nothing), notes=(*labels.notes, note))


def fill_areas(labels: Labels) -> Labels:
    """The labels with the areas of boxes where there are no others."""
    known = np.isfinite(labels.areas) & (labels.areas > 0)
    return dataclasses.replace(
        labels, areas=np.where(known, labels.areas, labels.boxes[:, 2:].prod(axis=1))
    )

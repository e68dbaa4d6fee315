"""From the truth of a file in COCO's format to the people of a split.

Columns beside the example's: image_id () int64; box (4,) float64, as annotated (center and size are
of the box that the references clip); area () float64 as in the truth; crowd_index () float64, NaN
where the file has none; truth_row () int64, the person's row in the truth. Detected people have
box_score () float64 instead of box, area and truth_row.
"""

import logging
import os
import pathlib
from collections.abc import Callable, Mapping

import numpy as np

from data_pipelines import coco_json, files, geometry, ground_truth, splits
from data_pipelines.coco_columns import COCO_FORM, JointForm
from data_pipelines.coco_json import Wrong
from data_pipelines.ground_truth import Truth
from data_pipelines.readers.request import ANNOTATED, Request
from data_pipelines.skeletons import Skeleton

logger = logging.getLogger(__name__)


def read(
    request: Request,
    path: pathlib.Path,
    folder: pathlib.Path,
    skeleton: Skeleton | Callable[[pathlib.Path, ground_truth.Category], Skeleton],
    *,
    category: str,
    trust_counts: bool = False,
    trust_areas: bool = True,
    form: JointForm = COCO_FORM,
) -> splits.Split:
    """The people that a request wants, from the file `path` and the images in `folder`.

    The other arguments are those of `ground_truth.read`.
    """
    options = {"trust_counts": trust_counts, "trust_areas": trust_areas, "form": form}
    known = ground_truth.read(path, skeleton, category=category, **options)
    for what, names in known.notes.items():
        logger.info("%s: %d annotations: %s, e.g. %s", path, len(names), what, names[0])
    if request.boxes == ANNOTATED:
        return annotated_people(known, folder, request.split)
    return detected_people(known, folder, request)


def annotated_people(known: Truth, folder: pathlib.Path, name: str) -> splits.Split:
    """The people of the split `name` in their annotated boxes.

    They have at least one labeled joint and a box that is not empty, and are not crowds.
    """
    boxes = geometry.clip_boxes(known.boxes, known.image_sizes[known.image_rows])
    reasons = {
        "crowd": known.crowds,
        "without labeled joints": (known.visibility <= 0).all(axis=1),
        "with an empty box": (boxes[:, 2:] <= 0).any(axis=1),
    }
    uncounted = (known.labeled == 0) & (known.visibility > 0).any(axis=1)
    if uncounted.any():
        reasons["without counted joints"] = uncounted
    usable, dropped = _usable(reasons, len(known))
    dropped = {**known.dropped, **dropped}
    if not usable.any():
        raise ValueError(_no_people(known, dropped))
    columns = {
        **_place_columns(known, folder, known.image_rows[usable], boxes[usable]),
        "keypoints": known.keypoints[usable].astype(np.float32),
        "visible": (known.visibility[usable] > 0).astype(np.float32),
        "area": known.areas[usable],
        "box": known.boxes[usable],
        "truth_row": np.flatnonzero(usable),
    }
    return splits.Split(name, known.skeleton, known.path, columns, dropped, truth=known)


def _no_people(known, dropped):
    if not known.annotated:
        return (
            f"{known.path} has no annotations: its truth is not public or not there yet. Predict "
            "in a detector's boxes (config.eval.boxes)"
        )
    reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items() if count)
    joints = f"{known.skeleton.num_joints} joints of {known.category!r}"
    return f"{known.path} has no people to use, with {joints}; dropped: {reasons or 'none'}"


def detected_people(known: Truth, folder: pathlib.Path, request: Request) -> splits.Split:
    """The boxes of a JSON of COCO's results format, as people without known joints.

    Boxes of the truth's category, by the id that its file has for it, with a score of at least the
    request's threshold are kept, unclipped, as in the references.
    """
    path = pathlib.Path(request.boxes)
    boxes = read_detections(path)
    rows = known.rows_of_images(boxes["image_id"])
    if (rows < 0).any():
        unknown = np.unique(boxes["image_id"][rows < 0])
        raise ValueError(
            f"{path}: {len(unknown)} images of the detections are not in {known.path}, e.g. "
            f"{unknown[0]}; the file belongs to another split"
        )
    other = boxes["category_id"] != known.category_id
    if len(other) and other.all():
        raise ValueError(
            f"{path}: no detection has the category_id {known.category_id}, which is "
            f"{known.category!r} in {known.path}; they have {_shortened(boxes['category_id'])}"
        )
    reasons = {
        "of another category": other,
        "below the threshold": boxes["score"] < request.threshold,
        "with an empty box": (boxes["box"][:, 2:] <= 0).any(axis=1),
    }
    usable, dropped = _usable(reasons, len(rows))
    count, joints = int(usable.sum()), known.skeleton.num_joints
    columns = {
        **_place_columns(known, folder, rows[usable], boxes["box"][usable]),
        "keypoints": np.zeros((count, joints, 2), np.float32),
        "visible": np.zeros((count, joints), np.float32),
        "box_score": boxes["score"][usable],
    }
    return splits.Split(request.split, known.skeleton, known.path, columns, dropped, truth=known)


def _shortened(ids):
    unique = np.unique(ids)
    return ", ".join(map(str, unique[:5].tolist())) + (", …" if len(unique) > 5 else "")


def read_detections(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A file in COCO's results format: image_id and category_id () int64, score (), box (4,)."""
    entries = coco_json.load_detections(path)
    columns = {
        "image_id": np.empty(len(entries), np.int64),
        "category_id": np.empty(len(entries), np.int64),
        "score": np.empty(len(entries)),
        "box": np.empty((len(entries), 4)),
    }
    for row, raw in enumerate(entries):
        try:
            entry = coco_json.decode(raw, coco_json.Detection)
            for name in ("image_id", "category_id"):
                columns[name][row] = coco_json.whole(getattr(entry, name), name)
            columns["score"][row] = _finite([coco_json.number(entry.score, "score")], "score")
            columns["box"][row] = _finite(coco_json.numbers(entry.bbox, "bbox"), "bbox", count=4)
        except Wrong as error:
            raise coco_json.explain(path, "detection", row, raw, error) from None
    return columns


def _finite(numbers, field, *, count=1):
    if len(numbers) != count or not (np.abs(numbers) < geometry.LARGEST).all():
        raise Wrong(f"{field} must be {count} finite numbers; got {numbers}")
    return numbers if count > 1 else numbers[0]


def _place_columns(known, folder, rows, boxes):
    """The columns that annotated and detected people share."""
    center, size = geometry.box_center_size(boxes)
    paths = _image_paths(known, folder)
    return {
        "image_path": splits.path_column([paths[row] for row in rows.tolist()]),
        "image_size": known.image_sizes[rows].astype(np.float32),
        "center": center.astype(np.float32),
        "size": size.astype(np.float32),
        "image_id": known.image_ids[rows],
        "crowd_index": known.crowd_index[rows],
    }


def _image_paths(known, folder):
    paths = [os.path.join(folder, name) for name in known.image_names]
    for row, name in enumerate(known.image_names):
        if os.path.isabs(name):
            try:
                files.below(folder, name)
            except ValueError as error:
                place = f"{known.path}: image {row} (id {known.image_ids[row]})"
                raise ValueError(f"{place}: {error}") from None
    return paths


def _usable(reasons: Mapping[str, np.ndarray], count: int) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows no reason applies to, (count,) bool, and how many have each as their first."""
    usable = np.ones(count, bool)
    dropped = {}
    for reason, applies in reasons.items():
        applies = applies & usable
        dropped[reason] = int(applies.sum())
        usable &= ~applies
    return usable, dropped

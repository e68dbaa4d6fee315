"""From the columns of a file in COCO's format to the people of a split."""

import os
import pathlib

import numpy as np

from data_pipelines import geometry, splits
from data_pipelines.readers import coco_format
from data_pipelines.readers.coco_format import KeypointFile
from data_pipelines.skeletons import Skeleton

# CrowdPose's files have no areas; its metric and mmpose take this share of the box.
AREA_OF_BOX = 0.53


def annotated(
    file: KeypointFile,
    folder: pathlib.Path,
    skeleton: Skeleton,
    split: str,
    *,
    category: str,
    trust_counts: bool = False,
) -> splits.Split:
    """The people of `category` with at least one labelled joint and a box that isn't empty.

    Columns beside the example's: image_id and annotation_id () int64; area () float64, of the
    segment or, where the file has none, AREA_OF_BOX of the box; box (4,) float64, as annotated
    (center and size are of the box that the references clip); crowd_index () float64, NaN where the
    file has none. With `trust_counts` a num_keypoints of 0 drops a person too, whatever joints
    are labelled.
    """
    found = coco_format.annotations(file, skeleton.num_joints)
    rows, joints = found["image_row"], found["joints"]
    boxes = geometry.clip_boxes(found["boxes"], file.images["size"][rows])
    share = AREA_OF_BOX * found["boxes"][:, 2] * found["boxes"][:, 3]
    area = np.where(np.isnan(found["area"]), share, found["area"])
    reasons = {
        f"not a {category}": ~np.isin(found["category_id"], _category_ids(file, category)),
        "crowd": found["crowd"],
        "without labelled joints": (joints[..., 2] <= 0).all(axis=1),
        "with an empty box": (boxes[:, 2:] <= 0).any(axis=1) | (area <= 0),
    }
    if trust_counts:
        reasons["without counted joints"] = found["num_keypoints"] == 0
    used, dropped = _sieve(reasons, len(rows))
    if not used.any():
        raise ValueError(f"{file.path} has nobody to use; dropped: {dropped}")
    columns = {
        **_boxes(file, folder, rows[used], boxes[used]),
        "keypoints": joints[used, :, :2].astype(np.float32),
        "visible": (joints[used, :, 2] > 0).astype(np.float32),
        "annotation_id": found["id"][used],
        "area": area[used],
        "box": found["boxes"][used],
    }
    return splits.Split(split, skeleton, str(file.path), columns, dropped)


def detected(
    file: KeypointFile,
    folder: pathlib.Path,
    skeleton: Skeleton,
    split: str,
    *,
    category: str,
    detections: str,
    threshold: float,
) -> splits.Split:
    """The boxes of a JSON of COCO's results format, as people without known joints.

    Boxes of `category` with a score of at least `threshold` are kept, unclipped, as in the
    references. Columns beside the example's: image_id () int64, box_score () and crowd_index ()
    float64.
    """
    path = pathlib.Path(detections)
    found = coco_format.detections(path)
    rows = coco_format.image_rows(file, found["image_id"])
    if (rows < 0).any():
        unknown = np.unique(found["image_id"][rows < 0])
        raise ValueError(
            f"{path}: {len(unknown)} images of the detections are not in {file.path}, e.g. "
            f"{unknown[0]}; the file belongs to another split"
        )
    reasons = {
        f"not a {category}": ~np.isin(found["category_id"], _category_ids(file, category)),
        "below the threshold": found["score"] < threshold,
        "with an empty box": (found["boxes"][:, 2:] <= 0).any(axis=1),
    }
    used, dropped = _sieve(reasons, len(rows))
    count = int(used.sum())
    columns = {
        **_boxes(file, folder, rows[used], found["boxes"][used]),
        "keypoints": np.zeros((count, skeleton.num_joints, 2), np.float32),
        "visible": np.zeros((count, skeleton.num_joints), np.float32),
        "box_score": found["score"][used],
    }
    return splits.Split(split, skeleton, str(file.path), columns, dropped)


def _boxes(file, folder, rows, boxes):
    """The columns that annotated and detected people share."""
    center, size = geometry.box_center_size(boxes)
    paths = [os.path.join(folder, file_name) for file_name in file.names]
    return {
        "image_path": splits.path_column([paths[row] for row in rows.tolist()]),
        "center": center.astype(np.float32),
        "size": size.astype(np.float32),
        "image_id": file.images["id"][rows],
        "crowd_index": file.images["crowd_index"][rows],
    }


def _category_ids(file, category):
    return [entry.get("id") for entry in file.categories if entry.get("name") == category]


def _sieve(reasons: dict, count: int) -> tuple[np.ndarray, dict[str, int]]:
    """What no reason applies to, (count,) bool, and how many fall under each first reason."""
    used = np.ones(count, bool)
    dropped = {}
    for reason, applies in reasons.items():
        applies = np.asarray(applies, bool) & used
        dropped[reason] = int(applies.sum())
        used &= ~applies
    return used, dropped

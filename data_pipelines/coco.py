"""COCO keypoints: person_keypoints_{train,val}2017.json and the images, people by annotated boxes.

    root/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    root/train2017/*.jpg, root/val2017/*.jpg          (or root/images/train2017/*.jpg, …)

Columns beside the example's: image_id and annotation_id () int64; area () float64, the segment's;
box (4,) float64, as annotated, where center and size are of the box that the references clip.
"""

import os
import pathlib

import numpy as np

from data_pipelines import dataset, geometry
from data_pipelines.skeletons import COCO

SPLITS = ("train", "val")
HELP = """COCO wants, below its root, annotations/person_keypoints_{train,val}2017.json and the
folders train2017 and val2017 (or images/train2017, images/val2017). Get 2017 Train images, 2017 Val
images and 2017 Train/Val annotations from cocodataset.org and unpack all three into the root."""
IMAGE_FIELDS = ("id", "file_name", "width", "height")
FIELDS = ("id", "image_id", "category_id", "bbox", "area", "keypoints")
DETECTION_FIELDS = ("image_id", "category_id", "bbox", "score")
PERSON = 1  # the category of people in COCO's files of results


def read(root: str, split: str) -> dataset.Split:
    """The people of one split who have at least one labelled joint and a box that isn't empty."""
    path, folder, contents = _open(root, split)
    columns, dropped = _columns(path, folder, contents)
    if not len(columns["image_path"]):
        raise ValueError(f"{path} has nobody to use; dropped: {dropped}")
    return dataset.Split(split, COCO, str(path), columns, dropped)


def read_detections(root: str, split: str, file: str, threshold: float) -> dataset.Split:
    """The boxes that a detector found in a split's images, as people without known joints.

    `file` is a JSON of COCO's results format. Boxes of people with a score of at least `threshold`
    are kept, unclipped, as in the references. The column box_score () float64 has their scores.
    """
    path, folder, contents = _open(root, split)
    found_in = pathlib.Path(file)
    if not found_in.is_file():
        raise FileNotFoundError(f"there is no file of detections at {found_in.absolute()}")
    detections = dataset.read_json(found_in, expected=list)
    dataset.require_fields(found_in, "detection", detections, DETECTION_FIELDS)
    paths = {image["id"]: os.path.join(folder, image["file_name"]) for image in contents["images"]}
    unknown = {entry["image_id"] for entry in detections} - paths.keys()
    if unknown:
        raise ValueError(
            f"{found_in}: {len(unknown)} images of the detections are not in {path}, e.g. "
            f"{min(unknown)}; the file belongs to another split"
        )
    boxes = [entry["bbox"] for entry in detections]
    boxes = dataset.stack_numbers(found_in, "bbox", boxes, (4,))
    scores = [entry["score"] for entry in detections]
    scores = dataset.stack_numbers(found_in, "score", scores, ())
    used, dropped = _sieve(
        {
            "not a person": [entry["category_id"] != PERSON for entry in detections],
            "below the threshold": scores < threshold,
            "with an empty box": (boxes[:, 2:] <= 0).any(axis=1),
        },
        len(detections),
    )
    center, size = geometry.box_center_size(boxes[used])
    image_ids = np.array([entry["image_id"] for entry in detections], np.int64)[used]
    columns = {
        "image_path": dataset.path_column([paths[image_id] for image_id in image_ids.tolist()]),
        "center": center.astype(np.float32),
        "size": size.astype(np.float32),
        "keypoints": np.zeros((len(image_ids), COCO.num_joints, 2), np.float32),
        "visible": np.zeros((len(image_ids), COCO.num_joints), np.float32),
        "image_id": image_ids,
        "box_score": scores[used],
    }
    return dataset.Split(split, COCO, str(path), columns, dropped)


def _open(root: str, split: str) -> tuple[pathlib.Path, pathlib.Path, dict]:
    """A split's annotation file, its folder of images, and what the file holds."""
    if split not in SPLITS:
        raise ValueError(f"unknown COCO split {split!r}; choose one of: {', '.join(SPLITS)}")
    path = dataset.find(root, [f"annotations/person_keypoints_{split}2017.json"], HELP)
    folder = dataset.find(root, [f"{split}2017", f"images/{split}2017"], HELP)
    # Outlines are most of the file and nobody here uses them.
    contents = dataset.read_json(path, expected=dict, skip="segmentation")
    for name in ("images", "annotations", "categories"):
        if not isinstance(contents.get(name), list):
            raise ValueError(f"{path} has no list {name!r}: it is not a COCO annotation file")
    return path, folder, contents


def _columns(path: pathlib.Path, folder: pathlib.Path, contents: dict) -> tuple[dict, dict]:
    images, annotations = contents["images"], contents["annotations"]
    dataset.require_fields(path, "image", images, IMAGE_FIELDS)
    dataset.require_fields(path, "annotation", annotations, FIELDS)
    image_rows = {image["id"]: row for row, image in enumerate(images)}
    rows = np.array([image_rows.get(entry["image_id"], -1) for entry in annotations], np.int64)
    if (rows < 0).any():
        lost = annotations[int(np.argmin(rows))]
        raise ValueError(
            f"{path}: annotation {lost['id']} belongs to image {lost['image_id']}, which the file "
            "does not list"
        )
    sizes = np.array([(image["height"], image["width"]) for image in images]).reshape(-1, 2)
    raw = [entry["keypoints"] for entry in annotations]
    joints = dataset.stack_numbers(path, "keypoints", raw, (3 * COCO.num_joints,))
    joints = joints.reshape(-1, COCO.num_joints, 3)
    raw = [entry["bbox"] for entry in annotations]
    annotated = dataset.stack_numbers(path, "bbox", raw, (4,))
    boxes = geometry.clip_boxes(annotated, sizes[rows])
    area = np.array([entry["area"] for entry in annotations], np.float64)
    used, dropped = _choose(contents, joints, boxes, area)
    center, size = geometry.box_center_size(boxes[used])
    names = [os.path.join(folder, images[row]["file_name"]) for row in rows[used]]
    columns = {
        "image_path": dataset.path_column(names),
        "center": center.astype(np.float32),
        "size": size.astype(np.float32),
        "keypoints": joints[used, :, :2].astype(np.float32),
        "visible": (joints[used, :, 2] > 0).astype(np.float32),
        "image_id": np.array([entry["image_id"] for entry in annotations], np.int64)[used],
        "annotation_id": np.array([entry["id"] for entry in annotations], np.int64)[used],
        "area": area[used],
        "box": annotated[used],
    }
    return columns, dropped


def _choose(
    contents: dict, joints: np.ndarray, boxes: np.ndarray, area: np.ndarray
) -> tuple[np.ndarray, dict[str, int]]:
    """Who is used, (n,) bool, and how many are not, each counted under the first reason."""
    annotations = contents["annotations"]
    person = [entry["id"] for entry in contents["categories"] if entry.get("name") == "person"]
    reasons = {
        "not a person": [entry["category_id"] not in person for entry in annotations],
        "crowd": [bool(entry.get("iscrowd", 0)) for entry in annotations],
        "without labelled joints": (joints[..., 2] <= 0).all(axis=1),
        "with an empty box": (boxes[:, 2:] <= 0).any(axis=1) | (area <= 0),
    }
    return _sieve(reasons, len(annotations))


def _sieve(reasons: dict, count: int) -> tuple[np.ndarray, dict[str, int]]:
    """What no reason applies to, (count,) bool, and how many fall under each first reason."""
    used = np.ones(count, bool)
    dropped = {}
    for reason, applies in reasons.items():
        applies = np.asarray(applies, bool) & used
        dropped[reason] = int(applies.sum())
        used &= ~applies
    return used, dropped

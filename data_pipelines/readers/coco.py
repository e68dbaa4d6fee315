"""COCO keypoints: person_keypoints_{train,val}2017.json and the images, people by annotated boxes.

    root/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    root/train2017/*.jpg, root/val2017/*.jpg          (or root/images/train2017/*.jpg, …)

and, for the split test-dev, whose truth is not public, with a detector's boxes only:

    root/annotations/image_info_test-dev2017.json     (or person_keypoints_test-dev-2017.json)
    root/test2017/*.jpg                               (or root/images/test2017/*.jpg)

Columns beside the example's: those of `people`.
"""

import pathlib

from data_pipelines import splits
from data_pipelines.readers import coco_format, people
from data_pipelines.skeletons import COCO

SPLITS = ("train", "val", "test-dev")
HELP = """COCO wants, below its root, annotations/person_keypoints_{train,val}2017.json and the
folders train2017 and val2017 (or images/train2017, images/val2017). Get 2017 Train images, 2017 Val
images and 2017 Train/Val annotations from cocodataset.org and unpack all three into the root; for
test-dev also 2017 Test images (test2017) and 2017 Testing Image info
(annotations/image_info_test-dev2017.json)."""


def read(root: str, split: str) -> splits.Split:
    """The people of one split who have at least one labelled joint and a box that isn't empty."""
    path, folder = _find(root, split)
    if split == "test-dev":
        raise ValueError(
            f"{path} has no annotations: the truth of test-dev is not public. Take a detector's "
            "boxes (--config.eval.boxes=FILE) and send results.json to COCO's server"
        )
    return people.annotated(coco_format.load(path), folder, COCO, split, category="person")


def read_detections(root: str, split: str, file: str, threshold: float) -> splits.Split:
    """The boxes that a detector found in a split's images; see `people.detected`."""
    path, folder = _find(root, split)
    images = coco_format.load(path, annotated=False)
    options = {"category": "person", "detections": file, "threshold": threshold}
    return people.detected(images, folder, COCO, split, **options)


def _find(root: str, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A split's annotation file and its folder of images."""
    if split not in SPLITS:
        raise ValueError(f"unknown COCO split {split!r}; choose one of: {', '.join(SPLITS)}")
    files = [f"annotations/person_keypoints_{split}2017.json"]
    if split == "test-dev":
        names = ("image_info_test-dev2017.json", "person_keypoints_test-dev-2017.json")
        files = [f"annotations/{name}" for name in names]
    name = f"{split.removesuffix('-dev')}2017"
    path = splits.find(root, files, HELP)
    return path, splits.find_images(root, [name, f"images/{name}"], HELP)

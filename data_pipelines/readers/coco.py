"""COCO keypoints: person_keypoints_{train,val}2017.json and the images, people by annotated boxes.

    root/annotations/person_keypoints_train2017.json, person_keypoints_val2017.json
    root/train2017/*.jpg, root/val2017/*.jpg          (or root/images/train2017/*.jpg, …)

and, for the split test-dev, whose truth is not public, in a detector's boxes only:

    root/annotations/image_info_test-dev2017.json     (or person_keypoints_test-dev-2017.json)
    root/test2017/*.jpg                               (or root/images/test2017/*.jpg)

Columns beside the example's: those of `people`.
"""

import pathlib

from data_pipelines import splits
from data_pipelines.messages import choices
from data_pipelines.readers import people
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import COCO

SPLITS = ("train", "val", "test-dev")
HELP = """COCO wants, below its root, annotations/person_keypoints_{train,val}2017.json and the
folders train2017 and val2017 (or images/train2017, images/val2017). Get 2017 Train images, 2017 Val
images and 2017 Train/Val annotations from cocodataset.org and unpack all three into the root; for
test-dev also 2017 Test images (test2017) and 2017 Testing Image info
(annotations/image_info_test-dev2017.json)."""


def read(request: Request) -> splits.Split:
    """The people of one split, in annotated boxes or in a detector's."""
    path, folder = _places(request.root, request.split)
    return people.read(request, path, folder, COCO, category="person")


def _places(root: str, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A split's annotation file and its folder of images."""
    if split not in SPLITS:
        raise ValueError(choices.unknown("COCO split", split, SPLITS))
    files = [f"annotations/person_keypoints_{split}2017.json"]
    if split == "test-dev":
        names = ("image_info_test-dev2017.json", "person_keypoints_test-dev-2017.json")
        files = [f"annotations/{name}" for name in names]
    name = f"{split.removesuffix('-dev')}2017"
    path = splits.find(root, files, HELP)
    return path, splits.find_images(root, [name, f"images/{name}"], HELP)

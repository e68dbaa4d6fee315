"""CrowdPose: people in crowds with 14 joints, and how crowded each image is.

    root/annotations/mmpose_crowdpose_{train,val,trainval,test}.json    (or crowdpose_….json)
    root/images/*.jpg

Columns beside the example's: those of `people`; crowd_index is the image's.
"""

import pathlib

from data_pipelines import splits
from data_pipelines.messages import choices
from data_pipelines.readers import people
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import CROWDPOSE

SPLITS = ("train", "val", "trainval", "test")
HELP = """CrowdPose wants, below its root, the folder images and
annotations/mmpose_crowdpose_{train,val,trainval,test}.json (or the authors'
annotations/crowdpose_….json). Get the images from github.com/Jeff-sjtu/CrowdPose and the annotation
files from where the documentation of mmpose says, and unpack all of them into the root."""


def read(request: Request) -> splits.Split:
    """The people of one split, in annotated boxes or in a detector's.

    The files' num_keypoints leave out head and neck, so that a person with nothing else is
    dropped, as in mmpose's loader. Areas are of the boxes, as in the metric.
    """
    path, folder = _places(request.root, request.split)
    options = {"category": "person", "trust_counts": True, "trust_areas": False}
    return people.read(request, path, folder, CROWDPOSE, **options)


def _places(root: str, split: str) -> tuple[pathlib.Path, pathlib.Path]:
    """A split's annotation file and the folder of images."""
    if split not in SPLITS:
        raise ValueError(choices.unknown("CrowdPose split", split, SPLITS))
    files = [f"annotations/mmpose_crowdpose_{split}.json", f"annotations/crowdpose_{split}.json"]
    path = splits.find(root, files, HELP)
    return path, splits.find_images(root, ["images"], HELP)

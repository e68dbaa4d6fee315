"""OCHuman: people who cover each other, COCO's joints, for evaluation only.

    root/annotations/ochuman_coco_format_{val,test}_range_0.00_1.00.json
    root/images/*.jpg

Columns beside the example's: those of `people`.
"""

from data_pipelines import splits
from data_pipelines.readers import coco_format, people
from data_pipelines.skeletons import COCO

SPLITS = ("val", "test")
HELP = """OCHuman wants, below its root, the folder images and
annotations/ochuman_coco_format_{val,test}_range_0.00_1.00.json. Ask for both at
github.com/liruilong940607/OCHumanApi and put them into the root."""


def read(root: str, split: str) -> splits.Split:
    """The people of one split, in their annotated boxes."""
    if split not in SPLITS:
        raise ValueError(
            f"unknown OCHuman split {split!r}; choose one of: {', '.join(SPLITS)} (OCHuman has no "
            "people to train on: train on COCO)"
        )
    name = f"annotations/ochuman_coco_format_{split}_range_0.00_1.00.json"
    path = splits.find(root, [name], HELP)
    folder = splits.find_images(root, ["images"], HELP)
    return people.annotated(coco_format.load(path), folder, COCO, split, category="person")

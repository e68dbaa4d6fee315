"""OCHuman: people who cover each other, COCO's joints, for evaluation only.

    root/annotations/ochuman_coco_format_{val,test}_range_0.00_1.00.json
    root/images/*.jpg

Columns beside the example's: those of `people`.
"""

from data_pipelines import splits
from data_pipelines.messages import choices
from data_pipelines.readers import people
from data_pipelines.readers.request import Request
from data_pipelines.skeletons import COCO

SPLITS = ("val", "test")
HELP = """OCHuman wants, below its root, the folder images and
annotations/ochuman_coco_format_{val,test}_range_0.00_1.00.json. Ask for both at
github.com/liruilong940607/OCHumanApi and put them into the root."""


def read(request: Request) -> splits.Split:
    """The people of one split, in their annotated boxes."""
    if request.split not in SPLITS:
        raise ValueError(
            f"{choices.unknown('OCHuman split', request.split, SPLITS)} (OCHuman has no people to "
            "train on: train on COCO)"
        )
    name = f"annotations/ochuman_coco_format_{request.split}_range_0.00_1.00.json"
    path = splits.find(request.root, [name], HELP)
    folder = splits.find_images(request.root, ["images"], HELP)
    return people.read(request, path, folder, COCO, category="person")

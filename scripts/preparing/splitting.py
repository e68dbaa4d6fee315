"""`prepare_data.py split`: holds images of an annotation file out."""

import argparse
import os
import pathlib

from data_pipelines import coco_split
from hrjax.runtime import script_options


def add(commands: argparse._SubParsersAction) -> None:
    """Adds the command and its options."""
    command = commands.add_parser("split", help="hold images out of one annotation file")
    command.add_argument("--annotations", required=True, type=pathlib.Path, help="COCO's format")
    command.add_argument("--images", required=True, type=pathlib.Path, help="their folder")
    command.add_argument("--root", required=True, type=pathlib.Path, help="the new dataset")
    command.add_argument("--val", type=float, default=0.2, help="share of the images (default 0.2)")
    command.add_argument("--test", type=float, default=0.0, help="share of the images (default 0)")
    command.add_argument("--people", type=int, default=0, help="train on so many; default: all")
    command.add_argument("--joints", default="", help="NEW=OLD,…: which joints, in which order")
    command.add_argument(
        "--by", default="image", **script_options.one_of(coco_split.GROUPS), help="what stays whole"
    )
    command.add_argument("--category", default="", help="the one with the joints")
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Writes the annotation files of the parts, and a link to the images."""
    plan = coco_split.Plan(
        val=options.val,
        test=options.test,
        people=options.people,
        by=options.by,
        joints=coco_split.parse_joints(options.joints),
        seed=options.seed,
    )
    if not options.annotations.is_file():
        raise FileNotFoundError(f"there is no annotation file {options.annotations}")
    if not options.images.is_dir():
        raise FileNotFoundError(f"there is no image folder {options.images}")
    link = options.root / "images"
    if os.path.lexists(link) and not link.is_dir():
        raise ValueError(f"{link} is in the way: the images are to be linked there")
    parts = coco_split.split(options.annotations, options.category, plan)
    written = coco_split.write(parts, options.root)
    for file, part in zip(written, parts.values(), strict=True):
        print("{}: {} images, {} labeled people".format(file, *coco_split.count(part)))
    if not os.path.lexists(link):
        link.symlink_to(options.images.resolve(), target_is_directory=True)
        print(f"{link} is a link to {options.images}")
    print(f"next: python scripts/prepare_data.py check --dataset=custom --root={options.root}")
    return 0

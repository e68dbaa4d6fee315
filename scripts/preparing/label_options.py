"""The options of `prepare_data.py import`."""

import argparse
import pathlib

from data_pipelines import datasets
from data_pipelines.labels import grouping, importing, options
from hrjax.runtime import script_options


def add(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The parser with the options that say what to import, and how."""
    parser.description = "Makes a dataset of labels; docs/labels.md describes every tool."
    _add_places(parser)
    _add_splits(parser)
    _add_details(parser)
    return parser


def _add_places(parser):
    tools = list(importing.TOOLS)
    parser.add_argument(
        "--from",
        dest="tool",
        **script_options.one_of(tools, "TOOL"),
        required=True,
        help="the tool or dataset that wrote the labels: " + ", ".join(tools),
    )
    parser.add_argument("--labels", required=True, help="its file, or the folder of its files")
    parser.add_argument("--images", default="", help="their folder, or a film; default: --labels")
    parser.add_argument("--output", required=True, help="the dataset, a new folder")
    parser.add_argument("--link", action="store_true", help="link the images instead of copying")
    parser.add_argument(
        "--joints",
        default="",
        help="names in the files' order, nose,left_eye,… or those of a dataset: coco, mpii, …",
    )


def _add_splits(parser):
    ways = list(grouping.CHOICES)
    parser.add_argument(
        "--split_by",
        **script_options.one_of(ways),
        default="tool",
        help="the tool's splits if it has some, else films (group), or each image",
    )
    parser.add_argument("--val", type=float, default=0.1, help="share of val, 0.1 by default")
    parser.add_argument("--test", type=float, default=0.0, help="share of test, 0 by default")
    parser.add_argument("--seed", type=int, default=0, help="of the random splits")


def _add_details(parser):
    parser.add_argument(
        "--padding",
        type=float,
        default=importing.PADDING,
        help="space around joints without a box, by default 0.1 of their longer side",
    )
    parser.add_argument("--config", default="", help="Label Studio's labeling .xml, YOLO's .yaml")
    parser.add_argument("--predictions", action="store_true", help="use SLEAP's predictions, too")
    parser.add_argument(
        "--first_pixel",
        type=float,
        default=0.0,
        help="where COCO's coordinates start: 1 for MATLAB's, 0 by default",
    )
    parser.add_argument("--instance", default="person", help="VIA's attribute of the instance")
    parser.add_argument("--joint", default="joint", help="VIA's attribute of the joint")
    parser.add_argument(
        "--min_score", type=float, default=0.3, help="of predicted joints, 0.3 by default"
    )


def plan(given: argparse.Namespace) -> importing.Plan:
    """The plan that the options describe."""
    if not 0 <= given.padding <= 2:
        raise ValueError(f"--padding={given.padding:g}: expected a share from 0 to 2")
    source = pathlib.Path(given.labels)
    folder = source if source.is_dir() else source.parent
    told = options.Options(
        joints=joints(given.joints),
        config=given.config,
        predictions=given.predictions,
        first_pixel=given.first_pixel,
        instance=given.instance,
        joint=given.joint,
        min_score=given.min_score,
    )
    return importing.Plan(
        tool=given.tool,
        source=source,
        images=pathlib.Path(given.images) if given.images else folder,
        output=pathlib.Path(given.output),
        given=told,
        shares=grouping.Shares(given.val, given.test, given.split_by, given.seed),
        padding=given.padding,
        link=given.link,
    )


def joints(text: str) -> tuple[str, ...]:
    """Names separated by commas, or those of a dataset."""
    entry = datasets.DATASETS.get(text)
    if entry is not None and entry.skeleton is not None:
        return entry.skeleton.names
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    options.check_unique(names, "--joints")
    if "" in names:
        raise ValueError(f"--joints={text}: a name is empty")
    return names

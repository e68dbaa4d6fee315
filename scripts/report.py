"""Writes an HTML page about the errors in a results file: their kinds and what they cost in AP.

    python scripts/report.py --results=runs/hrnet_coco/eval/val/results.json \\
        --annotations=data/coco/annotations/person_keypoints_val2017.json \\
        --images=data/coco/val2017 --output=report.html

The results are in COCO's format, of any network. An evaluation writes the same page with
--config.eval.report=True.
"""

import argparse
import os
import pathlib
import sys

import numpy as np

from data_pipelines import datasets, files, ground_truth
from data_pipelines.messages import sizes, written
from data_pipelines.readers import published
from hrjax import text_tables
from hrjax.error_analysis import html_report
from hrjax.evaluation import average_precision, result_files
from hrjax.runtime import script_options, terminal

# CrowdPose's counts leave out head and neck, and its metric takes areas from the boxes.
TRUSTED = {"crowdpose": {"trust_counts": True, "trust_areas": False}}


def main():
    parser = script_options.make(__doc__)
    parser.add_argument(
        "--results", required=True, type=pathlib.Path, help="a JSON in COCO's results format"
    )
    parser.add_argument(
        "--annotations",
        type=pathlib.Path,
        required=True,
        help="the ground truth, a file in COCO's format",
    )
    parser.add_argument("--images", default="", help="the folder of the images, for pictures")
    known = [name for name, dataset in datasets.DATASETS.items() if dataset.skeleton]
    parser.add_argument(
        "--dataset",
        **script_options.one_of(sorted(known), "DATASET"),
        default="coco",
        help=f"of the joints (default: coco); {script_options.folded(sorted(known), 'datasets')}",
    )
    parser.add_argument(
        "--max_people",
        type=int,
        default=average_precision.COCO_MAX_PEOPLE,
        help="detections of an image that count, the best ones; 0 = all",
    )
    parser.add_argument(
        "--output", type=pathlib.Path, default="report.html", help="default: report.html"
    )
    options = script_options.parse(parser)
    try:
        files.require_no_input([options.output], [options.results, options.annotations])
        numbers, page, which = explain(options)
        said = written.wrote(options.output)
        files.write_text(options.output, page)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{which}\n{text_tables.one_row(numbers)}")
    print(f"{said}: {options.output.stat().st_size / 2**20:.1f} MiB, to be opened in a browser")


def explain(options: argparse.Namespace) -> tuple[dict[str, float], str, str]:
    """The numbers of AP, the page, and what was compared."""
    skeleton = datasets.DATASETS[options.dataset].skeleton
    people = result_files.read(options.results).detections()
    if not len(people):
        raise ValueError(f"{options.results} is an empty list: there is nothing to report")
    rules = {"category": "", **TRUSTED.get(options.dataset, {})}
    if options.dataset in published.LAYOUTS:
        rules = published.rules(published.LAYOUTS[options.dataset])
    known = ground_truth.read(options.annotations, skeleton, **rules)
    limit = {"max_people": options.max_people}
    try:
        numbers = average_precision.coco_ap(people, known, **limit)
    except ValueError as error:
        raise ValueError(f"{options.results}: {error}") from error
    check_names(known, options.images)
    page = html_report.explain(
        people,
        known,
        numbers=numbers,
        title=f"{os.fspath(options.results)} against {options.annotations}",
        image_path=lambda name: files.below(options.images, name),
        **limit,
    )
    found = sizes.count(len(people), "detection", "detections")
    there = sizes.count(np.count_nonzero(known.counted), "annotated person", "annotated people")
    images = sizes.count(len(known.image_ids), "image", "images")
    return numbers, page, f"{found}, {there} in {images}, joints of {options.dataset}"


def check_names(known: ground_truth.Truth, folder: str) -> None:
    """Raises ValueError if an image is not in the folder, so that no other gets into the page."""
    for name in known.image_names:
        try:
            files.below(folder, name)
        except ValueError as error:
            raise ValueError(f"{known.path}: {error}") from None


if __name__ == "__main__":
    terminal.run(main)

"""Explains a file of results on one HTML page: what kinds of errors there are and what they cost.

    python scripts/report.py --results=runs/hrnet_coco/eval/val/results.json \\
        --annotations=data/coco/annotations/person_keypoints_val2017.json \\
        --images=data/coco/val2017 --output=report.html

The results are in COCO's format, of any network. Evaluation writes the same page by itself with
--config.eval.report=True.
"""

import argparse
import json
import os
import pathlib
import sys

from data_pipelines import datasets
from hrjax.evaluation import average_precision, distance_metrics, reports


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", required=True, type=pathlib.Path)
    parser.add_argument("--annotations", required=True, help="what the results are compared with")
    parser.add_argument("--images", default="", help="the folder of the images, for pictures")
    known = [name for name, dataset in datasets.DATASETS.items() if dataset.skeleton]
    parser.add_argument("--dataset", choices=sorted(known), default="coco")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("report.html"))
    options = parser.parse_args()
    try:
        results = json.loads(options.results.read_text())
        skeleton = datasets.DATASETS[options.dataset].skeleton
        numbers = average_precision.oks_ap(results, options.annotations, skeleton.sigmas)
        page = reports.explain(
            results,
            average_precision.read_truth(options.annotations),
            skeleton,
            numbers=numbers,
            title=f"{options.results} against {options.annotations}",
            image_path=lambda name: os.path.join(options.images, name),
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    options.output.write_text(page)
    print(
        distance_metrics.format_table(
            [list(numbers), [f"{value:.4f}" for value in numbers.values()]]
        )
    )
    print(f"{options.output}: {options.output.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()

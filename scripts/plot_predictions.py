"""Draws the people of a results file over their images, one picture for each image.

    python scripts/plot_predictions.py --prediction=runs/hrnet_coco/eval/val/results.json \\
        --root=data/coco/val2017 --save_path=pictures
    python scripts/plot_predictions.py --prediction=results.json --root=data/coco/val2017 \\
        --save_path=pictures --truth=data/coco/annotations/person_keypoints_val2017.json

Names are score_SCORE_id_IMAGE_NAME.png with the mean score of the image's people in thousandths:
sorted by name, the confident ones come last. --truth puts the annotated people on the right side.
Reads COCO's results format, what `scripts/predict.py` writes and what evaluations on MPII write.
"""

import argparse
import itertools
import pathlib
import sys

import cv2
import numpy as np

from data_pipelines import datasets, files, ground_truth
from data_pipelines.ground_truth import Truth
from data_pipelines.messages import progress, sizes, written
from data_pipelines.skeletons import Skeleton
from hrjax import visualize
from hrjax.prediction import results
from hrjax.prediction.results import ImageResults
from hrjax.runtime import script_options, terminal

LONGEST_STEM = 180  # bytes; names of files may have 255


def main():
    parser = script_options.make(__doc__)
    parser.add_argument("--prediction", required=True, help="a JSON of results")
    parser.add_argument("--root", required=True, help="the folder with the images, at any depth")
    parser.add_argument("--save_path", required=True, type=pathlib.Path, help="a folder to write")
    parser.add_argument(
        *("--truth",), type=pathlib.Path, help="a COCO annotation file, to draw beside"
    )
    parser.add_argument("--threshold", type=float, default=0.2, help="of joints to draw")
    parser.add_argument("--min_score", type=float, default=0.0, help="of people to draw")
    parser.add_argument("--max_images", type=int, help="draw only so many")
    options = script_options.parse(parser)
    try:
        problems = draw_all(options)
    except (ValueError, OSError) as error:
        problems = [str(error)]
    if problems:
        sys.exit("error: " + "\n  ".join(problems))


def draw_all(options: argparse.Namespace) -> list[str]:
    """Writes the pictures; returns what could not be drawn."""
    predicted = results.read(options.prediction)[: options.max_images]
    known, names = None, {}
    if options.truth and predicted:
        known = read_truth(options.truth, predicted[0].poses.keypoints.shape[1])
        names = dict(zip(known.image_ids.tolist(), known.image_names, strict=True))
    if files.is_same(options.root, options.save_path):
        raise ValueError(f"{options.root} holds the images; choose another --save_path")
    images = results.ImageFinder(options.root, names, exclude=options.save_path)
    options.save_path.mkdir(parents=True, exist_ok=True)
    problems, used, there = [], set(), written.names_there(options.save_path)
    pictures, people = [], 0
    for result in progress.over(predicted, "drawing", units="images"):
        try:
            image = images.read(result)
        except ValueError as error:
            problems.append(str(error))
            continue
        sheet, score = draw(image, result, options)
        if known is not None:
            sheet = visualize.grid([sheet, draw_truth(image, known, result)], columns=2)
        name = unused(file_name(result, score), used)
        files.require_no_input([options.save_path / name], images.files)
        visualize.save(sheet, options.save_path / name)
        pictures.append(options.save_path / name)
        people += np.count_nonzero(result.poses.person_scores >= options.min_score)
    if pictures:
        drawn = sizes.count(people, "person", "people")
        print(f"drew {drawn} with the joints of {joint_set(predicted)}")
        print(written.summarize(pictures, options.save_path, there))
    return problems


def joint_set(predicted: list[ImageResults]) -> str:
    """The dataset whose joints the results are taken to have."""
    count = predicted[0].poses.keypoints.shape[1]
    return datasets.name_of(skeleton_of(count)) or f"no known dataset ({count} joints)"


def draw(
    image: np.ndarray, result: ImageResults, options: argparse.Namespace
) -> tuple[np.ndarray, float]:
    """The image with its people of enough score, and their mean score."""
    poses = result.poses
    used = poses.person_scores >= options.min_score
    for person in zip(poses.keypoints[used], poses.scores[used], strict=True):
        image = draw_person(image, *person, options.threshold)
    scores = poses.person_scores[used]
    return image, float(scores.mean()) if len(scores) else 0.0


def draw_truth(image: np.ndarray, known: Truth, result: ImageResults) -> np.ndarray:
    """The image with its annotated people."""
    if result.image_id is not None:
        own = known.image_ids == result.image_id
    else:
        own = np.array([name == result.name for name in known.image_names], bool)
    for row in np.flatnonzero(own[known.image_rows] & (known.labeled > 0)):
        image = draw_person(image, known.keypoints[row], known.visibility[row], 0.0)
    return image


def draw_person(
    image: np.ndarray, keypoints: np.ndarray, scores: np.ndarray, threshold: float
) -> np.ndarray:
    """The image with one person's skeleton."""
    shown = keypoints[scores > threshold]
    size = np.ptp(shown, axis=0) if len(shown) else np.zeros(2)
    return visualize.draw_skeleton(
        *(image, keypoints, scores, skeleton_of(len(keypoints))),
        threshold=threshold,
        thickness=visualize.limb_thickness(image, size),
    )


def skeleton_of(joints: int) -> Skeleton:
    """The skeleton of the first dataset with so many joints; without limbs where none has them."""
    known = [entry.skeleton for entry in datasets.DATASETS.values() if entry.skeleton]
    unnamed = Skeleton(tuple(map(str, range(joints))), *[()] * 4)
    return next((skeleton for skeleton in known if skeleton.num_joints == joints), unnamed)


def read_truth(file: pathlib.Path, joints: int) -> Truth:
    """The annotated people, with so many joints, of the category of the file that has joints."""
    return ground_truth.read(file, skeleton_of(joints), category="")


def file_name(result: ImageResults, score: float) -> str:
    """score_813_id_785_000000000785.png."""
    parts = [f"score_{round(1000 * score):03d}"]
    if result.image_id is not None:
        parts.append(f"id_{result.image_id}")
    stem = pathlib.PurePath(result.name).stem or f"{result.image_id:012d}"
    parts.append(stem.encode(errors="surrogateescape")[:LONGEST_STEM].decode(errors="replace"))
    return "_".join(parts) + ".png"


def unused(name: str, used: set[str]) -> str:
    """The name, numbered if another image of the same name has it, and now among those `used`."""
    stem, ending = name.rsplit(".", 1)
    names = itertools.chain([name], (f"{stem}_{number}.{ending}" for number in itertools.count(2)))
    free = next(each for each in names if each.casefold() not in used)
    used.add(free.casefold())
    return free


if __name__ == "__main__":
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    terminal.run(main)

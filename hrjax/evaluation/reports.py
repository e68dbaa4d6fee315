"""Evaluations written down: the files of a folder, the page of the error analysis, a picture."""

import json
import math
import os
import pathlib

import numpy as np

from data_pipelines import files, geometry
from data_pipelines.ground_truth import Truth
from data_pipelines.splits import Split
from data_pipelines.transforms import ops
from hrjax import detections, visualize
from hrjax.detections import Detections, Predictions
from hrjax.error_analysis import html_report
from hrjax.evaluation import metrics, result_files
from hrjax.evaluation.metrics import Evaluation
from hrjax.evaluation.protocols import Protocol

PICTURE_PEOPLE = 12
PICTURE_SIZE = (320, 320)
DRAWN_SCORE = 0.2
OUTPUTS = (".json", ".mat")
AREA_OF_HEIGHT = 0.2  # of a person's height squared, about what COCO's people standing cover


def write(
    protocol: Protocol,
    split: Split,
    predictions: Predictions,
    evaluation: Evaluation,
    folder: pathlib.Path,
    *,
    error_analysis: bool,
) -> None:
    """Writes metrics.json, results.json, for MPII the official HRNet's pred.mat, and report.html.

    AP is a fraction, PCKh in percent, what cannot be told null. Results have the image ids and the
    category id of the annotation file. The page needs `error_analysis` and ground truth.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {key: x if math.isfinite(x) else None for key, x in evaluation.numbers.items()}
    about = {**protocol.as_json(), "split": split.name, "people": len(split)}
    contents = {**numbers, "protocol": about}
    files.write_text(folder / "metrics.json", json.dumps(contents, indent=1) + "\n")
    save_results(split, predictions, evaluation, folder / "results.json")
    if evaluation.detections is None:
        result_files.save_mat(predictions, folder / "pred.mat")
    if error_analysis and evaluation.numbers:
        page = _page(protocol, split, predictions, evaluation)
        files.write_text(folder / "report.html", page)


def check_output(protocol: Protocol, output: str) -> None:
    """Raises ValueError unless results can be written to a file of this name; none is fine."""
    ending = pathlib.Path(output).suffix
    if output and ending not in OUTPUTS:
        raise ValueError(f"--output={output} must end in one of: {', '.join(OUTPUTS)}")
    if ending == ".mat" and metrics.METRICS[protocol.metric].compares_images:
        raise ValueError(
            f"--output={output}: .mat is MPII's format; results of {protocol.dataset} need .json"
        )


def save_results(
    split: Split, predictions: Predictions, evaluation: Evaluation, file: pathlib.Path
) -> None:
    """Writes the results file, or MPII's `preds` where the name ends in .mat."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".mat":
        result_files.save_mat(predictions, file)
    elif evaluation.detections is None:
        result_files.save_json(result_files.mpii_entries(split, predictions), file)
    else:
        people, truth = evaluation.detections, split.truth
        categories = truth.categories_of_images()[truth.rows_of_images(people.image_ids)]
        result_files.save_json(result_files.coco_entries(people, categories), file)


def _page(protocol, split, predictions, evaluation):
    title = protocol.title(split.name, len(split))
    if evaluation.detections is not None:
        folder = _image_folder(split)
        return html_report.explain(
            evaluation.detections,
            split.truth,
            numbers=evaluation.numbers,
            title=title,
            image_path=lambda name: os.path.join(folder, name),
            max_people=protocol.max_people,
        )
    means = {name: value for name, value in evaluation.numbers.items() if " " not in name}
    truth = _mpii_truth(split)
    return html_report.explain(
        _mpii_detections(truth, predictions),
        truth,
        numbers=means,
        title=f"{title}; AP below is of OKS, with areas estimated from the heights of the people",
        image_path=str,
        max_people=protocol.max_people,
    )


def _image_folder(split):
    """The folder of the images that the annotation file names."""
    if not len(split):
        return ""
    path, image_id = str(split.columns["image_path"][0]), split.columns["image_id"][:1]
    (row,) = split.truth.rows_of_images(image_id)
    return path.removesuffix(split.truth.image_names[row])


def _mpii_truth(split):
    """The people of MPII as a truth with estimated areas; images are numbered and named by path."""
    columns, count = split.columns, len(split)
    paths = [str(path) for path in columns["image_path"]]
    rows_of_paths = {path: row for row, path in enumerate(dict.fromkeys(paths))}
    height_width = columns["size"] / geometry.BOX_PADDING
    corners = columns["center"] - height_width[:, ::-1] / 2
    visible = columns["truth_visible"] > 0
    return Truth(
        path=split.annotation_file,
        skeleton=split.skeleton,
        category_id=1,
        category="person",
        image_ids=np.arange(1, len(rows_of_paths) + 1),
        image_names=list(rows_of_paths),
        image_sizes=np.full((len(rows_of_paths), 2), np.nan),
        crowd_index=np.full(len(rows_of_paths), np.nan),
        annotation_ids=range(1, count + 1),
        image_rows=np.array([rows_of_paths[path] for path in paths], np.int64),
        boxes=np.concatenate([corners, height_width[:, ::-1]], axis=1).astype(float),
        keypoints=np.where(visible[..., None], columns["truth_keypoints"], 0),
        visibility=2.0 * visible,
        areas=AREA_OF_HEIGHT * height_width[:, 0].astype(float) ** 2,
        labeled=visible.sum(axis=1),
        crowds=np.zeros(count, bool),
        dropped={},
        annotated=True,
    )


def _mpii_detections(truth, predictions) -> Detections:
    rows = np.flatnonzero(predictions.finite)
    scores = predictions.joint_scores[rows]
    image_ids = truth.image_ids[truth.image_rows[rows]]
    keypoints = predictions.keypoints[rows]
    return detections.make(image_ids, keypoints, scores, scores.mean(axis=1))


def draw(split: Split, predictions: Predictions) -> np.ndarray:
    """A sheet of people, evenly spaced over the split, with their predicted skeletons."""
    if not len(split):
        return np.zeros((*PICTURE_SIZE, 3), np.uint8)
    rows = np.unique(np.linspace(0, len(split) - 1, PICTURE_PEOPLE).round().astype(int))
    decode = ops.Decode(strict=False)
    tiles = [
        visualize.person_tile(
            decode(split[row], None),
            predictions.keypoints[row],
            predictions.joint_scores[row],
            split.skeleton,
            size=PICTURE_SIZE,
            threshold=DRAWN_SCORE,
        )
        for row in rows
    ]
    return visualize.grid(tiles, columns=4)

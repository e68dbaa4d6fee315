"""Evaluations written down: files of numbers and predictions, titles of tables, pictures."""

import functools
import json
import math
import os
import pathlib
from collections.abc import Callable

import numpy as np
from ml_collections import ConfigDict

from data_pipelines import geometry
from data_pipelines.skeletons import Skeleton
from data_pipelines.splits import Split
from data_pipelines.transforms import ops
from hrjax import visualize
from hrjax.error_analysis import analysis, html_report, matching
from hrjax.evaluation import average_precision, scoring
from hrjax.evaluation.scoring import Predictions, Scores

PICTURE_PEOPLE = 12
PICTURE_SIZE = (320, 320)
DRAWN_SCORE = 0.2
OUTPUTS = (".json", ".mat")
AREA_OF_HEIGHT = 0.2  # of a person's height squared, about what COCO's people standing cover


def write(
    config: ConfigDict,
    split: Split,
    predictions: Predictions,
    scored: Scores,
    folder: pathlib.Path,
) -> None:
    """Writes metrics.json, results.json and, for MPII, the official HRNet's pred.mat.

    AP is a fraction, PCKh in percent, what cannot be told null; results are in COCO's format where
    people have image ids.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {key: x if math.isfinite(x) else None for key, x in scored.numbers.items()}
    contents = {**numbers, "protocol": protocol(config, split)}
    (folder / "metrics.json").write_text(json.dumps(contents, indent=1) + "\n")
    save_results(scored, predictions, folder / "results.json")
    if not scoring.compares_images(config):
        save_results(scored, predictions, folder / "pred.mat")
    if config.eval.report and scored.numbers:
        (folder / "report.html").write_text(_page(config, split, scored))


def _page(config, split, scored):
    if scoring.compares_images(config):
        contents = average_precision.read_truth(split.annotation_file)
        return explain(
            scored.results,
            contents,
            split.skeleton,
            numbers=scored.numbers,
            title=title(config, split),
            image_path=functools.partial(os.path.join, _image_folder(split, contents)),
        )
    means = {name: value for name, value in scored.numbers.items() if " " not in name}
    results, contents = _as_coco(split, scored.results)
    note = "AP below is of OKS, with areas guessed from the heights of the people"
    return explain(
        results,
        contents,
        split.skeleton,
        numbers=means,
        title=f"{title(config, split)}; {note}",
        image_path=str,
    )


def _image_folder(split, contents):
    """Where the images of a split are that its annotation file names."""
    if not len(split):
        return ""
    names = {image["id"]: image["file_name"] for image in contents["images"]}
    path, image = str(split.columns["image_path"][0]), int(split.columns["image_id"][0])
    return path.removesuffix(names[image])


def _as_coco(split, results):
    """MPII's results, and its people as the contents of a file, both in COCO's format."""
    columns, paths = split.columns, [str(path) for path in split.columns["image_path"]]
    ids = {path: number for number, path in enumerate(dict.fromkeys(paths), start=1)}
    sides = columns["size"] / geometry.BOX_PADDING
    corners = columns["center"] - sides[:, ::-1] / 2
    boxes = np.concatenate([corners, sides[:, ::-1]], axis=1).astype(float)
    joints = np.where(columns["truth_visible"][..., None] > 0, columns["truth_keypoints"], 0)
    joints = np.concatenate([joints, 2 * columns["truth_visible"][..., None]], axis=-1)
    people = [
        {"id": row + 1, "image_id": ids[path], "keypoints": joints[row].ravel().tolist()}
        | {"bbox": boxes[row].tolist(), "area": float(AREA_OF_HEIGHT * sides[row, 0] ** 2)}
        for row, path in enumerate(paths)
    ]
    found = average_precision.coco_results(
        np.array([entry["keypoints"] for entry in results]),
        joint_scores := np.array([entry["scores"] for entry in results]),
        joint_scores.mean(axis=1),
        np.array([ids[path] for path in paths]),
    )
    images = [{"id": number, "file_name": path} for path, number in ids.items()]
    return found, {"images": images, "annotations": people}


def explain(
    results: list[dict],
    contents: dict,
    skeleton: Skeleton,
    *,
    numbers: dict[str, float],
    title: str,
    image_path: Callable[[str], str],
) -> str:
    """An HTML page about the errors of results in COCO's format; see `html_report`.

    `contents` are an annotation file's, `numbers` stand at the top of the page, and `image_path`
    leads from the name of an image in the annotation file to where the image is.
    """
    if not skeleton.sigmas:
        raise ValueError(
            "an error analysis needs OKS, and OKS the sigmas of the joints, and there are none"
        )
    contents = average_precision.complete(contents, skeleton.num_joints)
    truth = matching.read_truth(contents, skeleton.num_joints)
    found = matching.read_found(results, skeleton.num_joints)
    names = {image["id"]: image["file_name"] for image in contents["images"]}
    found = analysis.analyze(truth, found, skeleton)
    return html_report.page(found, skeleton, title, numbers, lambda image: image_path(names[image]))


def check_output(config: ConfigDict, output: str) -> None:
    """Raises ValueError unless results can be written to a file of this name; none is fine."""
    ending = pathlib.Path(output).suffix
    if output and ending not in OUTPUTS:
        raise ValueError(f"--output={output} must end in one of: {', '.join(OUTPUTS)}")
    if ending == ".mat" and scoring.compares_images(config):
        raise ValueError(
            f"--output={output} is a form for MPII; results of {scoring.dataset(config)} need .json"
        )


def save_results(scored: Scores, predictions: Predictions, file: pathlib.Path) -> None:
    """Writes the results file, or MPII's `preds` where the name ends in .mat."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".mat":
        scoring.save_mpii(predictions, file)
    else:
        file.write_text(json.dumps(scored.results) + "\n")


def protocol(config: ConfigDict, split: Split) -> dict:
    """How a split's numbers come about, for files: what makes them comparable or not."""
    chosen = ("flip_test", "decode", "nms", "oks_threshold", "joint_threshold")
    return {
        "model": config.model.name,
        "dataset": scoring.dataset(config),
        "split": split.name,
        "people": len(split),
        "boxes": "ground truth" if config.eval.boxes == "gt" else config.eval.boxes,
        "input_size": list(config.data.input_size),
        **{key: config.eval[key] for key in (*chosen, "box_threshold", "clip_boxes")},
    }


def title(config: ConfigDict, split: Split) -> str:
    """The same in a line, for tables."""
    people = f"{scoring.dataset(config)} {split.name}: {len(split)} people"
    detector = f"detected boxes ({pathlib.Path(config.eval.boxes).name})"
    boxes = "ground-truth boxes" if config.eval.boxes == "gt" else detector
    flip = "with flip test" if config.eval.flip_test else "without flip test"
    parts = [people, boxes, flip, f"{config.eval.decode} decoding"]
    if scoring.compares_images(config):
        parts.append("without NMS" if config.eval.nms == "none" else f"{config.eval.nms} OKS-NMS")
    return ", ".join(parts)


def draw(split: Split, predictions: Predictions) -> np.ndarray:
    """A sheet of people, evenly spaced over the split, with their predicted skeletons."""
    if not len(split):
        return np.zeros((*PICTURE_SIZE, 3), np.uint8)
    rows = np.unique(np.linspace(0, len(split) - 1, PICTURE_PEOPLE).round().astype(int))
    decode, crop = ops.Decode(strict=False), ops.Crop(PICTURE_SIZE)
    tiles = []
    for row in rows:
        example = {**split[row], "keypoints": predictions.keypoints[row]}
        example = crop(decode(example, None), None)
        tiles.append(
            visualize.draw_skeleton(
                example["image"],
                example["keypoints"],
                predictions.scores[row],
                split.skeleton,
                threshold=DRAWN_SCORE,
            )
        )
    return visualize.grid(tiles, columns=4)

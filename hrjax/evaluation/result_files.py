"""Files of results: detected people in COCO's format, and MPII's rows and pred.mat.

An entry in COCO's format has image_id, category_id, keypoints (x, y and score of each joint in
turn) and score. An entry of an evaluation on MPII, which has no image ids, has image, keypoints
(k, 2) and scores (k). What `scripts/predict.py` writes has file_name and box
besides.
"""

import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence

import numpy as np
import scipy.io

from data_pipelines import coco_json, files, json_files
from data_pipelines.coco_json import Wrong
from data_pipelines.geometry import LARGEST
from data_pipelines.messages import choices
from data_pipelines.splits import Split
from hrjax import detections
from hrjax.detections import Detections, Predictions


def coco_entries(people: Detections, category_id: int | np.ndarray) -> list[dict]:
    """Detections as entries of a results file, for the category id of the annotation file.

    `category_id` is one for all detections, or one for each (n,).
    """
    categories = np.broadcast_to(category_id, len(people))
    columns = (people.image_ids, categories, people.triples, people.person_scores)
    return [
        {"image_id": image_id, "category_id": category, "keypoints": joints, "score": score}
        for image_id, category, joints, score in zip(*(x.tolist() for x in columns), strict=True)
    ]


def mpii_entries(split: Split, predictions: Predictions) -> list[dict]:
    """The predictions of a split of MPII, by the paths of the images; 0 where they are not finite.

    Their places are those of the annotation file, so that no row is left out.
    """
    finite = predictions.finite
    keypoints = np.where(finite[:, None, None], predictions.keypoints, 0).tolist()
    scores = np.where(finite[:, None], predictions.joint_scores, 0).tolist()
    paths = map(str, split.columns["image_path"])
    return [
        {"image": path, "keypoints": joints, "scores": row}
        for path, joints, row in zip(paths, keypoints, scores, strict=True)
    ]


def save_json(entries: Sequence[dict], path: pathlib.Path) -> None:
    """Writes entries as a results file."""
    files.write_text(path, json.dumps(entries) + "\n")


def save_mat(predictions: Predictions, path: pathlib.Path) -> None:
    """Writes predictions on MPII as the official HRNet's pred.mat: `preds` (n, 16, 2), 1-based."""
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"preds": predictions.keypoints.astype(np.float64) + 1})
    files.write_bytes(path, buffer.getvalue())


@dataclasses.dataclass(frozen=True, eq=False)
class ResultsFile:
    """The entries of a results file as columns, a row each, in the order of the file.

    `image_ids` are None and `image_names` "" where an entry has none, but each has one of them.
    keypoints (n, k, 2) are in image pixels, joint_scores are (n, k); person_scores (n,) are NaN
    where an entry has none. areas (n,), in square pixels, are of an entry's bbox, else of the
    extent of its keypoints. boxes (n, 4) are those of predictions, NaN where an entry has no box.
    `upright` (n,) says whether keypoints are those of the image turned as its EXIF orientation
    says, as `scripts/predict.py` writes them, and not as it is stored.
    """

    path: pathlib.Path
    image_ids: Sequence[int | None]
    image_names: Sequence[str]
    keypoints: np.ndarray
    joint_scores: np.ndarray
    person_scores: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray
    upright: np.ndarray

    def detections(self) -> Detections:
        """The detections; raises ValueError where an entry has no image_id or no score."""
        for row, (image_id, score) in enumerate(
            zip(self.image_ids, self.person_scores, strict=True)
        ):
            if image_id is None or np.isnan(score):
                missing = "image_id" if image_id is None else "score"
                raise ValueError(f"{self.path}: entry {row} has no {missing}")
        image_ids = np.array(self.image_ids, np.int64)
        columns = (self.keypoints, self.joint_scores, self.person_scores, self.areas)
        return detections.make(image_ids, *columns)


def read(path: pathlib.Path) -> ResultsFile:
    """The entries of a results file; raises ValueError that names the file and the entry."""
    if not path.exists():
        raise FileNotFoundError(f"there is no results file {path}{choices.instead_of(path)}")
    entries = json_files.read_json(path, expected=list)
    rows = []
    for number, entry in enumerate(entries):
        try:
            rows.append(_read_entry(entry, rows[0] if rows else None))
        except Wrong as error:
            raise coco_json.explain(path, "entry", number, entry, error) from None
    joints = np.array([row.joints for row in rows], np.float64)
    joints = joints.reshape(len(rows), len(rows[0].joints) // 3 if rows else 0, 3)
    return ResultsFile(
        path,
        image_ids=[row.image_id for row in rows],
        image_names=[row.name for row in rows],
        keypoints=joints[..., :2],
        joint_scores=joints[..., 2],
        person_scores=np.array([row.score for row in rows], np.float64),
        areas=np.array([row.area for row in rows], np.float64),
        boxes=np.array([row.box for row in rows], np.float64).reshape(-1, 4),
        upright=np.array([row.upright for row in rows], bool),
    )


@dataclasses.dataclass(frozen=True)
class _Entry:
    image_id: int | None
    name: str
    joints: list[float]
    score: float
    area: float
    box: list[float]
    upright: bool


def _read_entry(entry, first):
    if not isinstance(entry, dict):
        raise Wrong(f"it is {coco_json.shown(entry)}; expected an object with fields")
    joints = _joints(entry)
    if first is not None and len(joints) != len(first.joints):
        counts = len(joints) // 3, len(first.joints) // 3
        raise Wrong("it has {} joints; the first entry has {}".format(*counts))
    return _Entry(
        image_id=None if entry.get("image_id") is None else _whole(entry, "image_id"),
        name=_name(entry),
        joints=joints,
        score=_score(entry),
        area=_area(entry, joints),
        box=_finite(entry["box"], "box", count=4) if entry.get("box") else [np.nan] * 4,
        upright=entry.get("file_name") is not None,
    )


def _whole(entry, field):
    return coco_json.whole(entry[field], field)


def _name(entry):
    names = [entry[field] for field in ("file_name", "image") if entry.get(field) is not None]
    if not names and entry.get("image_id") is None:
        raise Wrong("it has neither image_id nor file_name")
    for name in names:
        if not isinstance(name, str):
            raise Wrong(f"its file name is {coco_json.shown(name)}; expected text")
        problem = files.name_problem(name) if name else ""
        if problem and problem != files.OUTSIDE:  # MPII's results have paths
            raise Wrong(f"its file name is {coco_json.shown(name)}; {problem}")
    return names[0] if names else ""


def _joints(entry):
    """The joints as x, y, score in turn."""
    values = entry.get("keypoints")
    if values is None:
        raise Wrong("it has no keypoints")
    if entry.get("scores") is not None:
        scores = _finite(entry["scores"], "scores")
        if not isinstance(values, list) or len(values) != len(scores):
            raise Wrong(f"keypoints must be pairs of numbers, one for each of {len(scores)} scores")
        points = [_finite(point, "keypoints", count=2) for point in values]
        return [x for point, score in zip(points, scores, strict=True) for x in (*point, score)]
    joints = _finite(values, "keypoints")
    if len(joints) % 3 or not joints:
        raise Wrong(f"keypoints must be x, y, score for each joint; got {len(joints)} numbers")
    return joints


def _score(entry):
    score = coco_json.number(entry.get("score"), "score")
    if entry.get("score") is not None and not abs(score) < LARGEST:
        raise Wrong(f"score is {score}; expected a finite number")
    return score


def _area(entry, joints):
    """As COCO's tools tell it: of the bbox, else of the extent of the keypoints."""
    if entry.get("bbox"):
        _, _, width, height = _finite(entry["bbox"], "bbox", count=4)
        return width * height
    x, y = joints[0::3], joints[1::3]
    return (max(x) - min(x)) * (max(y) - min(y))


def _finite(value, field, *, count=None):
    numbers = coco_json.numbers(value, field)
    if not all(abs(x) < LARGEST for x in numbers) or count not in (None, len(numbers)):
        expected = "finite numbers" if count is None else f"{count} finite numbers"
        raise Wrong(f"{field} is {coco_json.shown(value)}; expected {expected}")
    return numbers

"""Predicted poses as arrays, and the JSON files that they are written to and read from."""

import collections
import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines import files, images
from hrjax import detections
from hrjax.evaluation import result_files
from hrjax.prediction.media import IMAGES


@dataclasses.dataclass(frozen=True)
class Poses:
    """The poses of one image, a row for each person box.

    boxes (n, 4) are (x, y, w, h); keypoints (n, k, 2) are in image pixels; scores (n, k) are the
    peaks of the heatmaps, about 0 to 1; person_scores (n,) are the mean of the scores above 0.2. Of
    a calibrated network both are expected similarities with the truth (`hrjax.calibration`). A
    joint that was not predicted, as in a box outside the image, has NaN keypoints and a score of 0.
    In a film, `track_ids` (n,) are the same for a person in all frames; 0 where a pose belongs to
    no track. They are None where tracking is off.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray
    person_scores: np.ndarray
    track_ids: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class ImageResults:
    """The poses of one image file or video frame, as results files hold them.

    Here `person_scores` include the scores of the boxes. `upright` says that keypoints refer to the
    image rotated by its EXIF orientation, not to the stored pixels. `time` is in seconds from the
    first frame of a film.
    """

    name: str
    image_id: int | None
    poses: Poses
    upright: bool = True
    time: float = 0.0


def untracked(result: ImageResults) -> ImageResults:
    """The same results without track ids."""
    return dataclasses.replace(result, poses=dataclasses.replace(result.poses, track_ids=None))


def save(results: Sequence[ImageResults], file: pathlib.Path) -> None:
    """Writes a results file in COCO's format, with the keys file_name and box added."""
    writer = ResultsWriter(file)
    for result in results:
        writer.add(result)
    writer.close()


class ResultsWriter:
    """Writes results image by image, so that a long film does not fill the memory.

    `file` is in COCO's format, with the keys file_name and box added, and track_id in films. The
    table, if there is to be one, is a CSV file with a row for each person of each image, and
    columns named by `joints`. Both get their names when they are finished.
    """

    def __init__(
        self,
        file: pathlib.Path,
        *,
        table: pathlib.Path | None = None,
        joints: Sequence[str] = (),
    ):
        self._json, self._table, self._is_first = files.Unfinished(file), None, True
        self._json.write("[")
        if table is not None:
            self._table = files.Unfinished(table)
            columns = [f"{joint}_{part}" for joint in joints for part in ("x", "y", "score")]
            self._table.write(_row([*TABLE_COLUMNS, *columns]))

    def add(self, result: ImageResults) -> None:
        """Appends the people of an image."""
        for entry in _coco_entries([result]):
            self._json.write(("" if self._is_first else ", ") + json.dumps(entry))
            self._is_first = False
        if self._table is not None:
            for row in _table_rows(result):
                self._table.write(_row(row))

    def close(self) -> None:
        """Finishes the files."""
        self._json.write("]\n")
        self._json.close()
        if self._table is not None:
            self._table.close()


TABLE_COLUMNS = (
    *("file_name", "image_id", "time", "track_id", "score"),
    *("box_x", "box_y", "box_width", "box_height"),
)


def _row(values):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(values)
    return buffer.getvalue()


def _table_rows(result):
    """The rows of an image: joints that were not predicted, and missing track ids, are empty."""
    poses = result.poses
    ids = np.zeros(len(poses.boxes), int) if poses.track_ids is None else poses.track_ids
    joints = np.concatenate([poses.keypoints, poses.scores[..., None]], axis=-1)
    columns = (poses.boxes, poses.person_scores, ids, joints)
    for box, score, track_id, person in zip(*(each.tolist() for each in columns), strict=True):
        known = (f"{value:.6g}" if value == value else "" for joint in person for value in joint)
        start = [result.name, result.image_id, f"{result.time:.4f}", track_id or "", f"{score:.6g}"]
        yield [*start, *(f"{side:.6g}" for side in box), *known]


def _coco_entries(results):
    results = [result for result in results if len(result.poses.boxes)]
    if not results:
        return []
    counts = [len(result.poses.boxes) for result in results]
    image_ids = np.repeat([result.image_id for result in results], counts)
    names = np.repeat(np.array([result.name for result in results], object), counts)
    poses = [result.poses for result in results]
    boxes = np.concatenate([each.boxes for each in poses])
    # COCO has no NaN: a joint that was not predicted is 0, 0, 0.
    keypoints = np.nan_to_num(np.concatenate([each.keypoints for each in poses]), nan=0)
    scores = np.concatenate([each.scores for each in poses])
    person_scores = np.concatenate([each.person_scores for each in poses])
    columns = detections.make(image_ids, keypoints, scores, person_scores)
    entries = result_files.coco_entries(columns, category_id=1)
    ids = [track_id for each in poses for track_id in _track_ids(each)]
    # "box" and not "bbox", from which COCO's tools would compute the areas of the people.
    return [
        {**entry, "file_name": name, "box": box} | ({"track_id": track_id} if track_id else {})
        for entry, name, box, track_id in zip(entries, names, boxes.tolist(), ids, strict=True)
    ]


def _track_ids(poses):
    return [0] * len(poses.boxes) if poses.track_ids is None else poses.track_ids.tolist()


def read(file: str) -> list[ImageResults]:
    """The results of each image of a file that `save`, or an evaluation on COCO or MPII, wrote."""
    content = result_files.read(pathlib.Path(file))
    rows = collections.defaultdict(list)
    for row, image in enumerate(zip(content.image_names, content.image_ids, strict=True)):
        name, image_id = image
        rows[name or image_id].append(row)
    return [_image_results(content, own) for own in rows.values()]


def _image_results(content, rows):
    scores, person_scores = content.joint_scores[rows], content.person_scores[rows]
    computed = detections.rescore(scores, np.ones(len(rows)))
    person_scores = np.where(np.isnan(person_scores), computed, person_scores)
    poses = Poses(content.boxes[rows], content.keypoints[rows], scores, person_scores)
    name, image_id = content.image_names[rows[0]], content.image_ids[rows[0]]
    return ImageResults(name, image_id, poses, bool(content.upright[rows[0]]))


class ImageFinder:
    """Finds the image of results in a folder or below it, by its name or the number in its name.

    `names` are the file names of image ids, where an annotation file has them. What is inside
    `exclude` is not among the images, nor is anything outside of the folder.
    """

    def __init__(self, root: str, names: Mapping[int, str], *, exclude: pathlib.Path | None = None):
        self._root, self._names = pathlib.Path(root), names
        if not self._root.is_dir():
            raise FileNotFoundError(f"there is no image folder {root}")
        images = [file for file in self._root.rglob("*") if file.suffix.lower() in IMAGES]
        if exclude is not None:
            excluded = exclude.resolve()
            images = [file for file in images if excluded not in file.resolve().parents]
        self.files = images
        self._by_name = {file.name: file for file in images}
        self._by_number = {
            int(number): file
            for file in images
            if (number := file.stem.rpartition("_")[2]).isdigit() and len(number) < 19
        }

    def read(self, results: ImageResults) -> np.ndarray:
        """The pixels of the image; raises ValueError if there is no such image."""
        name = results.name or self._names.get(results.image_id, "")
        path = self._below(name)
        if path is None:
            path = self._by_name.get(pathlib.PurePath(name).name)
        if path is None:
            path = self._by_number.get(results.image_id)
        if path is None:
            raise ValueError(
                f"there is no image {name or results.image_id} in {self._root} or its subfolders"
            )
        return images.read_image(str(path), upright=results.upright)

    def _below(self, name):
        try:
            path = files.below(self._root, name)
        except ValueError:
            return None
        return pathlib.Path(path) if os.path.isfile(path) else None

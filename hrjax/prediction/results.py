"""Files of results: people as entries of COCO's results format, with file names, and back."""

import collections
import dataclasses
import pathlib

import numpy as np

from data_pipelines import images, json_files
from hrjax import detections
from hrjax.evaluation import result_files
from hrjax.prediction.media import IMAGES, Frame


@dataclasses.dataclass(frozen=True)
class Picture:
    """The people of one image of a file: (n, k, 2), (n, k) and (n,); `upright` as EXIF tags say."""

    name: str
    image_id: int | None
    keypoints: np.ndarray
    scores: np.ndarray
    person_scores: np.ndarray
    upright: bool


def entries(frame: Frame, people, person_scores: np.ndarray) -> list[dict]:
    """The people of a frame as entries of a results file.

    They are COCO's, with file_name and box (x, y, w, h) besides; not `bbox`, of which COCO's tools
    would take the people's areas. A joint that was not found is 0, 0, 0. `people` is a
    `hrjax.prediction.predictor.People`.
    """
    ids = np.full(len(person_scores), frame.image_id)
    keypoints = np.nan_to_num(people.keypoints, nan=0)
    columns = detections.detections(ids, keypoints, people.scores, person_scores)
    rows = result_files.coco_entries(columns, category_id=1)
    return [
        {**row, "file_name": frame.name, "box": box}
        for row, box in zip(rows, people.boxes.tolist(), strict=True)
    ]


def read(file: str) -> list[Picture]:
    """The people of a results file by image: of `entries`, of COCO evaluations or of MPII's."""
    path = pathlib.Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of predictions {file}")
    rows = json_files.read_json(path, expected=list)
    json_files.require_fields(path, "person", rows, ("keypoints",))
    groups = collections.defaultdict(list)
    for position, row in enumerate(rows):
        if not {"file_name", "image", "image_id"} & row.keys():
            raise ValueError(f"{path}: person {position} has neither image_id nor file_name")
        groups[row.get("file_name") or row.get("image") or row["image_id"]].append(row)
    return [_picture(path, people) for people in groups.values()]


def _picture(path, people):
    first = people[0]
    if "scores" in first:  # as evaluations on MPII write them
        keypoints = np.array([row["keypoints"] for row in people], np.float64)
        scores = np.array([row["scores"] for row in people], np.float64)
    else:
        flat = [row["keypoints"] for row in people]
        joints = json_files.number_array(path, "keypoints", flat, (len(flat[0]),))
        if joints.shape[1] % 3:
            raise ValueError(
                f"{path}: keypoints must be x, y, score for each joint; got {joints.shape[1]}"
            )
        joints = joints.reshape(len(people), -1, 3)
        keypoints, scores = joints[..., :2], joints[..., 2]
    person_scores = [row.get("score") for row in people]
    if None in person_scores:
        person_scores = detections.rescore(scores, np.ones(len(people)))
    name = str(first.get("file_name") or first.get("image") or "")
    # `entries` are of upright images; evaluation takes pixels as they are stored.
    upright = "file_name" in first
    return Picture(name, first.get("image_id"), keypoints, scores, np.array(person_scores), upright)


class Images:
    """Finds a picture's image below a folder, by its name or by the number it ends with."""

    def __init__(self, root: str, names: dict[int, str]):
        self._root, self._names = pathlib.Path(root), names
        if not self._root.is_dir():
            raise FileNotFoundError(f"there is no folder of images {root}")
        files = [file for file in self._root.rglob("*") if file.suffix.lower() in IMAGES]
        self._by_name = {file.name: file for file in files}
        self._by_number = {
            int(number): file
            for file in files
            if (number := file.stem.rpartition("_")[2]).isdigit() and len(number) < 19
        }

    def read(self, picture: Picture) -> np.ndarray:
        """Its pixels; raises ValueError where there is no such image."""
        name = picture.name or self._names.get(picture.image_id, "")
        path = self._root / name
        if not (name and path.is_file()):
            path = self._by_name.get(pathlib.PurePath(name).name)
        if path is None:
            path = self._by_number.get(picture.image_id)
        if path is None:
            raise ValueError(
                f"there is no image {name or picture.image_id} in {self._root} or below"
            )
        return images.read_image(str(path), upright=picture.upright)

"""Where the people of a frame are: callables Frame → boxes (n, 4) as (x, y, w, h), scores (n,)."""

import collections
import pathlib
from collections.abc import Callable

import numpy as np

from data_pipelines import json_files
from hrjax.prediction.media import Frame

PERSON = 1  # COCO's category


def whole_image(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """One box around everything."""
    height, width = frame.image.shape[:2]
    return np.array([[0.0, 0.0, width, height]]), np.ones(1)


def same_boxes(texts: list[str]) -> Callable:
    """The boxes written as x,y,w,h in every frame."""
    boxes = np.array([_parse(text) for text in texts])
    return lambda frame: (boxes, np.ones(len(boxes)))


def _parse(text):
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 4:
        raise ValueError(f"a box is x,y,w,h in pixels, e.g. 20,10,100,200; got {text!r}")
    return numbers


class DetectedBoxes:
    """The boxes of a JSON: a detector's results in COCO's format, or a file of annotations.

    Those of people with a score of at least `threshold` are used. They belong to the frame with
    their file_name, where the file says it (as annotation files do), or with their image_id.
    `matched` counts the boxes of frames so far.
    """

    def __init__(self, file: str, *, threshold: float):
        self.matched = 0
        path = pathlib.Path(file)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file of boxes {file}")
        contents = json_files.read_json(path, expected=object)
        entries, names = _entries(path, contents)
        json_files.require_fields(path, "box", entries, ("image_id", "bbox"))
        boxes = json_files.number_array(path, "bbox", [entry["bbox"] for entry in entries], (4,))
        scores = [entry.get("score", 1.0) for entry in entries]
        scores = json_files.number_array(path, "score", scores, ())
        self._found = collections.defaultdict(list)
        for entry, box, score in zip(entries, boxes, scores, strict=True):
            person = entry.get("category_id", PERSON) == PERSON and not entry.get("iscrowd", 0)
            name = entry.get("file_name") or names.get(entry["image_id"])
            if person and score >= threshold:
                key = entry["image_id"] if name is None else pathlib.PurePath(name).name
                self._found[key].append((box, score))

    def __call__(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        """The frame's boxes and scores."""
        found = self._found.get(pathlib.PurePath(frame.name).name)
        found = found or self._found.get(frame.image_id, [])
        self.matched += len(found)
        boxes = np.array([box for box, _ in found]).reshape(-1, 4)
        return boxes, np.array([score for _, score in found])


def _entries(path, contents):
    """The list of boxes and the file names by image id, where the file has such."""
    if isinstance(contents, list):
        return contents, {}
    if isinstance(contents, dict) and isinstance(contents.get("annotations"), list):
        images = contents.get("images", [])
        json_files.require_fields(path, "image", images, ("id", "file_name"))
        return contents["annotations"], {image["id"]: image["file_name"] for image in images}
    raise ValueError(
        f"{path} is neither a list of detections (image_id, category_id, bbox, score) nor a COCO "
        "annotation file"
    )

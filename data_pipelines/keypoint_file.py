"""Files in COCO's format as columns: images, annotations, and what a detector found.

Files of full size are mostly outlines that nobody here uses; only the fields below are built.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from data_pipelines import dataset

LISTS = ("images", "annotations", "categories")
IMAGE_FIELDS = ("id", "file_name", "width", "height")
FIELDS = ("id", "image_id", "category_id", "bbox", "keypoints")
DETECTION_FIELDS = ("image_id", "category_id", "bbox", "score")


class _Contents(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


class _Image(msgspec.Struct, gc=False):
    id: int | msgspec.UnsetType = msgspec.UNSET
    file_name: str | msgspec.UnsetType = msgspec.UNSET
    width: float | msgspec.UnsetType = msgspec.UNSET
    height: float | msgspec.UnsetType = msgspec.UNSET
    crowd_index: float = msgspec.field(name="crowdIndex", default=np.nan)


class _Annotation(msgspec.Struct, gc=False):
    id: int | msgspec.UnsetType = msgspec.UNSET
    image_id: int | msgspec.UnsetType = msgspec.UNSET
    category_id: int | msgspec.UnsetType = msgspec.UNSET
    bbox: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    keypoints: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    area: float | None = None
    iscrowd: int | bool = 0
    num_keypoints: int | None = None


class _Detection(msgspec.Struct, gc=False):
    image_id: int | msgspec.UnsetType = msgspec.UNSET
    category_id: int | msgspec.UnsetType = msgspec.UNSET
    bbox: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    score: float | msgspec.UnsetType = msgspec.UNSET


@dataclasses.dataclass(frozen=True)
class KeypointFile:
    """What a file says of its images, a column per field, and its categories as they stand there.

    `images` has id () int64, size (2,) float64 (height, width) and crowd_index () float64, which
    is NaN where the file has none; `names` are the images' file names.
    """

    path: pathlib.Path
    names: Sequence[str]
    images: Mapping[str, np.ndarray]
    categories: Sequence[dict]
    annotations: msgspec.Raw


def load(path: pathlib.Path, *, annotated: bool = True) -> KeypointFile:
    """Reads a file's images and categories; `annotated` says whether it must have annotations."""
    parts = _decode(path, path.read_bytes(), _Contents, "the file")
    for name in LISTS:
        wanted = annotated or name != "annotations"
        if wanted and bytes(getattr(parts, name))[:1] != b"[":
            raise ValueError(f"{path} has no list {name!r}: it is not a COCO annotation file")
    images = _decode(path, parts.images, list[_Image], "images")
    _require(path, "image", images, IMAGE_FIELDS)
    columns = {
        "id": np.array([image.id for image in images], np.int64),
        "size": np.array([(image.height, image.width) for image in images], float).reshape(-1, 2),
        "crowd_index": np.array([image.crowd_index for image in images], np.float64),
    }
    names = [image.file_name for image in images]
    categories = _decode(path, parts.categories, list[dict[str, Any]], "categories")
    return KeypointFile(path, names, columns, categories, parts.annotations)


def annotations(file: KeypointFile, num_joints: int) -> dict[str, np.ndarray]:
    """The annotations of a file, a column per field, a row per annotation, nobody left out.

    id, image_id, image_row (where `file.images` has the image), category_id and num_keypoints ()
    int64, the latter -1 where the file has none; crowd () bool; area () float64, NaN where the
    file has none; boxes (4,) and joints (k, 3) float64.
    """
    entries = _decode(file.path, file.annotations, list[_Annotation], "annotations")
    _require(file.path, "annotation", entries, FIELDS)
    image_id = np.array([entry.image_id for entry in entries], np.int64)
    rows = image_rows(file, image_id)
    if (rows < 0).any():
        lost = entries[int(np.argmin(rows))]
        raise ValueError(
            f"{file.path}: annotation {lost.id} belongs to image {lost.image_id}, which the file "
            "does not list"
        )
    joints = _numbers(file.path, "keypoints", entries, 3 * num_joints)
    return {
        "id": np.array([entry.id for entry in entries], np.int64),
        "image_id": image_id,
        "image_row": rows,
        "category_id": np.array([entry.category_id for entry in entries], np.int64),
        "num_keypoints": _optional([entry.num_keypoints for entry in entries], -1, np.int64),
        "crowd": np.array([bool(entry.iscrowd) for entry in entries], bool),
        "area": _optional([entry.area for entry in entries], np.nan, np.float64),
        "boxes": _numbers(file.path, "bbox", entries, 4),
        "joints": joints.reshape(-1, num_joints, 3),
    }


def detections(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A file of COCO's results format: image_id and category_id () int64, score (), boxes (4,)."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of detections at {path.absolute()}")
    entries = _decode(path, path.read_bytes(), list[_Detection], "detections")
    _require(path, "detection", entries, DETECTION_FIELDS)
    return {
        "image_id": np.array([entry.image_id for entry in entries], np.int64),
        "category_id": np.array([entry.category_id for entry in entries], np.int64),
        "score": np.array([entry.score for entry in entries], np.float64),
        "boxes": _numbers(path, "bbox", entries, 4),
    }


def image_rows(file: KeypointFile, image_ids: np.ndarray) -> np.ndarray:
    """Where `file` lists the images with these ids; -1 for those that it doesn't list."""
    order = np.argsort(file.images["id"], kind="stable")
    known = file.images["id"][order]
    if not len(known):
        return np.full(len(image_ids), -1)
    places = np.minimum(np.searchsorted(known, image_ids), len(known) - 1)
    return np.where(known[places] == image_ids, order[places], -1)


def _decode(path, contents, kind, name):
    try:
        return msgspec.json.decode(contents, type=kind)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {name}: {error}; expected COCO's format") from error
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or cut off ({error}); download or unpack it again"
        ) from error


def _require(path, kind, entries, fields):
    for position, entry in enumerate(entries):
        missing = [name for name in fields if getattr(entry, name) is msgspec.UNSET]
        if missing:
            raise ValueError(
                f"{path}: {kind} {position} has no {', '.join(sorted(missing))}; "
                f"each needs {', '.join(fields)}"
            )


def _numbers(path, field, entries, count):
    """The rows of a table of `count` numbers that stand as text in `field`."""
    decode = msgspec.json.Decoder(list[float]).decode
    table = np.empty((len(entries), count))
    try:
        for row, entry in enumerate(entries):
            numbers = decode(getattr(entry, field))
            if len(numbers) != count:
                raise ValueError
            table[row] = numbers
    except ValueError:
        # Once more, to say which entry it is and what is wrong with it.
        values = [msgspec.json.decode(getattr(entry, field)) for entry in entries]
        return dataset.stack_numbers(path, field, values, (count,))
    return table


def _optional(values, missing, dtype):
    return np.array([missing if value is None else value for value in values], dtype)

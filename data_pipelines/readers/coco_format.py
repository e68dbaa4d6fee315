"""Files in COCO's format as columns: images, annotations, and what a detector found.

Files of full size are mostly outlines that nobody here uses; only the fields below are built.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

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


def load(path: pathlib.Path, *, annotated: bool = True) -> KeypointFile:
    """Reads a file's images and categories; `annotated` says whether it must have annotations."""
    parts = _decode(path, path.read_bytes(), _Contents, "the file")
    for name in LISTS:
        wanted = annotated or name != "annotations"
        if wanted and memoryview(getattr(parts, name))[:1] != b"[":
            raise ValueError(f"{path} has no list {name!r}: it is not a COCO annotation file")
    images = _decode(path, parts.images, list[_Image], "images")
    for row, image in enumerate(images):
        _require(path, "image", row, image, IMAGE_FIELDS)
    columns = {
        "id": np.array([image.id for image in images], np.int64),
        "size": np.array([(image.height, image.width) for image in images], float).reshape(-1, 2),
        "crowd_index": np.array([image.crowd_index for image in images], np.float64),
    }
    names = [image.file_name for image in images]
    categories = _decode(path, parts.categories, list[dict[str, Any]], "categories")
    return KeypointFile(path, names, columns, categories)


def annotations(file: KeypointFile, num_joints: int) -> dict[str, np.ndarray]:
    """The annotations of a file, a column per field, a row per annotation, nobody left out.

    id, image_id, image_row (where `file.images` has the image), category_id and num_keypoints ()
    int64, the latter -1 where the file has none; crowd () bool; area () float64, NaN where the
    file has none; boxes (4,) float64 and joints (k, 3) float32.
    """
    path = file.path
    # Read once more, so that hundreds of megabytes are in memory only while this runs.
    parts = _decode(path, path.read_bytes(), _Contents, "the file")
    raw = _decode(path, parts.annotations, list[msgspec.Raw], "annotations")
    count = len(raw)
    found = {name: np.empty(count, np.int64) for name in ("id", "image_id", "category_id")}
    found |= {"num_keypoints": np.full(count, -1), "crowd": np.empty(count, bool)}
    found |= {"area": np.full(count, np.nan), "boxes": np.empty((count, 4))}
    joints = np.empty((count, 3 * num_joints), np.float32)
    for row, entry in enumerate(raw):
        entry = _decode(path, entry, _Annotation, f"annotation {row}")
        _require(path, "annotation", row, entry, FIELDS)
        found["id"][row] = entry.id
        found["image_id"][row] = entry.image_id
        found["category_id"][row] = entry.category_id
        found["crowd"][row] = bool(entry.iscrowd)
        found["boxes"][row] = _numbers(path, "bbox", row, entry.bbox, 4)
        joints[row] = _numbers(path, "keypoints", row, entry.keypoints, 3 * num_joints)
        if entry.area is not None:
            found["area"][row] = entry.area
        if entry.num_keypoints is not None:
            found["num_keypoints"][row] = entry.num_keypoints
    found["image_row"] = image_rows(file, found["image_id"])
    if (found["image_row"] < 0).any():
        lost = int(np.argmin(found["image_row"]))
        raise ValueError(
            f"{path}: annotation {found['id'][lost]} belongs to image {found['image_id'][lost]}, "
            "which the file does not list"
        )
    return {**found, "joints": joints.reshape(-1, num_joints, 3)}


def detections(path: pathlib.Path) -> dict[str, np.ndarray]:
    """A file of COCO's results format: image_id and category_id () int64, score (), boxes (4,)."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of detections at {path.absolute()}")
    entries = _decode(path, path.read_bytes(), list[_Detection], "detections")
    boxes = np.empty((len(entries), 4))
    for row, entry in enumerate(entries):
        _require(path, "detection", row, entry, DETECTION_FIELDS)
        boxes[row] = _numbers(path, "bbox", row, entry.bbox, 4)
    return {
        "image_id": np.array([entry.image_id for entry in entries], np.int64),
        "category_id": np.array([entry.category_id for entry in entries], np.int64),
        "score": np.array([entry.score for entry in entries], np.float64),
        "boxes": boxes,
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
        return _decoder(kind).decode(contents)
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {name}: {error}; expected COCO's format") from error
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or cut off ({error}); download or unpack it again"
        ) from error


@functools.cache
def _decoder(kind):
    return msgspec.json.Decoder(kind)


def _require(path, kind, row, entry, fields):
    missing = [name for name in fields if getattr(entry, name) is msgspec.UNSET]
    if missing:
        raise ValueError(
            f"{path}: {kind} {row} has no {', '.join(sorted(missing))}; "
            f"each needs {', '.join(fields)}"
        )


def _numbers(path, field, row, raw, count):
    """The `count` numbers that stand as text in the `field` of an entry."""
    try:
        numbers = _decoder(list[float]).decode(raw)
    except msgspec.ValidationError:
        numbers = msgspec.json.decode(raw)
        if isinstance(numbers, list) and len(numbers) == count:
            raise ValueError(
                f"{path}: {field} holds something that is not a number in entry {row}"
            ) from None
    if not isinstance(numbers, list) or len(numbers) != count:
        raise ValueError(
            f"{path}: {field} of entry {row} has shape {np.shape(numbers)}, expected ({count},)"
        )
    return numbers

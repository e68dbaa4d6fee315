"""JSON files in COCO's format, entry by entry, with messages that name the entry and the field.

Full-size files are mostly outlines that nothing here uses: entries stay undecoded bytes until
`annotation` or `detection` decodes the fields below. What JSON does not allow but tools write (NaN,
Infinity, a byte-order mark) is read as well, more slowly.
"""

import dataclasses
import functools
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import msgspec

from data_pipelines import json_files

LISTS = ("images", "annotations", "categories")
INT64 = 2**63
LONGEST_INTEGER = 1000  # digits; Python refuses to read very long ones
ABSENT = msgspec.Raw(b"null")


class Wrong(ValueError):
    """A field that can't be read; the message does not say of which entry."""


class _Contents(msgspec.Struct):
    images: msgspec.Raw = msgspec.Raw()
    annotations: msgspec.Raw = msgspec.Raw()
    categories: msgspec.Raw = msgspec.Raw()


class Image(msgspec.Struct, gc=False):
    """An image of the file; a field has any type where one of them is not as below."""

    id: int | float | None = None
    file_name: str | None = None
    width: float | None = None
    height: float | None = None
    crowdIndex: float | None = None
    ignore_regions_x: msgspec.Raw = ABSENT
    ignore_regions_y: msgspec.Raw = ABSENT


class Annotation(msgspec.Struct, gc=False):
    """An annotation of the file; a field has any type where one of them is not as below."""

    id: int | float | None = None
    image_id: int | float | None = None
    category_id: int | float | None = None
    bbox: msgspec.Raw = ABSENT
    keypoints: msgspec.Raw = ABSENT
    foot_kpts: msgspec.Raw = ABSENT
    face_kpts: msgspec.Raw = ABSENT
    lefthand_kpts: msgspec.Raw = ABSENT
    righthand_kpts: msgspec.Raw = ABSENT
    bbox_head: msgspec.Raw = ABSENT
    area: float | None = None
    iscrowd: float | bool | None = None
    num_keypoints: float | None = None


class Detection(msgspec.Struct, gc=False):
    """An entry of a results file; a field has any type where one of them is not as below."""

    image_id: int | float | None = None
    category_id: int | float | None = None
    bbox: msgspec.Raw = ABSENT
    score: float | None = None


# Fields of all entries; the slow path builds nothing else.
FIELDS = {*LISTS, *Image.__struct_fields__, *Annotation.__struct_fields__}
FIELDS |= {*Detection.__struct_fields__, "name", "skeleton"}


@dataclasses.dataclass(frozen=True, eq=False)
class Document:
    """The lists of an annotation file: images, annotations and categories, undecoded or dicts.

    A file without a list of annotations has none.
    """

    path: pathlib.Path
    images: Sequence
    annotations: Sequence
    categories: Sequence[dict]


def load(path: pathlib.Path) -> Document:
    """An annotation file, read once."""
    contents = json_files.read_bytes(path)
    try:
        parts = _decoder(_Contents).decode(contents)
        lists = {name: _list(path, name, getattr(parts, name)) for name in LISTS}
        categories = [_plain(entry) for entry in lists["categories"]]
    except RecursionError as error:
        raise json_files.nested_too_deeply(path) from error
    except MemoryError:
        raise json_files.too_large(path, contents) from None
    except msgspec.ValidationError as error:
        raise ValueError(f"{path} is not a COCO annotation file: it holds no object") from error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _load_slowly(path, contents)
    return Document(path, lists["images"], lists["annotations"], categories)


def _load_slowly(path, contents):
    document = json_files.parse(path, contents, object_hook=_known_fields)
    if not isinstance(document, dict):
        raise ValueError(f"{path} is not a COCO annotation file: it holds no object")
    lists = [_list(path, name, document.get(name, b"")) for name in LISTS]
    return Document(path, *lists)


def _list(path, name, value):
    """The entries of one of LISTS; only the annotations may be missing."""
    if isinstance(value, msgspec.Raw) and memoryview(value)[:1] == b"[":
        return _decoder(list[msgspec.Raw]).decode(value)
    if isinstance(value, list):
        return value
    if name == "annotations" and not value:
        return []
    raise ValueError(f"{path} has no list {name!r}: it is not a COCO annotation file")


def load_detections(path: pathlib.Path) -> Sequence:
    """The entries of a file in COCO's results format, undecoded or dicts."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of detections at {path.absolute()}")
    contents = json_files.read_bytes(path)
    try:
        return _decoder(list[msgspec.Raw]).decode(contents)
    except RecursionError as error:
        raise json_files.nested_too_deeply(path) from error
    except msgspec.ValidationError:
        entries = None
    except (msgspec.DecodeError, UnicodeDecodeError):
        entries = json_files.parse(path, contents, object_hook=_known_fields)
    if not isinstance(entries, list):
        raise ValueError(
            f"{path} is not a file of detections: expected a list of image_id, category_id, bbox "
            "and score, COCO's results format"
        )
    return entries


def _known_fields(entry):
    return {name: value for name, value in entry.items() if name in FIELDS}


def decode(entry: msgspec.Raw | Any, kind: type) -> Any:
    """An entry as an Image, an Annotation or a Detection."""
    if isinstance(entry, msgspec.Raw):
        try:
            return _decoder(kind).decode(entry)
        except UnicodeDecodeError:
            raise Wrong("it is not in UTF-8") from None
        except msgspec.DecodeError:
            entry = _plain(entry)
    if not isinstance(entry, dict):
        raise Wrong(f"it is {shown(entry)}; expected an object with fields")
    return kind(**{name: entry[name] for name in kind.__struct_fields__ if name in entry})


def _plain(entry):
    """The contents of an undecoded entry; a number that no float holds is infinite."""
    try:
        return msgspec.json.decode(entry)
    except (msgspec.DecodeError, UnicodeDecodeError):
        text = bytes(memoryview(entry)).decode(errors="replace")
        return json.loads(text, parse_int=_integer)


def _integer(digits):
    return int(digits) if len(digits) < LONGEST_INTEGER else float(digits)


@functools.cache
def _decoder(kind):
    return msgspec.json.Decoder(kind)


def whole(value: Any, field: str) -> int:
    """An id: a whole number, also written as 1.0."""
    if type(value) is not int:
        if value is None:
            raise Wrong(f"it has no {field}")
        if type(value) is not float or not value.is_integer():
            raise Wrong(f"{field} is {shown(value)}; expected a whole number")
        value = int(value)
    if not -INT64 <= value < INT64:
        raise Wrong(f"{field} is {value}; expected a whole number of at most 63 bits")
    return value


def number(value: Any, field: str) -> float:
    """A number, possibly NaN or infinite; NaN where there is none. True is 1 and false is 0."""
    if value is None:
        return math.nan
    if type(value) not in (int, float, bool):
        raise Wrong(f"{field} is {shown(value)}; expected a number")
    return _float(value)


def numbers(value: msgspec.Raw | Any, field: str) -> list[float]:
    """The numbers of a list, null as NaN; an empty list where there is none."""
    if isinstance(value, msgspec.Raw):
        try:
            return _decoder(list[float]).decode(value)
        except msgspec.DecodeError:
            value = _plain(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Wrong(f"{field} is {shown(value)}; expected a list of numbers")
    words = [entry for entry in value if type(entry) not in (int, float, bool, type(None))]
    if words:
        raise Wrong(f"{field} holds {shown(words[0])}, which is not a number")
    return [math.nan if entry is None else _float(entry) for entry in value]


def lists_of_numbers(value: msgspec.Raw | Any, field: str) -> list[list[float]]:
    """The numbers of lists in a list; an empty list where there is none."""
    if isinstance(value, msgspec.Raw):
        value = _plain(value)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Wrong(f"{field} is {shown(value)}; expected a list of lists")
    return [numbers(entry, field) for entry in value]


def _float(value):
    try:
        return float(value)
    except OverflowError:
        return math.inf


def shown(value: Any) -> str:
    """A value as a message shows it, not at any length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:37]}…"


def explain(
    path: pathlib.Path, kind: str, row: int, entry: msgspec.Raw | Any, error: Wrong
) -> ValueError:
    """The error with its place: the file, what kind of entry it is, its row and its id."""
    if isinstance(entry, msgspec.Raw):
        entry = _plain(entry)
    number = entry.get("id") if isinstance(entry, dict) else None
    known_as = "" if number is None else f" (id {shown(number)})"
    return ValueError(f"{path}: {kind} {row}{known_as}: {error}")

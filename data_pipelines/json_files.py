"""JSON files: reading them, and arrays from their entries, with errors that name the place."""

import codecs
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipelines import files

# COCO's training annotations are 0.5 GB, those of the largest public datasets about 2 GB.
LARGEST_FILE = 2**32  # bytes


def read_json(path: pathlib.Path, *, expected: type) -> list | dict:
    """The contents of a JSON file."""
    contents = parse(path, read_bytes(path))
    if not isinstance(contents, expected):
        kind = type(contents).__name__
        raise ValueError(f"{path} holds a {kind} where a {expected.__name__} is expected")
    return contents


def read_bytes(path: pathlib.Path) -> bytes:
    """A file in UTF-8, without the byte-order mark that some programs put in front."""
    contents = files.read_bytes(path, limit=LARGEST_FILE)
    if contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError(f"{path} is in UTF-16; save it as UTF-8")
    return contents.removeprefix(codecs.BOM_UTF8)


def parse(path: pathlib.Path, contents: bytes, **options: Any) -> Any:
    """The JSON in `contents`, NaN and Infinity included; `options` are those of json.loads."""
    try:
        return json.loads(contents.decode(), **options)
    except RecursionError as error:
        raise nested_too_deeply(path) from error
    except MemoryError:
        raise too_large(path, contents) from None
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or cut off ({error}); download or unpack it again"
        ) from error


def nested_too_deeply(path: pathlib.Path) -> ValueError:
    """The error of a file with lists within lists that no program reads."""
    return ValueError(f"{path} nests lists or objects too deeply to be read; write it anew")


def too_large(path: pathlib.Path, contents: bytes) -> ValueError:
    """The error of a file whose contents don't fit into memory."""
    return ValueError(f"{path}: the contents of its {len(contents):,} bytes don't fit into memory")


def require_fields(path: pathlib.Path, kind: str, entries: list, fields: Sequence[str]) -> None:
    """Raises unless every entry is a dict with all of `fields`; `kind` says what an entry is."""
    wanted = set(fields)
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict) or not wanted <= entry.keys():
            missing = wanted.difference(entry) if isinstance(entry, dict) else wanted
            raise ValueError(
                f"{path}: {kind} {position} has no {', '.join(sorted(missing))}; "
                f"each needs {', '.join(fields)}"
            )


def number_array(
    path: pathlib.Path, field: str, values: list, shape: tuple[int, ...]
) -> np.ndarray:
    """The values of a field, arrays of `shape`, as one float64 array, a row per entry."""
    if not values:
        return np.zeros((0, *shape))
    try:
        stacked = np.array(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        stacked = None
    if stacked is not None and stacked.shape == (len(values), *shape):
        return stacked
    for position, value in enumerate(values):
        _check_numbers(f"{path}: {field} of entry {position}", value, shape)
    raise ValueError(f"{path}: {field} holds something that is not a number")


def _check_numbers(place, value, shape):
    actual = _shape(value)
    if actual != shape:
        raise ValueError(f"{place} has shape {actual}, expected {shape}")
    try:
        np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{place} holds something that is not a number") from None


def _shape(value: object) -> tuple[int, ...] | None:
    try:
        return np.shape(value)
    except ValueError:
        return None

"""JSON files: reading them, and arrays from their entries, with errors that name the place."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np


def read_json(path: pathlib.Path, *, expected: type) -> list | dict:
    """The contents of a JSON file."""
    try:
        with open(path, encoding="utf-8") as file:
            contents = json.load(file)
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or cut off ({error}); download or unpack it again"
        ) from error
    if not isinstance(contents, expected):
        found = type(contents).__name__
        raise ValueError(f"{path} holds a {found} where a {expected.__name__} is expected")
    return contents


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


def stack_numbers(
    path: pathlib.Path, kind: str, values: list, shape: tuple[int, ...]
) -> np.ndarray:
    """`values`, arrays of `shape`, as one float64 array; the error names the first that differs."""
    if not values:
        return np.zeros((0, *shape))
    try:
        stacked = np.array(values, np.float64)
    except (TypeError, ValueError):
        stacked = None
    if stacked is not None and stacked.shape == (len(values), *shape):
        return stacked
    for position, value in enumerate(values):
        found = _shape(value)
        if found != shape:
            raise ValueError(
                f"{path}: {kind} of entry {position} has shape {found}, expected {shape}"
            )
    raise ValueError(f"{path}: {kind} holds something that is not a number")


def _shape(value: object) -> tuple[int, ...] | None:
    try:
        return np.shape(value)
    except ValueError:
        return None

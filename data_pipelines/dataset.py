"""What every reader returns: one split of a dataset as columns."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from data_pipelines.skeletons import Skeleton

EXAMPLE_KEYS = ("image_path", "center", "size", "keypoints", "visible")


@dataclasses.dataclass(frozen=True)
class Split:
    """One split of a dataset: a column per field, a row per person.

    `columns` holds EXAMPLE_KEYS and whatever the dataset's metric needs; `annotation_file` is the
    file they came from; `dropped` counts the annotations that are not used, by reason.
    """

    name: str
    skeleton: Skeleton
    annotation_file: str
    columns: Mapping[str, np.ndarray]
    dropped: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.columns["image_path"])

    def __getitem__(self, row: int) -> dict:
        """The example of one person: EXAMPLE_KEYS and `index`, its row in the split."""
        example = {key: self.columns[key][row] for key in EXAMPLE_KEYS}
        return {**example, "index": np.int32(row)}


def find(root: str, candidates: Sequence[str], help_text: str) -> pathlib.Path:
    """The first of `candidates`, paths below `root`, that exists; else an error with the help."""
    paths = [pathlib.Path(root, candidate) for candidate in candidates]
    for path in paths:
        if path.exists():
            return path
    tried = " or ".join(str(path) for path in paths)
    raise FileNotFoundError(
        f"there is no {tried}\n{help_text}\nTo try the code without a dataset run "
        "configs/quickstart.py, which draws its own people."
    )


def read_json(path: pathlib.Path, *, expected: type, skip: str = "") -> list | dict:
    """The contents of a JSON file; the field `skip` is dropped while reading to save memory."""
    try:
        with open(path, encoding="utf-8") as file:
            contents = json.load(file, object_hook=lambda fields: _without(fields, skip))
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged or cut off ({error}); download or unpack it again"
        ) from error
    if not isinstance(contents, expected):
        found = type(contents).__name__
        raise ValueError(f"{path} holds a {found} where a {expected.__name__} is expected")
    return contents


def _without(fields: dict, name: str) -> dict:
    fields.pop(name, None)
    return fields


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


def path_column(paths: list[str]) -> np.ndarray:
    """Paths as a column of variable-length strings, a quarter of the memory of NumPy's `U` type."""
    return np.array(paths, dtype=np.dtypes.StringDType())

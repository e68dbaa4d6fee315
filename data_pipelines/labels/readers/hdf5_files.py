"""HDF5 files of others: arrays inside of the file alone, of a limited size, and no pickles."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from data_pipelines import files

LARGEST_ARRAY = 2**31  # bytes in memory
MISSING = (
    "reading HDF5 files (.slp, .h5) needs the package h5py: pip install 'hrjax[labels]' "
    "(or pip install h5py)"
)


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Any]:
    """The open file, an h5py.File; errors of h5py name the path."""
    try:
        import h5py
    except ImportError as error:
        raise ValueError(f"{path}: {MISSING}") from error
    files.require_regular_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not an HDF5 file, or damaged ({error})") from error


def has(file: Any, name: str) -> bool:
    """Whether something of that name is inside of the file itself, not behind a link out of it."""
    import h5py

    group = file
    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if link is None:
            return False
        if not isinstance(link, h5py.HardLink):
            raise ValueError(
                f"{file.file.filename}: {name} is a link to another place; expected the data itself"
            )
        group = group[part]
    return True


def dataset(file: Any, name: str) -> Any:
    """A dataset of the file whose bytes are all inside of it and not too many."""
    import h5py

    path = file.file.filename
    if not has(file, name):
        raise ValueError(f"{path} has no {name}")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise ValueError(f"{path}: {name} is a group; expected an array")
    if found.external or found.is_virtual:
        raise ValueError(f"{path}: {name} lies in another file; expected it inside of this one")
    size = found.size or 0
    if size * found.dtype.itemsize > LARGEST_ARRAY:
        raise ValueError(f"{path}: {name} has {size:,} entries, more than are read")
    return found


def array(file: Any, name: str, fields: tuple[str, ...] = ()) -> np.ndarray:
    """All of a dataset; with `fields`, a table that has at least these columns."""
    values = np.asarray(dataset(file, name)[()])
    missing = [field for field in fields if field not in (values.dtype.names or ())]
    if missing:
        raise ValueError(f"{file.file.filename}: {name} has no column {', '.join(missing)}")
    return values


def texts(file: Any, name: str) -> list[str]:
    """The strings of a dataset; none where it is an array of numbers, as empty ones are."""
    values = array(file, name).reshape(-1).tolist()
    if any(isinstance(value, int | float) for value in values):
        raise ValueError(f"{file.file.filename}: {name} holds numbers; expected strings")
    return [
        value.decode(errors="replace") if isinstance(value, bytes) else value for value in values
    ]

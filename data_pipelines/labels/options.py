"""What the user says about the files that are imported, and how files are found."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Sequence

from data_pipelines import files

MOST_FILES = 1_000_000  # below a folder


@dataclasses.dataclass(frozen=True)
class Options:
    """What an importer may be told; empty fields are read from the files or guessed.

    `joints` names the joints in the order of the files, or says which joints count, where files
    name them. `config` is a second file of the tool: Label Studio's labeling configuration, YOLO's
    data.yaml. `predictions` also takes what a network predicted. `first_pixel` is the coordinate of
    the first pixel, 1 for files that count from 1. `instance` and `joint` name VIA's region
    attributes. `min_score` is the least score of a predicted joint.
    """

    joints: tuple[str, ...] = ()
    config: str = ""
    predictions: bool = False
    first_pixel: float = 0.0
    instance: str = "person"
    joint: str = "joint"
    min_score: float = 0.3


def find_files(source: pathlib.Path, endings: Sequence[str], *, what: str) -> list[pathlib.Path]:
    """The file `source`, or those with one of the endings below the folder, in order."""
    if not source.exists():
        raise FileNotFoundError(f"there is no {source}; expected {what}")
    if not source.is_dir():
        files.require_regular_file(source)
        return [source]
    found = [path for path in walk(source) if path.name.lower().endswith(tuple(endings))]
    if not found:
        raise FileNotFoundError(
            f"there is no file *{' or *'.join(endings)} in {source}; expected {what}"
        )
    return found


def folder_of(source: pathlib.Path, *, what: str) -> pathlib.Path:
    """The folder that is given, or the one of the file that is."""
    if not source.exists():
        raise FileNotFoundError(f"there is no {source}; expected {what}")
    return source if source.is_dir() else source.parent


def walk(folder: pathlib.Path) -> list[pathlib.Path]:
    """All regular files below a folder, in order; hidden ones are left out."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [pathlib.Path(place, name) for name in sorted(names) if not name.startswith(".")]
        if len(found) > MOST_FILES:
            raise ValueError(
                f"{folder} holds more than {MOST_FILES:,} files; name a smaller folder"
            )
    return [path for path in found if os.path.isfile(path)]


def name_joints(given: Sequence[str], count: int, place: str) -> tuple[str, ...]:
    """The user's names of `count` joints; joint_0, joint_1, … where there are none."""
    if given and len(given) != count:
        raise ValueError(
            f"{place} has {count} joints; {len(given)} names are given: {', '.join(given)}"
        )
    return tuple(given) or tuple(f"joint_{joint}" for joint in range(count))


def check_unique(names: Iterable[str], place: str) -> None:
    """Raises ValueError where two joints of a set have one name."""
    names = list(names)
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise ValueError(f"{place} names the joint {twice[0]!r} twice; names must differ")

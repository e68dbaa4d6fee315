"""The folders of a run's steps, and the small files in each: score, position, checksums and card.

Damage in any of them is damage of the step, as in its arrays: `DamagedError` names the file.
"""

import json
import logging
import math
import os
import pathlib
from typing import Annotated

import msgspec

from hrjax.runtime import remedies
from hrjax.weights import model_card
from hrjax.weights.model_card import ModelCard

logger = logging.getLogger(__name__)

SCORE = "score"
MARK = "_CHECKPOINT_METADATA"  # Orbax writes it when all of a step is written
UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that Orbax is still writing
DAMAGED = ".damaged"  # appended to the name of a step's folder when it is set aside
LARGEST = 2**24  # bytes of such a file


class DamagedError(OSError):
    """A checkpoint can't be read, or its arrays differ from those that were saved."""


class _Place(msgspec.Struct):
    next_batch: Annotated[int, msgspec.Meta(ge=0)]


class _Patience(msgspec.Struct):
    best: float | None
    at: Annotated[int, msgspec.Meta(ge=0)]
    waited: Annotated[int, msgspec.Meta(ge=0)]


class _Position(msgspec.Struct):
    """Where the data stood; converted weights have no such place."""

    data: _Place | None = None
    evaluated: bool = False
    skipped: list[int] = []
    patience: _Patience | None = None


def numbers(folder: pathlib.Path) -> list[int]:
    """The steps that have an entry in a folder of checkpoints, complete or not, in order."""
    if not folder.is_dir():
        return []
    names = [child.name for child in folder.iterdir()]
    # Orbax knows no other spelling: no leading zeros, and only ASCII.
    return sorted(int(x) for x in names if x.isascii() and x.isdigit() and x == str(int(x)))


def complete(folder: pathlib.Path) -> list[int]:
    """The complete steps of a folder of checkpoints, in order."""
    return [step for step in numbers(folder) if is_step(folder / str(step))]


def is_step(folder: pathlib.Path) -> bool:
    """Whether a folder is one complete step, whatever its name."""
    # Orbax renames a step's folder when all of it is written.
    return (folder / MARK).is_file() and UNFINISHED not in folder.name


def check(step_folder: pathlib.Path) -> None:
    """Raises DamagedError if the step is not complete or one of its small files is damaged."""
    if not step_folder.is_dir():
        raise DamagedError(f"{step_folder} is damaged: it is not a folder")
    if not is_step(step_folder):
        raise DamagedError(f"{step_folder} is not complete: {MARK} is missing")
    _object(step_folder / MARK)
    read_score(step_folder)
    read_position(step_folder)
    read_checksums(step_folder)
    if os.path.lexists(step_folder / model_card.FILE):
        _object(step_folder / model_card.FILE)


def set_aside(damaged: list[pathlib.Path]) -> None:
    """Renames folders of damaged steps, so that the same steps can be saved again."""
    for step_folder in damaged:
        aside = step_folder.with_name(step_folder.name + DAMAGED)
        others = 1
        while aside.exists() or aside.is_symlink():
            others += 1
            aside = step_folder.with_name(f"{step_folder.name}{DAMAGED}-{others}")
        step_folder.rename(aside)
        logger.warning("the damaged checkpoint is now %s; you may delete it", aside)


def read_score(step_folder: pathlib.Path) -> float | None:
    """The score of a step; None where it was not evaluated, or where the score is not finite."""
    file = step_folder / "metrics" / "metrics"
    if not file.parent.exists():
        return None
    score = _object(file).get(SCORE)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise DamagedError(f"{file} is damaged: its {SCORE} is not a number")
    return float(score) if math.isfinite(score) else None


def read_position(step_folder: pathlib.Path) -> dict:
    """Where the data stood when the step was saved."""
    file = step_folder / "position" / "metadata"
    content = _object(file)
    try:
        msgspec.convert(content, type=_Position)
    except msgspec.ValidationError as error:
        raise DamagedError(f"{file} is damaged ({error})") from error
    return content


def read_checksums(step_folder: pathlib.Path) -> dict[str, int]:
    """The checksums of a step's arrays by item."""
    file = step_folder / "checksums" / "metadata"
    content = _object(file)
    try:
        return msgspec.convert(content, type=dict[str, int])
    except msgspec.ValidationError as error:
        raise DamagedError(f"{file} is damaged ({error})") from error


def read_card(step_folder: pathlib.Path) -> ModelCard | None:
    """The model card of a step; None for checkpoints that are older than cards."""
    file = step_folder / model_card.FILE
    if not os.path.lexists(file):
        return None
    _object(file)
    return model_card.read(file)


def damage(place: pathlib.Path, error: Exception) -> OSError:
    """The error that `place` is damaged, or cannot be read for a reason outside of it."""
    reason = (str(error) or repr(error)).splitlines()[0]
    if remedies.is_of_the_machine(error):
        advice = remedies.advice(error)
        return OSError(f"{place} can't be read ({reason})" + (f"; {advice}" if advice else ""))
    return DamagedError(f"{place} is damaged ({reason})")


def _object(file):
    """The JSON object in a file of a step."""
    try:
        if not file.exists():
            raise DamagedError(f"{file} is damaged: it is missing")
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise DamagedError(f"{file} is damaged: it is not a small file")
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{file} is damaged ({error})") from error
    except DamagedError:
        raise
    except OSError as error:
        raise damage(file, error) from error
    if not isinstance(content, dict):
        raise DamagedError(f"{file} is damaged: it holds a {type(content).__name__}")
    return content

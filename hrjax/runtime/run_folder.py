"""A run's work directory and the config that the run was started with."""

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable

from ml_collections import ConfigDict

from hrjax.runtime import remedies

CONFIG = "config.json"
LARGEST = 2**24  # bytes of it
RESTORE = "restore it from a copy, or remove it: the checkpoints have model cards of their own"
# Fields that do not change what a run computes: they may change when it continues.
FREE_FIELDS = (
    *("data.root", "data.mix.roots", "data.records"),
    *("data.workers", "data.strict", "data.max_unreadable", "data.max_pixels"),
    *("checkpoint.every_steps", "checkpoint.keep", "log.every_steps"),
    *("log.wandb", "log.mlflow"),
    *("eval.batch_size", "eval.report", "train.patience"),
)


def check_writable(workdir: pathlib.Path) -> None:
    """Makes the work directory; raises OSError if nothing can be written there."""
    probe = workdir / f".probe-{os.getpid()}"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise write_error(workdir, error) from error


def write_error(workdir: pathlib.Path, error: OSError) -> OSError:
    """The error that nothing can be written into the work directory, and what to do about it."""
    what = remedies.joined("choose another --workdir", remedies.advice(error))
    reason = error.strerror or str(error)
    if error.filename and pathlib.Path(error.filename).parent == workdir.absolute():
        reason = f"{reason}: {error.filename}"
    return OSError(f"can't write into the work directory {workdir.absolute()} ({reason}); {what}")


def check_there(image_paths: Iterable[str], step: int) -> None:
    """Raises OSError if a folder of these images, which could not be read, no longer exists."""
    gone = sorted({str(folder) for folder in map(_folder, image_paths) if not folder.is_dir()})
    if gone:
        raise OSError(
            f"the images of the batch of step {step} can't be read, because {gone[0]} is gone; "
            "the run ends rather than train on nothing. Restore the folder and run the same "
            "command again: it continues from the last checkpoint"
        )


def _folder(path):
    return pathlib.Path(str(path)).parent


def check_config(config: ConfigDict, saved: ConfigDict, workdir: pathlib.Path) -> None:
    """Raises ValueError that names the fields, FREE_FIELDS aside, that differ from the run's.

    `saved` is the run's config, in which fields that are newer than the run have their defaults.
    """
    before = flatten(_tuples(json.loads(saved.to_json())))
    now = flatten(_tuples(json.loads(config.to_json())))
    names = [
        name
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in FREE_FIELDS
    ]
    if names:
        rows = [f"{name}: {before.get(name)!r} then, {now.get(name)!r} now" for name in names]
        raise ValueError(
            f"{workdir} holds a run with another config:\n  " + "\n  ".join(rows) + "\n"
            f"Start a new run in another --workdir (with --resume_from={workdir} to continue from "
            "the last checkpoint there), or repeat the command with the old values"
        )


def save_config(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes <workdir>/config.json, completely or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / CONFIG
    temporary = file.with_suffix(".new")
    text = json.dumps(json.loads(config.to_json()), indent=1)
    try:
        temporary.write_text(f"{text}\n", encoding="utf-8")
        temporary.replace(file)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise write_error(workdir, error) from error


def find_config(step: pathlib.Path) -> pathlib.Path | None:
    """The config.json of the run, or of the converted weights, that a step is in."""
    folders = [step]
    if step.name.isdigit():
        folders.append(step.parent)
    if step.parent.name == "checkpoints":
        folders.append(step.parent.parent)
    return next((folder / CONFIG for folder in folders if (folder / CONFIG).is_file()), None)


def read_config(file: pathlib.Path) -> dict:
    """The nested dict of a config.json; ValueError names the file if it cannot be read."""
    try:
        if file.stat().st_size > LARGEST:
            raise ValueError(f"{file.stat().st_size:,} bytes")
        text = file.read_text(encoding="utf-8")
        content = _tuples(json.loads(text, parse_constant=_refuse_constant))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged or not JSON ({error}); {RESTORE}") from error
    if not isinstance(content, dict):
        kind = "list" if isinstance(content, tuple) else type(content).__name__
        raise ValueError(f"{file} holds a {kind}, not a config; {RESTORE}")
    return content


def _refuse_constant(name):
    raise ValueError(f"{name} is not a number")


def _tuples(tree):
    """`tree` with tuples in place of JSON's lists."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(map(_tuples, tree)) if isinstance(tree, list) else tree


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested dicts as one dict of dotted names."""
    flat = {}
    for key, value in tree.items():
        inner = (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
        flat.update(inner)
    return flat

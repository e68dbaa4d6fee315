"""A run's process and work directory: signals, memory, and the config that it was started with."""

import json
import os
import pathlib
from collections.abc import Iterable

from ml_collections import ConfigDict

# Fields that say where and how often, not what: they may change when a run goes on.
FREE_FIELDS = (
    *("data.root", "data.mix.roots", "data.records"),
    *("data.workers", "data.strict", "data.max_unreadable"),
    *("checkpoint.every_steps", "checkpoint.keep", "log.every_steps"),
    *("eval.batch_size", "eval.report"),
)


def check_writable(workdir: pathlib.Path) -> None:
    """Makes the work directory; raises OSError that says so where nothing can be written in it."""
    probe = workdir / f".probe-{os.getpid()}"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"can't write into the work directory {workdir.absolute()} ({error.strerror}); give "
            "another --workdir, or the right to write there, or free some space"
        ) from error


def check_there(image_paths: Iterable[str], step: int) -> None:
    """Raises OSError if a folder of these images, which could not be read, isn't there any more."""
    gone = sorted({str(folder) for folder in map(_folder, image_paths) if not folder.is_dir()})
    if gone:
        raise OSError(
            f"the images of the batch of step {step} can't be read, because {gone[0]} is gone; "
            "the run ends before it learns from nothing. Bring the folder back and run the same "
            "command again: it continues from the last checkpoint"
        )


def _folder(path):
    return pathlib.Path(str(path)).parent


def check_config(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Raises ValueError that names fields in which `config` is not the run's, FREE_FIELDS aside."""
    before, now = read_config(workdir), flatten(json.loads(config.to_json()))
    names = [
        name
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in FREE_FIELDS
    ]
    if names:
        rows = [f"{name}: {before.get(name)!r} then, {now.get(name)!r} now" for name in names]
        raise ValueError(
            f"{workdir} holds a run with another config:\n  " + "\n  ".join(rows) + "\n"
            f"Start a new run with another --workdir (add --resume_from={workdir} to go on from "
            "its last checkpoint there), or repeat the command with the old values"
        )


def save_config(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes <workdir>/config.json, whole or not at all."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / "config.json"
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(json.loads(config.to_json()), indent=1) + "\n")
    temporary.replace(file)


def read_config(workdir: pathlib.Path) -> dict:
    """The config that a run was started with, as dotted names → values."""
    return flatten(json.loads((workdir / "config.json").read_text()))


def find_config(path: pathlib.Path) -> dict | None:
    """The config of the run, or the converted weights, that `path` leads to or into; nested."""
    folder = path.absolute()
    # A step of converted weights is one folder below its config, that of a run two.
    files = [place / "config.json" for place in (folder, *folder.parents[:2])]
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else _tuples(json.loads(file.read_text()))


def _tuples(tree):
    """JSON's lists as the tuples that they were."""
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

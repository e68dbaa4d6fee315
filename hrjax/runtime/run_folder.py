"""The folder of a run: whether it is writable, and the config that the run was started with."""

import json
import os
import pathlib
from collections.abc import Iterable

from ml_collections import ConfigDict

# Fields that do not affect results: they may change when a run is continued.
FREE_FIELDS = (
    *("data.root", "data.mix.roots", "data.records"),
    *("data.workers", "data.strict", "data.max_unreadable"),
    *("checkpoint.every_steps", "checkpoint.keep", "log.every_steps"),
    *("eval.batch_size", "eval.report"),
)


def check_writable(workdir: pathlib.Path) -> None:
    """Creates the run folder; raises OSError if nothing can be written to it."""
    probe = workdir / f".probe-{os.getpid()}"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"can't write into the run folder {workdir.absolute()} ({error.strerror}); choose "
            "another --workdir, change its permissions, or free some space"
        ) from error


def check_image_folders(image_paths: Iterable[str], step: int) -> None:
    """Raises OSError if a folder of these unreadable images no longer exists."""
    missing = sorted({str(folder) for folder in map(_folder, image_paths) if not folder.is_dir()})
    if missing:
        raise OSError(
            f"can't read images of the batch of step {step}: the folder {missing[0]} no longer "
            "exists. The run stops here, because training would continue on black images. Restore "
            "the folder and repeat the command: it continues from the last checkpoint"
        )


def _folder(path):
    return pathlib.Path(str(path)).parent


def check_config(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Raises ValueError if `config` differs from the run's in other fields than FREE_FIELDS."""
    before, now = read_config(workdir), flatten(json.loads(config.to_json()))
    names = [
        name
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name not in FREE_FIELDS
    ]
    if names:
        rows = [f"{name}: was {before.get(name)!r}, now {now.get(name)!r}" for name in names]
        raise ValueError(
            f"{workdir} holds a run with another config:\n  " + "\n  ".join(rows) + "\n"
            f"Start a new run with another --workdir (with --resume_from={workdir} it starts from "
            "the last checkpoint of this one), or repeat the command with the old values"
        )


def save_config(config: ConfigDict, workdir: pathlib.Path) -> None:
    """Writes <workdir>/config.json atomically."""
    workdir.mkdir(parents=True, exist_ok=True)
    file = workdir / "config.json"
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(json.loads(config.to_json()), indent=1) + "\n")
    temporary.replace(file)


def read_config(workdir: pathlib.Path) -> dict:
    """The config that a run was started with, as a flat dict of dotted names."""
    return flatten(json.loads((workdir / "config.json").read_text()))


def find_config(path: pathlib.Path) -> dict | None:
    """The saved config of the run or converted weights that `path` is in, nested, or None."""
    folder = path.absolute()
    # The config is one folder above a step of converted weights, two above a step of a run.
    files = [each / "config.json" for each in (folder, *folder.parents[:2])]
    file = next((file for file in files if file.is_file()), None)
    return None if file is None else _tuples(json.loads(file.read_text()))


def _tuples(tree):
    """The tree with tuples in place of JSON's lists."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(map(_tuples, tree)) if isinstance(tree, list) else tree


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested dicts as one flat dict of dotted names."""
    flat = {}
    for key, value in tree.items():
        inner = (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
        flat.update(inner)
    return flat

"""A run's process and work directory: signals, memory, and the config that it was started with."""

import contextlib
import ctypes
import json
import logging
import os
import pathlib
import signal

import jax
from ml_collections import ConfigDict

# Fields that say where and how often, not what: they may change when a run goes on.
FREE_FIELDS = (
    *("data.root", "data.workers", "data.strict", "data.max_unreadable", "data.records"),
    *("checkpoint.every_steps", "checkpoint.keep", "log.every_steps", "eval.batch_size"),
)


# glibc's mallopt: keep what is freed (trim threshold, 2 GiB), grow by 256 MiB at a time, never
# use mmap, one arena for all threads.
MALLOC_OPTIONS = ((-1, 2**31 - 1), (-2, 2**28), (-4, 0), (-8, 1))


def keep_freed_memory() -> None:
    """Makes malloc keep the memory that is freed; call it first in a process that trains on a CPU.

    XLA's CPU backend allocates the temporary arrays of every step anew. By default glibc hands such
    large blocks back to the kernel, which then clears each page again: up to half of the step's
    time. Where there is no glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in MALLOC_OPTIONS:
            mallopt(option, value)


def use_compilation_cache() -> None:
    """Keeps compiled programs between runs, so that a second start takes seconds."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(pathlib.Path(home) / "hrjax"))


class Stop:
    """Whether somebody asked the process to end: `signal` is the signal's number, or None."""

    def __init__(self):
        self.signal: int | None = None


@contextlib.contextmanager
def stopping():
    """Notes SIGINT (Ctrl-C) and SIGTERM in a Stop instead of dying; a second one kills."""
    stop = Stop()
    previous = {}

    def note(number, _):
        stop.signal = number
        for each, handler in previous.items():
            signal.signal(each, handler)
        logging.warning(
            "%s: saving a checkpoint at the end of this step (once more to end at once)",
            signal.Signals(number).name,
        )

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


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


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested dicts as one dict of dotted names."""
    flat = {}
    for key, value in tree.items():
        inner = (
            flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
        flat.update(inner)
    return flat

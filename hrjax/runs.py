"""A run's process and work directory: signals, memory, and the config that it was started with."""

import contextlib
import ctypes
import json
import logging
import os
import pathlib
import signal
from collections.abc import Iterable

import jax
from ml_collections import ConfigDict

# Fields that say where and how often, not what: they may change when a run goes on.
FREE_FIELDS = (
    *("data.root", "data.mix.roots", "data.records"),
    *("data.workers", "data.strict", "data.max_unreadable"),
    *("checkpoint.every_steps", "checkpoint.keep", "log.every_steps"),
    *("eval.batch_size", "eval.report"),
)
# How XLA and the CUDA libraries say that memory ran out.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "OUT_OF_MEMORY")
# glibc's mallopt: never trim what is freed (a step frees gigabytes at once), grow by 256 MiB at a
# time, never use mmap.
MALLOC_OPTIONS = ((-1, -1), (-2, 2**28), (-4, 0))
COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's name of the event
# What `fill_holes` asks malloc for: first a block larger than any hole, then pieces ever smaller.
HOLES_END = 2**30
HOLE_SIZES = tuple(size for power in range(26, 8, -1) for size in (2**power, 3 * 2 ** (power - 2)))


def keep_freed_memory() -> None:
    """Makes malloc keep the memory that is freed; call it first in a process that trains on a CPU.

    XLA's CPU backend allocates the temporary arrays of every step anew. By default glibc hands such
    large blocks back to the kernel, which then clears each page again: up to half of the step's
    time. Only the arena of the main thread can hold them, so that thread is to run the steps itself
    (it would have nothing to do meanwhile that other threads don't). To make all threads share its
    arena would serve as well, but they would wait for each other while compiling: half as long
    again. What compiling leaves behind is cleared up each time. Without glibc nothing happens.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    for option, value in MALLOC_OPTIONS:
        libc.mallopt(option, value)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.monitoring.register_event_duration_secs_listener(_clear_up)


def _clear_up(event, seconds, **_):
    """Called by JAX after each compilation, before the program runs."""
    if event == COMPILED and seconds > 1:
        # The threads that compiled keep what they freed, which no step could use: a third of all.
        ctypes.CDLL(None).malloc_trim(0)
        fill_holes()


def fill_holes() -> None:
    """Takes the free pieces that compiling leaves in malloc's memory.

    Compiling frees pieces of all sizes by the ten thousand, and each of the thousands of
    allocations of a step then searches them, under one lock: on CPUs, steps after a compilation
    took up to twice as long as in a process that found its programs in the cache. The pieces are
    never given back, but their pages are, so they cost addresses and no memory. Does nothing
    without `keep_freed_memory`.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
    wall = libc.malloc(ctypes.c_size_t(HOLES_END))
    if wall and wall < libc.sbrk(0):  # otherwise it is not behind the holes
        for size in HOLE_SIZES:
            while 0 < (piece := libc.malloc(ctypes.c_size_t(size))) < wall:
                _release_pages(libc, piece, size)
            libc.free(ctypes.c_void_p(piece))
    libc.free(ctypes.c_void_p(wall))


def _release_pages(libc, start, size):
    page, drop = os.sysconf("SC_PAGE_SIZE"), 4  # MADV_DONTNEED
    first, last = -(-start // page) * page, (start + size) // page * page
    if last > first:
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), drop)


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


def check_memory(error: Exception, config: ConfigDict) -> None:
    """Raises ValueError that says what to lower if `error` is that memory ran out."""
    if not any(sign in str(error) for sign in OUT_OF_MEMORY):
        return
    height, width = config.data.input_size
    reason = str(error).splitlines()[0]
    raise ValueError(
        f"not enough memory for batches of {config.train.batch_size} crops of {height}x{width} "
        f"(evaluation: {config.eval.batch_size}): {reason}\n"
        "Compute a batch in parts (--config.train.accumulate=2, 4, …), keep less of each block "
        "(--config.train.remat), compute in bfloat16 (--config.train.dtype=bfloat16), or lower "
        "--config.train.batch_size (and --config.optimizer.lr with it), --config.eval.batch_size "
        "or --config.data.input_size"
    ) from error


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

"""Memory of a process: what malloc keeps on CPUs, and what to do when it runs out."""

import ctypes
import os

import jax
from ml_collections import ConfigDict

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

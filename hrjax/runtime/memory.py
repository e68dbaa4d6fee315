"""Memory: malloc settings that speed up CPU training, and advice when memory runs out."""

import ctypes
import os

import jax
from ml_collections import ConfigDict

from data_pipelines.messages import sizes

# How XLA and the CUDA libraries report that memory ran out.
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED", "Out of memory", "out of memory", "OUT_OF_MEMORY")
# glibc's mallopt: never trim freed memory (a step frees gigabytes at once), grow by 256 MiB at a
# time, never use mmap.
MALLOC_OPTIONS = ((-1, -1), (-2, 2**28), (-4, 0))
COMPILED = "/jax/core/compile/backend_compile_duration"  # JAX's name of the event
# `fill_holes` first allocates a block larger than any hole, then ever smaller pieces.
HOLES_END = 2**30
HOLE_SIZES = tuple(size for power in range(26, 8, -1) for size in (2**power, 3 * 2 ** (power - 2)))


def keep_freed_memory() -> None:
    """Makes malloc keep freed memory; call it first in a process that trains on a CPU.

    XLA's CPU backend allocates the temporary arrays of every step anew. By default glibc returns
    such large blocks to the kernel, which must then clear each page again: up to half of the time
    of a step. Only the arena of the main thread can keep them, so steps have to run in that thread
    (asynchronous dispatch is switched off; the thread would only wait anyway). Sharing one arena
    among all threads works as well, but makes compilation 1.5 times as long, because the threads
    wait for each other. Each compilation is followed by a cleanup. Without glibc nothing happens.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    for option, value in MALLOC_OPTIONS:
        libc.mallopt(option, value)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    jax.monitoring.register_event_duration_secs_listener(_clean_up)


def _clean_up(event, seconds, **_):
    """JAX calls this after each compilation, before the program runs."""
    if event == COMPILED and seconds > 1:
        # A third of all memory is what the compiler's threads have freed and steps can't use.
        ctypes.CDLL(None).malloc_trim(0)
        fill_holes()


def fill_holes() -> None:
    """Allocates, for good, the free pieces that compilation leaves in malloc's memory.

    Compilation frees tens of thousands of pieces of all sizes, and each of the thousands of
    allocations in a step then searches them under one lock: on CPUs, steps after a compilation
    took up to twice as long as in a process that loaded its programs from the cache. The pieces are
    never freed, but their pages are released, so they use addresses and no memory. Does nothing
    without `keep_freed_memory`.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
    end = libc.malloc(ctypes.c_size_t(HOLES_END))
    if end and end < libc.sbrk(0):  # otherwise it does not lie behind the holes
        for size in HOLE_SIZES:
            while 0 < (piece := libc.malloc(ctypes.c_size_t(size))) < end:
                _release_pages(libc, piece, size)
            libc.free(ctypes.c_void_p(piece))
    libc.free(ctypes.c_void_p(end))


def _release_pages(libc, start, size):
    page, drop = os.sysconf("SC_PAGE_SIZE"), 4  # MADV_DONTNEED
    first, last = -(-start // page) * page, (start + size) // page * page
    if last > first:
        libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), drop)


def check_memory(error: Exception, config: ConfigDict) -> None:
    """Raises a ValueError that says what to reduce, if `error` means that memory ran out."""
    if not any(phrase in str(error) for phrase in OUT_OF_MEMORY):
        return
    reason = str(error).splitlines()[0]
    raise ValueError(
        f"not enough memory for batches of {config.train.batch_size} crops of "
        f"{sizes.pixels(config.data.input_size)} (evaluation: {config.eval.batch_size}): {reason}\n"
        "Split batches into microbatches (--config.train.accumulate=2, 4, …), recompute "
        "activations (--config.train.remat), train in bfloat16 (--config.train.dtype=bfloat16), "
        "or reduce --config.train.batch_size (and --config.optimizer.lr with it), "
        "--config.eval.batch_size or --config.data.input_size"
    ) from error

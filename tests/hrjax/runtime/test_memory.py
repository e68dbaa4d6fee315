"""malloc keeps freed memory, and errors say what to reduce when memory runs out."""

import ctypes
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from hrjax.runtime import memory


def test_running_out_of_memory_says_what_to_reduce():
    settings = ConfigDict(
        {
            "train": {"batch_size": 512},
            "eval": {"batch_size": 64},
            "data": {"input_size": (384, 288)},
        }
    )
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(lambda: jnp.zeros((2**24, 2**24)))())
    with pytest.raises(ValueError, match="batches of 512 crops of 288x384 pixels") as explained:
        memory.check_memory(caught.value, settings)
    for field in ("train.accumulate", "train.remat", "train.dtype", "train.batch_size"):
        assert f"--config.{field}" in str(explained.value)
    memory.check_memory(RuntimeError("another problem"), settings)


HOLES = """
import ctypes, random, sys
from hrjax.runtime import memory
FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype, libc.malloc.restype = Info, ctypes.c_size_t
def holes():
    info = libc.mallinfo2()
    return info.fordblks - info.keepcost
if sys.argv[1] == "keep":
    memory.keep_freed_memory()
random.seed(0)
pieces = [libc.malloc(ctypes.c_size_t(random.randrange(600, 60000))) for _ in range(10000)]
for piece in pieces[::2]:
    libc.free(ctypes.c_void_p(piece))
before = holes()
memory.fill_holes()
print(before >> 20, (holes() - memory.HOLES_END * (holes() > memory.HOLES_END)) >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_fill_holes_leaves_no_holes_in_memory():
    before, after = run_python(HOLES, "keep")
    assert before > 100
    assert after < before / 50


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_fill_holes_does_nothing_if_freed_memory_is_not_kept():
    before, after = run_python(HOLES, "default")
    assert abs(after - before) < before / 10


LARGE = """
import ctypes, sys
from hrjax.runtime import memory
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.sbrk.restype = ctypes.c_size_t
memory.keep_freed_memory()
block = libc.malloc(ctypes.c_size_t(3 * 2**30))
before = libc.sbrk(0)
libc.free(ctypes.c_void_p(block))
print(before, libc.sbrk(0))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_freed_blocks_of_gigabytes_are_kept():
    before, after = run_python(LARGE)
    assert after == before


COMPILING = """
import jax, jax.numpy as jnp
from hrjax.runtime import memory
seconds = []
memory.fill_holes = lambda: seconds.append(1)
jax.config.update("jax_enable_compilation_cache", False)
listen = jax.monitoring.register_event_duration_secs_listener
jax.monitoring.register_event_duration_secs_listener = lambda call: listen(
    lambda event, seconds, **_: call(event, seconds + 1)
)
memory.keep_freed_memory()
square = jax.jit(lambda x: x @ x).lower(jnp.ones((3000, 3000))).compile()
cleanups = len(seconds)
print(cleanups, int(square(jnp.ones((3000, 3000))).is_ready()))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_compilation_is_followed_by_a_cleanup_and_steps_run_in_the_calling_thread():
    cleanups, ready = run_python(COMPILING)
    assert cleanups > 0
    assert ready  # as soon as the call returns


def run_python(code, *arguments):
    """The numbers that the code prints in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]

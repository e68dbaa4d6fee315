"""Work directories and signals."""

import ctypes
import json
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from hrjax.runtime import memory, run_folder, signals


def config(**fields):
    return ConfigDict({"seed": 0, "data": {"root": "a", "input_size": (8, 8)}, **fields})


def test_the_same_config_may_go_on(tmp_path):
    run_folder.save_config(config(), tmp_path / "run")
    run_folder.check_config(config(), tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["data"]["input_size"] == [8, 8]


def test_another_config_may_not_and_says_what_to_do(tmp_path):
    run_folder.save_config(config(), tmp_path)
    with pytest.raises(ValueError, match="seed: 0 then, 1 now") as caught:
        run_folder.check_config(config(seed=1), tmp_path)
    assert f"--resume_from={tmp_path}" in str(caught.value)
    with pytest.raises(ValueError, match="extra: None then, 2 now"):
        run_folder.check_config(config(extra=2), tmp_path)


def test_the_data_may_move(tmp_path):
    run_folder.save_config(config(), tmp_path)
    moved = config()
    moved.data.root = "b"
    run_folder.check_config(moved, tmp_path)


@pytest.fixture
def interruptible():
    """Python's own handler of SIGINT, which a shell takes away from what runs in its background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_is_noted_once_and_then_kills(interruptible):
    with signals.stopping() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with signals.stopping():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"can't write into the work directory .*file/run \(Not a"):
        run_folder.check_writable(tmp_path / "file" / "run")
    run_folder.check_writable(tmp_path / "new" / "run")
    assert not list((tmp_path / "new" / "run").iterdir())


def test_memory_that_runs_out_says_what_to_lower():
    settings = ConfigDict(
        {
            "train": {"batch_size": 512},
            "eval": {"batch_size": 64},
            "data": {"input_size": (384, 288)},
        }
    )
    with pytest.raises(jax.errors.JaxRuntimeError) as caught:
        jax.block_until_ready(jax.jit(lambda: jnp.zeros((2**24, 2**24)))())
    with pytest.raises(ValueError, match="batches of 512 crops of 384x288") as explained:
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
def test_no_holes_are_left_in_memory_after_compiling():
    before, after = run_python(HOLES, "keep")
    assert before > 100
    assert after < before / 50


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_memory_that_malloc_does_not_keep_is_left_alone():
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
cleared = len(seconds)
print(cleared, int(square(jnp.ones((3000, 3000))).is_ready()))
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc")
def test_memory_is_cleared_up_after_compiling_and_steps_run_in_their_caller():
    cleared, ready = run_python(COMPILING)
    assert cleared > 0
    assert ready  # when the call returns


def run_python(code, *arguments):
    """The numbers that a process of its own prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]

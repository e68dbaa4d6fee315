"""Machines that cannot run workers: threads read the same batches, and a warning says why."""

import errno
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from data_pipelines.batching import worker_limits

ROOT = pathlib.Path(__file__).parents[3]


def error(number):
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (error(errno.ENOSPC), "/dev/shm has "),
        (RuntimeError("Worker process was terminated unexpectedly with exit code -7"), "/dev/shm"),
        (error(errno.EMFILE), "more open files than the limit of "),
        (error(errno.EAGAIN), "raise the limit on processes"),
        (RuntimeError("can't start new thread"), "raise the limit on processes"),
        (error(errno.ENOMEM), "or on memory"),
    ],
)
def test_the_limit_and_what_to_change_are_named(problem, words):
    assert words in worker_limits.reason(problem)
    assert "config.data.workers" in worker_limits.reason(problem)


@pytest.mark.parametrize(
    "problem",
    [
        error(errno.ENOENT),  # an image that is not there, while shared memory is
        ValueError("7"),
        RuntimeError("Worker process was terminated unexpectedly with exit code -9"),
    ],
)
def test_other_errors_have_other_reasons(problem):
    assert worker_limits.reason(problem) == ""


# Batches of 400 kB, read by two workers and then by none.
PROGRAM = """
import logging, sys
import numpy as np
from data_pipelines.batching import loading
from tests.data_pipelines.batching.test_loading import _split

def draw(example, rng):
    return {**example, "draw": rng.random(12500)}

if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    sums = []
    for workers in (2, 0):
        options = {"batch_size": 4, "seed": 5, "workers": workers}
        with loading.train_batches(_split(10), [draw], **options) as batches:
            sums.append([next(batches)["draw"].sum() for _ in range(6)])
    print(sums[0] == sums[1])
"""


def run(tmp_path, before):
    (tmp_path / "program.py").write_text(PROGRAM)
    command = f'{before} exec "$0" "$1"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", command, sys.executable, str(tmp_path / "program.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


may_mount = shutil.which("unshare") and os.geteuid() == 0


@pytest.mark.skipif(not may_mount, reason="mounting a small /dev/shm takes root and unshare")
@pytest.mark.parametrize("options", ["size=64k", "size=1m", "size=64k,ro"])
def test_shared_memory_that_is_too_small_is_done_without(tmp_path, options):
    done = run(tmp_path, f"mount -t tmpfs -o {options} tmpfs /dev/shm;")
    assert done.stdout == "True\n", done.stderr
    assert done.stderr.count("/dev/shm") == 1
    assert "Reading in threads of this process instead" in done.stderr


@pytest.mark.skipif(not shutil.which("unshare") or os.geteuid() != 0, reason="takes root")
def test_few_open_files_are_enough_for_threads(tmp_path):
    done = run(tmp_path, "ulimit -n 24;")
    assert done.stdout == "True\n", done.stderr
    assert "workers need more open files than the limit of 24" in done.stderr

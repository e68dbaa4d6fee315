"""Readers that die, hang or fail."""

import logging
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_pipelines import splits
from data_pipelines.batching import loading, worker_watchdog
from data_pipelines.skeletons import MPII

DEATH = RuntimeError("Worker process was terminated unexpectedly with exit code -9. Search")


def answers(*steps):
    """A reader that raises or returns these, one after the other."""
    left = list(steps)

    def read():
        step = left.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    return read


def test_a_worker_that_died_is_replaced(caplog):
    batch = {"index": np.arange(2)}
    assert worker_watchdog.take(answers(DEATH, batch), 7) is batch
    assert "died (Worker process was terminated unexpectedly with exit code -9" in caplog.text
    assert "before batch 7; restarting the workers" in caplog.text


def test_workers_that_always_die_are_an_error():
    with pytest.raises(OSError, match=r"before batch 7, 3 times in a row.*config.data.workers"):
        worker_watchdog.take(answers(DEATH, DEATH, DEATH), 7)


@pytest.mark.parametrize("error", [ValueError("no such image"), StopIteration("the end")])
def test_errors_of_the_reader_are_its_own(error):
    with pytest.raises(type(error), match=str(error)):
        worker_watchdog.take(answers(error), 0)


def test_a_disk_that_hangs_is_an_error_in_time():
    start = time.monotonic()
    with pytest.raises(OSError, match=r"no data after waiting 0 seconds for batch 3.*disk or the"):
        worker_watchdog.take(lambda: time.sleep(2), 3, patience=0.1)
    assert time.monotonic() - start < 1
    assert worker_watchdog.PATIENCE < 60


class HangOnce:
    """An op that stops its worker process the first time that it is called."""

    def __init__(self, folder, number):
        self.file, self.number = pathlib.Path(folder) / "hung", number

    def __call__(self, example, rng):
        if not self.file.exists():
            self.file.touch()
            os.kill(os.getpid(), self.number)
        return example


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_workers_that_hang_or_die_are_replaced_and_no_sample_is_lost(tmp_path, caplog, number):
    columns = {
        "image_path": splits.path_column([f"{row}.jpg" for row in range(8)]),
        "center": np.zeros((8, 2), np.float32),
        "size": np.ones((8, 2), np.float32),
        "keypoints": np.zeros((8, 16, 2), np.float32),
        "visible": np.ones((8, 16), np.float32),
    }
    split = splits.Split("train", MPII, "train.json", columns, {})
    options = {"batch_size": 2, "seed": 1}
    with loading.train_batches(split, [], **options) as batches:
        expected = [next(batches)["index"].tolist() for _ in range(3)]
    made = loading.train_batches(split, [HangOnce(tmp_path, number)], workers=1, **options)
    made._patience = 12.0  # a worker needs some seconds to start
    with caplog.at_level(logging.WARNING), made as batches:
        found = [next(batches)["index"].tolist() for _ in range(3)]
    assert found == expected
    assert "restarting the workers" in caplog.text
    assert not multiprocessing.active_children()


ORPHANS = """
import multiprocessing, time
from data_pipelines.batching import loading
from tests.data_pipelines.batching.test_loading import _draw, _split

if __name__ == "__main__":
    batches = loading.train_batches(_split(10), [_draw], batch_size=4, seed=5, workers=2)
    next(batches)
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    time.sleep(60)
"""


def test_workers_end_with_the_process_that_started_them(tmp_path):
    root = pathlib.Path(__file__).parents[3]
    (tmp_path / "program.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "program.py")]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        workers = process.stdout.readline().split()
        assert len(workers) == 2
        process.kill()
    deadline = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)

"""Two processes that are started together in one work directory, at random moments."""

import os
import pathlib
import random
import subprocess
import sys
import time

import pytest

from hrjax.training.logs import run_log
from hrjax.weights import checkpoints

ROOT = pathlib.Path(__file__).parents[3]
OPTIONS = (
    *("--config=configs/resnet_mpii.py", "--config.data.input_size=32,32"),
    *("--config.model.width=4", "--config.model.blocks=1,", "--config.model.deconvs=0"),
    *("--config.train.batch_size=8", "--config.eval.batch_size=8", "--config.data.workers=0"),
    *("--config.log.every_steps=1", "--config.eval.every_epochs=0", "--config.train.epochs=60"),
    *("--config.optimizer.milestones=30,40", "--config.checkpoint.every_steps=10"),
)


def start(root, workdir):
    places = (f"--config.data.root={root}", f"--workdir={workdir}")
    return subprocess.Popen(
        [sys.executable, "-m", "hrjax.main", *OPTIONS, *places],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def losses(workdir):
    return [(row["step"], row["loss"]) for row in run_log.read(workdir)]


@pytest.fixture(scope="module")
def whole(drawn, tmp_path_factory):
    """The losses of a run that has its work directory to itself."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    with start(drawn, workdir) as process:
        assert process.wait(timeout=200) == 0, process.stderr.read()
    return losses(workdir)


@pytest.mark.long
@pytest.mark.parametrize("number", range(10))
def test_one_of_two_processes_trains_and_the_other_is_refused(drawn, tmp_path, whole, number):
    rng, workdir = random.Random(number), tmp_path / "runs" / "pair"
    with start(drawn, workdir) as first:
        time.sleep(rng.choice([0, rng.uniform(0, 1), rng.uniform(1, 5)]))
        with start(drawn, workdir) as second:
            texts = {process: process.communicate(timeout=200)[1] for process in (first, second)}
    codes = sorted(process.returncode for process in texts)
    if codes == [0, 0]:  # the second began after the end of the first
        assert any("this run is finished" in text for text in texts.values())
    else:
        assert codes == [0, 1], texts
        refused = next(process for process in texts if process.returncode)
        winner = next(process for process in texts if not process.returncode)
        lines = texts[refused].strip().split("\n")
        assert len(lines) == 1, lines
        assert lines[0].startswith(f"error: {workdir} is in use: process {winner.pid} on ")
    assert losses(workdir) == whole
    assert checkpoints.latest(workdir / "checkpoints") == whole[-1][0]
    assert not (workdir / "in_use.json").exists()


@pytest.mark.long
def test_a_run_that_was_killed_is_continued_at_once(drawn, tmp_path, whole):
    for seconds in (0, 2, 5, 6):
        with start(drawn, tmp_path) as process:
            time.sleep(seconds)
            process.kill()
    with start(drawn, tmp_path) as process:
        assert process.wait(timeout=200) == 0, process.stderr.read()
    assert losses(tmp_path) == whole

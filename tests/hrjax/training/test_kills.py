"""kill -9 at the worst moments: the continued run has the losses of an uninterrupted one."""

import json
import pathlib
import random
import subprocess
import sys

import jax
import pytest

from hrjax.runtime import distributed
from hrjax.training import train
from hrjax.training.logs import run_log

ROOT = pathlib.Path(__file__).parents[3]
EVERY = 4  # steps between checkpoints

# Starts the run again and again, forking a process that has imported everything but run nothing.
# Each fork kills itself at its moment, or exits at the end of the run.
PROGRAM = """
import json, logging, os, pathlib, signal, sys, threading, time
from tests.conftest import micro_config
from tests.hrjax.training.test_kills import one_device, tune
from hrjax.training import train
from hrjax.training.logs import run_log

root, workdir, epochs, *moments = sys.argv[1:]
workdir = pathlib.Path(workdir)

def kill():
    os.kill(os.getpid(), signal.SIGKILL)

def kill_in_step(original=run_log.RunLog.add):
    def add(self, step, *args, **kwargs):
        original(self, step, *args, **kwargs)
        if step == 6:  # step 7 is being computed
            kill()
    run_log.RunLog.add = add

def kill_in_save():
    def watch():
        while not list(workdir.glob("checkpoints/12.*tmp*")):
            time.sleep(0.0002)
        kill()
    threading.Thread(target=watch, daemon=True).start()

def kill_in_evaluation(say=run_log.RunLog.say):
    def say_and_die(self, text):
        say(self, text)
        if text.startswith("evaluating"):
            threading.Timer(0.05, kill).start()
    run_log.RunLog.say = say_and_die

def kill_after_first_step(seconds, add=run_log.RunLog.add):
    def add_and_count(self, *args, **kwargs):
        add(self, *args, **kwargs)
        run_log.RunLog.add = add
        threading.Timer(seconds, kill).start()
    run_log.RunLog.add = add_and_count

def run(moment):
    if moment.startswith("start+"):
        threading.Timer(float(moment[6:]), kill).start()
    elif moment.startswith("first step+"):
        kill_after_first_step(float(moment[11:]))
    else:
        globals()[f"kill_in_{moment}"]()
    train.train(tune(micro_config(root), int(epochs)), workdir, mesh=one_device())
    os._exit(0)

for moment in moments:
    child = os.fork()
    if child == 0:
        run(moment)
    _, status = os.waitpid(child, 0)
    print(json.dumps([moment, os.waitstatus_to_exitcode(status)]), flush=True)
"""


def tune(config, epochs=15):
    """Checkpoints every four steps and an evaluation every 15 epochs; an epoch has two steps."""
    config.checkpoint.every_steps = EVERY
    config.train.epochs = epochs
    config.eval.every_epochs = 15
    return config


def one_device():
    return distributed.make_mesh(jax.devices()[:1])


def losses(workdir):
    return [(row["step"], row["loss"]) for row in run_log.read(workdir) if "loss" in row]


def kill_at(moments, drawn, workdir, epochs=15):
    """Runs and kills; returns each moment with the exit code of its process."""
    arguments = [str(drawn), str(workdir), str(epochs), *moments]
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_a_run_killed_three_times_ends_like_an_uninterrupted_one(micro, drawn, tmp_path):
    tune(micro)
    train.train(micro, tmp_path / "whole", mesh=one_device())
    moments = ["step", "save", "evaluation"]
    ends = kill_at(moments, drawn, tmp_path / "killed")
    assert ends == [[moment, -9] for moment in moments]
    train.train(micro, tmp_path / "killed", mesh=one_device())
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    names = ("killed", "whole")
    rows = [
        [row for row in run_log.read(tmp_path / name) if "eval/PCKh@0.5" in row] for name in names
    ]
    assert rows[0] == rows[1]


@pytest.mark.long
def test_a_run_killed_at_twenty_moments_ends_like_an_uninterrupted_one(micro, drawn, tmp_path):
    rng, epochs = random.Random(0), 150
    # Before the first step (while restoring or compiling) and soon after it, amid steps and saves.
    moments = [
        *(f"start+{rng.uniform(0.2, 2):.2f}" for _ in range(10)),
        *(f"first step+{rng.uniform(0, 0.4):.3f}" for _ in range(10)),
    ]
    rng.shuffle(moments)
    tune(micro, epochs)
    train.train(micro, tmp_path / "whole", mesh=one_device())
    ends = kill_at(moments, drawn, tmp_path / "killed", epochs)
    assert (
        sum(code == -9 for _, code in ends) > 10
    )  # a fast machine may finish before the last ones
    train.train(micro, tmp_path / "killed", mesh=one_device())
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")

"""Two processes with two devices each give the results of one process with four."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from hrjax.training.logs import run_log
from hrjax.weights import checkpoints

ROOT = pathlib.Path(__file__).parents[3]
OPTIONS = (
    *("--config=configs/resnet_mpii.py", "--config.data.input_size=32,32"),
    *("--config.model.width=4", "--config.model.blocks=1,", "--config.model.deconvs=0"),
    *("--config.train.batch_size=8", "--config.eval.batch_size=8", "--config.data.workers=0"),
    *("--config.log.every_steps=1", "--config.eval.every_epochs=40"),
    *("--config.optimizer.warmup_steps=0", "--config.optimizer.name=sgd"),
    *("--config.optimizer.lr=0.01", "--config.train.dtype=float64", "--config.train.epochs=40"),
    "--config.checkpoint.every_steps=10",
)


def start(root, workdir, *options, devices, log):
    """Starts one process of a run, with its output in the file `log`."""
    flags = f"--xla_force_host_platform_device_count={devices} --xla_cpu_multi_thread_eigen=false"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "hrjax.main", *OPTIONS, f"--config.data.root={root}"]
    with log.open("w") as file:
        return subprocess.Popen(
            [*command, f"--workdir={workdir}", *options],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
        )


def start_two(root, workdir, *options, logs, each=((), ())):
    """Starts two processes of one run; `each` holds the options of only one of them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = (f"--coordinator=127.0.0.1:{port}", "--num_processes=2")
    return [
        start(
            *(root, workdir, *job, f"--process_id={p}", *options, *each[p]),
            devices=2,
            log=logs / f"{p}.log",
        )
        for p in (0, 1)
    ]


def ends(processes):
    return [process.wait(timeout=200) for process in processes]


def wait_for_step(workdir, step):
    deadline = time.monotonic() + 120
    while not (workdir / "metrics.jsonl").exists() or len(run_log.read(workdir)) < step:
        assert time.monotonic() < deadline, "the run does not make progress"
        time.sleep(0.01)


def losses(workdir):
    return np.array([row["loss"] for row in run_log.read(workdir) if "loss" in row])


@pytest.mark.long
def test_two_processes_train_and_continue_like_one(drawn, tmp_path):
    one, two, moved = (tmp_path / name for name in ("one", "two", "moved"))
    assert start(drawn, one, devices=4, log=tmp_path / "one.log").wait(timeout=200) == 0
    # SIGTERM to one of the two: both stop after the same step.
    processes = start_two(drawn, two, logs=tmp_path)
    wait_for_step(two, 14)
    processes[1].send_signal(signal.SIGTERM)
    output = (tmp_path / "0.log").read_text
    assert ends(processes) == [128 + signal.SIGTERM] * 2, output()
    assert "4 cpu in 2 processes (cpu:0 cpu:1 " in output()
    last = checkpoints.latest(two / "checkpoints")
    assert f"stopped after step {last}" in output()
    whole = losses(one)
    assert 14 <= last < len(whole)
    np.testing.assert_allclose(losses(two)[:10], whole[:10], rtol=1e-9)
    # One process with four devices continues from there, as do two with two. `checkpoints.restore`
    # verifies by checksums that the arrays are bitwise the same.
    shutil.copytree(two, moved)
    assert start(drawn, moved, devices=4, log=tmp_path / "moved.log").wait(timeout=200) == 0
    assert ends(start_two(drawn, two, logs=tmp_path)) == [0, 0], output()
    assert f"continuing at step {last} " in output()
    assert f"continuing at step {last} " in (tmp_path / "moved.log").read_text()
    np.testing.assert_allclose(losses(two), whole, rtol=1e-6)
    np.testing.assert_allclose(losses(moved), whole, rtol=1e-6)
    scores = [json.loads((run / "eval/val/metrics.json").read_text()) for run in (one, two, moved)]
    assert scores[0]["PCKh@0.5"] == scores[1]["PCKh@0.5"] == scores[2]["PCKh@0.5"]
    # Only the first process logs.
    second = (tmp_path / "1.log").read_text()
    assert "continuing" not in second
    assert "PCKh" not in second


@pytest.mark.long
def test_two_processes_evaluate_like_one(drawn, tmp_path):
    run = tmp_path / "run"
    few = ("--config.train.epochs=1", "--config.eval.every_epochs=0")
    assert start(drawn, run, *few, devices=1, log=tmp_path / "train.log").wait(timeout=200) == 0
    again = (*few, "--mode=eval")
    assert ends(start_two(drawn, run, *again, logs=tmp_path)) == [0, 0]
    two = json.loads((run / "eval/val/results.json").read_text())
    assert start(drawn, run, *again, devices=1, log=tmp_path / "eval.log").wait(timeout=200) == 0
    one = json.loads((run / "eval/val/results.json").read_text())
    np.testing.assert_allclose(
        [person["keypoints"] for person in two], [person["keypoints"] for person in one], atol=1e-3
    )
    assert "PCKh@0.5" in (tmp_path / "0.log").read_text()
    assert "PCKh@0.5" not in (tmp_path / "1.log").read_text()


@pytest.mark.long
def test_processes_with_different_configs_are_an_error(drawn, tmp_path):
    seeds = (("--config.seed=0",), ("--config.seed=1",))
    assert ends(start_two(drawn, tmp_path / "run", logs=tmp_path, each=seeds)) == [1, 1]
    for name in ("0.log", "1.log"):
        assert "error: the processes differ in their config" in (tmp_path / name).read_text()


@pytest.mark.long
def test_a_missing_launcher_is_an_error(drawn, tmp_path):
    log = tmp_path / "run.log"
    process = start(drawn, tmp_path / "run", "--launcher=slurm", devices=1, log=log)
    assert process.wait(timeout=100) == 1
    assert "with --launcher=slurm (SLURM_JOB_ID is not set" in log.read_text()

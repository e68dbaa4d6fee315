"""The command line: help, errors without tracebacks, and the exit status."""

import json
import logging
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import scipy.io

from configs import quickstart
from hrjax import main
from hrjax.runtime import run_folder
from hrjax.training.logs import run_log
from hrjax.weights import step_files

ROOT = pathlib.Path(__file__).parent.parent.parent
SMALL = (
    *("--config.data.draw.train_images=0", "--config.data.input_size=32,32"),
    *("--config.model.width=8", "--config.model.modules=1,", "--config.model.stem_width=8"),
    *("--config.train.batch_size=8", "--config.eval.batch_size=8", "--config.log.every_steps=1"),
    *("--config.eval.every_epochs=0", "--config.optimizer.warmup_steps=0"),
)


@pytest.fixture
def run(monkeypatch, capsys, drawn, tmp_path):
    """Runs the command line; returns its status, what it printed, and its errors."""
    monkeypatch.chdir(ROOT)
    root = logging.getLogger()
    # The command line sends the log to this test's stderr, which is closed after it.
    monkeypatch.setattr(root, "handlers", list(root.handlers))

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["hrjax.main", *arguments])
        status = main.main()
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return command


@pytest.fixture
def small(drawn, tmp_path):
    return (
        *("--config=configs/quickstart.py", *SMALL, f"--config.data.root={drawn}"),
        f"--workdir={tmp_path / 'run'}",
    )


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_help_shows_three_examples_and_the_choices(run, arguments):
    status, out, _ = run(*arguments)
    assert status == 0
    assert out.count("python -m hrjax.main --config=configs/") == 2
    assert "python -m hrjax.main --mode=eval --checkpoint=runs/quickstart" in out
    assert "configs/widehrnet_mpii.py" in out
    assert "models    22: hrnet_w32, hrnet_w48, hrnet_tiny, …" in out
    # It fits on a screen.
    assert len(out.splitlines()) <= 40
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("topic", "lines"),
    [
        ("configs", ["configs/quickstart.py", "configs/widehrnet_mpii.py"]),
        ("models", ["widehrnet_18, widehrnet_18_se, widehrnet_30, widehrnet_30_se"]),
        (
            "fields",
            [
                "config.optimizer.lr = 1e-3  # the peak learning rate",
                "config.data.input_size = ()  # (height, width) of the crops in pixels",
                "# How heatmaps become joints: argmax, quarter, dark, udp, paddle_dark.",
            ],
        ),
        ("datasets", ["mpii", "custom", "posetrack18"]),
    ],
)
def test_help_on_a_topic_is_the_whole_list(run, topic, lines):
    status, out, _ = run(f"--help={topic}")
    assert status == 0
    assert set(lines) <= set(out.splitlines())
    assert "common" not in out


def test_help_has_every_field_of_a_recipe(run):
    _, out, _ = run("--help=fields")
    fields = run_folder.flatten(quickstart.get_config().to_dict())
    # The files and folders of splits are two dicts.
    names = {re.sub(r"^(data\.(annotations|images))\..*", r"\1", name) for name in fields}
    shown = set(re.findall(r"^config\.([\w.]+) = ", out, re.MULTILINE))
    assert shown == {name for name in names if not name.startswith("model.")}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=train"], "no --config=FILE"),
        (["--mode=eval", "--checkpoint=gone"], "no checkpoint gone"),
        (["--config=configs/widehrnet_mpi.py"], "did you mean configs/widehrnet_mpii.py"),
        (["--config=quickstart.py"], "did you mean configs/quickstart.py?"),
        (["--mode=eval", "--checkpoint=hrnet_w32_cocoo"], "did you mean hrnet_w32_coco"),
        (["--conifg=configs/quickstart.py"], "unknown option --conifg; did you mean --config?"),
        (["--help=modles"], "did you mean models? Choose one of: configs, models, fields"),
        (["--config=configs/widehrnet_mpii.py:hrnet_w32"], "one of: widehrnet_18, widehrnet"),
        (["--config=configs/quickstart.py", "--config.seeds=1"], "did you mean config.seed?"),
        (
            ["--config=configs/quickstart.py", "--config.model.expnsion=6"],
            "did you mean config.model.expansion?",
        ),
        (["--config=configs/quickstart.py", "--config.seed=one"], "--config.seed=one"),
        (["--config=configs/quickstart.py", "--workdirs=x"], "workdirs"),
        (["--config=configs/quickstart.py", "train"], "unknown argument 'train'"),
        (
            ["--config=configs/quickstart.py", "--mode=evl"],
            "did you mean eval? Choose one of: train",
        ),
        (["--config=configs/quickstart.py", "--checkpoint=x"], "--resume_from"),
        (["--config=configs/quickstart.py", "--devices=a"], "expected numbers with commas"),
        (["--config=configs/quickstart.py", "--devices=0,99"], "this machine has "),
        (["--config=configs/quickstart.py", "--process_id=0"], "--coordinator=HOST:PORT"),
        (
            ["--config=configs/quickstart.py", "--launcher=ssh"],
            "choose one of: none, auto, slurm, mpi",
        ),
        (["--config=configs/quickstart.py", "--workdir=/dev/null/run"], "can't write into the"),
        (["--config=configs/quickstart.py", "--mode=eval", "--resume_from=x"], "--checkpoint"),
        (["--config=configs/quickstart.py", "--output=x.json"], "--mode=eval"),
        (["--config=configs/widehrnet_mpii.py", "--config.data.root=nowhere"], "nowhere"),
        (["--config=configs/hrnet_coco.py", "--config.data.root=nowhere"], "cocodataset.org"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(run, tmp_path, arguments, message):
    status, _, err = run(f"--workdir={tmp_path / 'run'}", *arguments)
    assert status == 1
    assert "error: " in err
    assert message in err
    assert "Traceback" not in err


def test_an_unknown_optimizer_is_a_message(run, small):
    status, _, err = run(*small, "--config.optimizer.name=lion")
    assert status == 1
    assert "choose one of: adam, adamw, sgd" in err


def test_trains_evaluates_and_refuses_another_model(run, small, tmp_path):
    status, _, _ = run(*small, "--config.train.epochs=2")
    assert status == 0
    output = tmp_path / "new" / "people.mat"
    status, out, _ = run(*small, "--config.train.epochs=2", "--mode=eval", f"--output={output}")
    assert status == 0
    assert "PCKh@0.5" in out
    assert scipy.io.loadmat(output)["preds"].shape[1:] == (16, 2)
    status, _, err = run(*small, "--mode=eval", "--config.model.expansion=3")
    assert status == 1
    assert "checkpoint of another model" in err


def test_a_run_evaluates_by_its_own_config(run, small, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    metrics = folder / "eval" / "val" / "metrics.json"
    run(*small, "--config.train.epochs=1", "--config.heatmap.sigma=1.0")
    assert run(*small, "--mode=eval", "--config.heatmap.sigma=1.0")[0] == 0
    expected = metrics.read_text()
    monkeypatch.chdir(tmp_path)
    for path in (folder, folder / "checkpoints", *(folder / "checkpoints").iterdir()):
        metrics.unlink()
        status, _, err = run("--mode=eval", f"--checkpoint={path}")
        assert status == 0
        assert metrics.read_text() == expected
        assert " with the run's own config\n" in err
    status, out, err = run("--mode=eval", f"--workdir={folder}", "--config.eval.decode=dark")
    assert status == 0
    assert "dark decoding" in out
    assert "with the run's own config, but eval.decode is 'dark' instead of 'quarter'\n" in err
    monkeypatch.chdir(ROOT)
    _, _, err = run(*small, "--mode=eval", f"--checkpoint={folder}", "--config.seed=3")
    assert "the run's own config, but heatmap.sigma is 1.5 instead of 1.0\n" in err


def test_evaluating_a_run_draws_nothing_and_replaces_no_input(run, small, drawn, tmp_path):
    run(*small, "--config.train.epochs=1")
    truth = drawn / "annotations" / "mpii_val.json"
    before = truth.read_bytes()
    (tmp_path / "link.json").symlink_to(truth)
    status, _, err = run(*small, "--mode=eval", f"--output={tmp_path / 'link.json'}")
    assert status == 1
    assert "link.json would replace the input" in err
    assert truth.read_bytes() == before
    file, made = tmp_path / "run" / "config.json", tmp_path / "made" / "here"
    config = json.loads(file.read_text())
    config["data"]["root"] = str(made)
    config["data"]["draw"].update(train_images=30, val_images=5)
    file.write_text(json.dumps(config))
    status, _, err = run("--mode=eval", f"--checkpoint={tmp_path / 'run'}")
    assert status == 1
    assert f"there is no {made}" in err
    assert not made.parent.exists()


def test_a_moved_step_evaluates_by_its_card(run, small, drawn, tmp_path, monkeypatch):
    run(*small, "--config.train.epochs=1", "--config.heatmap.sigma=1.0")
    run("--mode=eval", f"--checkpoint={tmp_path / 'run'}")
    expected = json.loads((tmp_path / "run/eval/val/metrics.json").read_text())
    (step,) = (tmp_path / "run" / "checkpoints").iterdir()
    shutil.copytree(step, tmp_path / "elsewhere" / "model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    status, _, err = run("--mode=eval", "--checkpoint=model", f"--config.data.root={drawn}")
    assert status == 0
    results = tmp_path / "elsewhere" / "runs" / "eval_model" / "eval" / "val" / "metrics.json"
    assert json.loads(results.read_text()) == expected
    assert "with the config of its model card, but data.root is " in err


def test_weights_that_say_nothing_need_a_config(run, small, tmp_path):
    run(*small, "--config.train.epochs=1")
    (step,) = (tmp_path / "run" / "checkpoints").iterdir()
    (step / "model.json").unlink()
    shutil.move(step, tmp_path / "bare")
    status, _, err = run("--mode=eval", f"--checkpoint={tmp_path / 'bare'}")
    assert status == 1
    assert "neither a model.json nor its run's config.json" in err
    assert "give the config that it was trained with" in err
    assert run(*small, "--mode=eval", f"--checkpoint={tmp_path / 'bare'}")[0] == 0


def test_help_answers_before_jax_is_imported():
    code = "import hrjax.main, sys; hrjax.main.main(); print('jax' in sys.modules)"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", code, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stdout.endswith("False\n")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_fields_of_the_variant_are_flags(run, small, tmp_path):
    run(*small, "--config.train.epochs=1", "--config.model.se_ratio=2")
    config = (tmp_path / "run" / "config.json").read_text()
    assert '"se_ratio": 2' in config


def start(small, *arguments, errors):
    """A process on one device, whose messages go to the file `errors`."""
    with errors.open("w") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "hrjax.main", *small, *arguments],
            cwd=ROOT,
            env={**os.environ, "XLA_FLAGS": ""},
            stderr=file,
        )


def wait_for_step(workdir, step):
    deadline = time.monotonic() + 120
    while not (workdir / "metrics.jsonl").exists() or len(run_log.read(workdir)) < step:
        assert time.monotonic() < deadline, "the run does not get going"
        time.sleep(0.02)


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_ended_goes_on_with_the_same_losses(small, tmp_path, number):
    more = ("--config.train.epochs=200", "--config.checkpoint.every_steps=20")
    whole = (*small[:-1], f"--workdir={tmp_path / 'whole'}")
    assert start(whole, *more, errors=tmp_path / "0.log").wait() == 0
    process = start(small, *more, errors=tmp_path / "1.log")
    wait_for_step(tmp_path / "run", 45)
    process.send_signal(number)
    expected = -number if number == signal.SIGKILL else 128 + number
    assert process.wait() == expected
    assert len(run_log.read(tmp_path / "run")) < len(run_log.read(tmp_path / "whole"))
    assert start(small, *more, errors=tmp_path / "2.log").wait() == 0
    assert "continuing at step" in (tmp_path / "2.log").read_text()
    rows = [[row["loss"] for row in run_log.read(tmp_path / name)] for name in ("run", "whole")]
    assert rows[0] == rows[1]


@pytest.mark.long
@pytest.mark.parametrize("streams", ["2>&-", "<&- >&- 2>&-", "2>&1 | head -1", "2>/dev/full"])
def test_a_run_goes_on_without_its_streams(small, tmp_path, streams):
    command = f'("$@"; echo $? > {tmp_path}/code) {streams}'
    arguments = [sys.executable, "-m", "hrjax.main", *small, "--config.train.epochs=2"]
    subprocess.run(["bash", "-c", command, "bash", *arguments], cwd=ROOT, check=False, timeout=200)
    assert (tmp_path / "code").read_text() == "0\n"
    (step,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert step_files.is_step(step)


def test_a_damaged_file_of_a_run_is_one_message(run, small, tmp_path):
    run(*small, "--config.train.epochs=1")
    (step,) = (tmp_path / "run" / "checkpoints").iterdir()
    (step / "model.json").write_text("[]")
    for arguments in ((*small, "--config.train.epochs=1"), ("--mode=eval", small[-1])):
        status, _, err = run(*arguments)
        assert status == 1
        assert err.count("error: ") == 1
        assert f"{step}/model.json is damaged: it holds a list" in err
    (tmp_path / "run" / "config.json").write_text("")
    status, _, err = run("--mode=eval", f"--checkpoint={step}")
    assert status == 1

"""What ends a run in the middle, and what it says."""

import json
import pathlib
import shutil

import jax
import numpy as np
import pytest

from hrjax import checkpoints, evaluate, logs, loop, train


@pytest.fixture
def alone():
    return evaluate.make_mesh(jax.devices()[:1])


def copy_of(drawn, tmp_path):
    return pathlib.Path(shutil.copytree(drawn, tmp_path / "people"))


@pytest.fixture
def poisoned(tiny, drawn, tmp_path):
    """A recipe on people of whom number 3 has a joint that is nowhere."""
    root = copy_of(drawn, tmp_path)
    file = root / "annotations" / "mpii_train.json"
    people = json.loads(file.read_text())
    people[3]["joints"][0] = [float("nan"), float("nan")]
    people[3]["joints_vis"][0] = 1
    file.write_text(json.dumps(people))
    tiny.data.root = str(root)
    tiny.checkpoint.every_steps = 1
    return tiny


def test_a_loss_that_is_nan_names_step_and_batch(poisoned, tmp_path, alone):
    with pytest.raises(loop.NonFiniteLossError) as caught:
        train.train(poisoned, tmp_path / "run", mesh=alone)
    message = str(caught.value)
    last = checkpoints.latest(tmp_path / "run" / "checkpoints") or 0
    assert f"the loss is nan at step {last + 1} (epoch " in message
    people = message.split("the people ")[1].split(" of ")[0]
    assert "3" in people.split(", ")
    assert "mpii_train.json" in message
    assert "the checkpoints so far are good" in message


def test_steps_that_are_nan_may_be_skipped_up_to_a_number(poisoned, tmp_path, alone, capsys):
    poisoned.train.epochs = 6
    poisoned.train.on_nan = "skip"
    poisoned.train.max_skips = 100
    assert train.train(poisoned, tmp_path / "run", mesh=alone) is None
    rows = [row for row in logs.read(tmp_path / "run") if "loss" in row]
    last = checkpoints.find(str(tmp_path / "run"), prefer=checkpoints.latest)
    skipped = checkpoints.read_position(last)["skipped"]
    assert skipped
    assert sorted(skipped + [row["step"] for row in rows]) == list(range(1, int(last.name) + 1))
    assert all(np.isfinite(row["loss"]) for row in rows)
    assert f"skipped, {len(skipped)} of 100" in capsys.readouterr().err
    poisoned.train.max_skips = 1
    with pytest.raises(loop.NonFiniteLossError, match=r"after 1 steps that were skipped \(config"):
        train.train(poisoned, tmp_path / "again", mesh=alone)


def test_images_that_vanish_end_the_run(tiny, drawn, tmp_path, alone, monkeypatch):
    root = copy_of(drawn, tmp_path)
    tiny.data.root = str(root)
    tiny.train.epochs = 200
    add = logs.RunLog.add

    def add_and_remove(self, step, *args, **kwargs):
        add(self, step, *args, **kwargs)
        if step == 3:
            shutil.rmtree(root)

    monkeypatch.setattr(logs.RunLog, "add", add_and_remove)
    tiny.checkpoint.every_steps = 2
    with pytest.raises(OSError, match=r"the batch of step \d+ can't be read, because .* is gone"):
        train.train(tiny, tmp_path / "run", mesh=alone)
    assert checkpoints.latest(tmp_path / "run" / "checkpoints") >= 2

"""What ends a run early, with which message; the steps here compute nothing."""

import contextlib
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.batching import loading
from data_pipelines.transforms import chains
from hrjax import experiment
from hrjax.evaluation import protocols
from hrjax.runtime import distributed, signals
from hrjax.training import loop
from hrjax.training.logs import run_log
from hrjax.training.state import TrainState
from hrjax.weights import checkpoints, step_files

STEPS = 12


def make_step(bad=(), loss=float("nan"), then=None):
    """A step whose loss is not finite in the steps `bad`; it calls `then` with its number."""

    def step(state, batch):
        number = int(state.step) + 1
        if then is not None:
            then(number)
        numbers = {"loss": 1.0 if number not in bad else loss, "pck": 0.5, "lr": 0.1}
        numbers = {key: jnp.float32(value) for key, value in numbers.items()}
        return state.replace(step=state.step + 1), {
            **numbers,
            "finite": jnp.bool(number not in bad),
        }

    return step


@pytest.fixture
def go(tiny, tmp_path):
    """Runs the loop with a step; returns what the loop returns."""

    def run(step, position=None, predict=None, **settings):
        tiny.train.update(settings)
        tiny.checkpoint.update({"every_steps": 1, "keep": 99})
        mesh = distributed.make_mesh(jax.devices()[:1])
        split = experiment.open_split(tiny, "train")
        held_out = experiment.open_held_out(tiny) if predict else None
        protocol = protocols.from_config(tiny)
        data = (split, held_out, protocol, 2, STEPS)
        setup = loop.TrainingSetup(tiny, mesh, *data, step, predict, card=None)
        ops = chains.train_ops(tiny.augment, split.skeleton, (32, 32), strict=False)
        log = run_log.RunLog(tmp_path, start=0, total=STEPS, every_steps=1)
        stop = distributed.SharedStopRequest(signals.StopRequest(), mesh)
        with (
            contextlib.closing(log),
            loading.train_batches(split, ops, batch_size=4, seed=0) as batches,
            checkpoints.open_folder(tmp_path / "checkpoints", keep=99) as manager,
        ):
            resources = loop.RunResources(tmp_path, manager, log, batches, stop)
            state = TrainState(jnp.int32(0), {"w": jnp.zeros(2)}, {}, (), None)
            return loop.run(setup, state, resources, position or {})

    return run


def test_a_nan_loss_names_the_step_and_the_batch(go, tmp_path):
    with pytest.raises(loop.NonFiniteLossError) as caught:
        go(make_step(bad=[6]))
    message = str(caught.value)
    assert "the loss is nan at step 6 (epoch 3, batch 2: people " in message
    people = message.split(": people ")[1].split(" of ")[0].split(", ")
    assert len(set(people)) == 4
    assert "mpii_train.json" in message
    assert "the earlier checkpoints are good" in message
    assert checkpoints.latest(tmp_path / "checkpoints") == 5


def test_nan_weights_end_the_run_as_well(go):
    with pytest.raises(loop.NonFiniteLossError, match=r"the loss is 0\.25 but weights"):
        go(make_step(bad=[2], loss=0.25))


def test_steps_that_are_not_finite_can_be_skipped(go, tmp_path, capsys):
    assert go(make_step(bad=[2, 5]), on_nan="skip", max_skips=2) is None
    assert "skipped, 2 of 2" in capsys.readouterr().err
    steps = [row["step"] for row in run_log.read(tmp_path)]
    assert steps == [step for step in range(1, STEPS + 1) if step not in (2, 5)]
    last = tmp_path / "checkpoints" / str(checkpoints.latest(tmp_path / "checkpoints"))
    assert step_files.read_position(last)["skipped"] == [2, 5]


def test_too_many_skipped_steps_end_the_run(go):
    with pytest.raises(loop.NonFiniteLossError, match=r"after 2 skipped steps .*\[2, 3, "):
        go(make_step(bad=[2, 3, 4]), on_nan="skip", max_skips=2)


def test_missing_images_end_the_run(go, tiny, drawn, tmp_path):
    root = pathlib.Path(shutil.copytree(drawn, tmp_path / "people"))
    tiny.data.root = str(root)

    def remove(step):
        if step == 2:
            shutil.rmtree(root)

    with pytest.raises(OSError, match=r"the batch of step \d+ can't be read, because .* is gone"):
        go(make_step(then=remove))
    assert checkpoints.latest(tmp_path / "checkpoints") >= 2
    assert np.isfinite(run_log.read(tmp_path)[-1]["loss"])


def predict_shifted(shifts):
    """A predicting step that misses by the next of `shifts`, in pixels, in each evaluation."""
    shifts = iter(shifts)
    seen = {}

    def predict(weights, batch):
        step = float(weights["params"]["w"][0])
        if step not in seen:
            seen[step] = next(shifts)
        count = len(batch["index"])
        same = {key: batch[key] for key in ("index", "mask")}
        keypoints = np.full((count, 16, 2), 40.0 + seen[step], np.float32)
        return {**same, "keypoints": keypoints, "scores": np.ones((count, 16), np.float32)}

    return predict


def counting(step):
    """The step, which also counts in the weights, so that evaluations are told apart."""

    def count(state, batch):
        state, numbers = step(state, batch)
        return state.replace(params={"w": state.params["w"] + 1}), numbers

    return count


def read_patience(workdir, step):
    return step_files.read_position(workdir / "checkpoints" / str(step))["patience"]


def test_patience_ends_a_run_after_evaluations_without_a_better_score(go, tiny, tmp_path):
    tiny.eval.every_epochs = 1
    # Far away in the first evaluation, near in the second, far away in all others.
    assert (
        go(counting(make_step()), predict=predict_shifted([900, 0, 900, 900]), patience=2) is None
    )
    assert checkpoints.latest(tmp_path / "checkpoints") == 8
    assert checkpoints.best(tmp_path / "checkpoints") == 4
    ended = read_patience(tmp_path, 8)
    assert (ended["at"], ended["waited"]) == (4, 2)
    assert ended["best"] > 0


def test_without_patience_a_run_goes_on(go, tiny, tmp_path):
    tiny.eval.every_epochs = 1
    assert go(counting(make_step()), predict=predict_shifted([0] + [900] * 5)) is None
    assert checkpoints.latest(tmp_path / "checkpoints") == STEPS
    assert read_patience(tmp_path, STEPS)["waited"] == 5


def test_patience_goes_on_where_it_stood(go, tiny, tmp_path):
    tiny.eval.every_epochs = 1
    position = {"patience": {"best": 99.0, "at": 1, "waited": 1}}
    step = counting(make_step())
    assert go(step, position, predict_shifted([0, 0]), patience=3) is None
    assert checkpoints.latest(tmp_path / "checkpoints") == 4


def test_evaluations_without_a_score_do_not_count():
    patience = loop.Patience(1).after(5, 0.5).after(6, float("nan")).after(7, None)
    assert (patience.best, patience.at, patience.waited, patience.ended) == (0.5, 5, 0, False)
    assert patience.after(8, 0.5).ended
    assert not loop.Patience(0, best=1.0, waited=99).ended

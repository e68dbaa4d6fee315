"""Frozen parts, a slower backbone, and the end of a run by its score."""

import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax import models
from hrjax.runtime import distributed
from hrjax.training import fine_tuning, train
from hrjax.training.logs import run_log
from hrjax.weights import checkpoints
from tests.conftest import micro_config

TREE = {"stem": {"w": 1}, "stages": {"0": {"w": 2}, "1": {"w": 3}}, "final": {"w": 4}}


def batch_of(count):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "keypoints": rng.uniform(4, 28, (count, 16, 2)).astype(np.float32),
        "visible": np.ones((count, 16), np.float32),
    }


@pytest.fixture(scope="module")
def start(drawn):
    """Maps settings of a config to its step on one device and its initial state."""

    @functools.cache
    def prepared(settings):
        config = micro_config(drawn)
        for field, value in settings:
            section, _, key = field.partition("__")
            config[section][key] = value
        setup, state = train.prepare(config, distributed.make_mesh(jax.devices()[:1]))
        return setup.train_step, jax.tree.map(np.array, state)

    def fresh(**settings):
        step, state = prepared(tuple(settings.items()))
        return step, jax.tree.map(jnp.array, state)  # the step donates its memory

    return fresh


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_tree_is_divided_and_joined(count):
    paths = models.backbone_parts(TREE)[:count]
    rest, parts = fine_tuning.divide(TREE, paths)
    assert jax.tree.leaves(parts) == ([], [1], [2, 1], [2, 3, 1])[count]
    assert len(jax.tree.leaves(rest)) == 4 - count
    assert fine_tuning.join(rest, parts) == TREE


def test_what_a_tree_lacks_is_not_in_its_parts():
    rest, parts = fine_tuning.divide({"final": {"w": 4}}, [("stem",), ("stages", "1")])
    assert (rest, parts) == ({"final": {"w": 4}}, {})


FREEZING = {"train__freeze": 1, "train__ema_decay": 0.9, "train__accumulate": 2}
FREEZING |= {"train__batch_norm_size": 2}


def test_frozen_leaves_stay_equal_to_the_last_bit(start):
    step, state = start(**FREEZING)
    before = jax.tree.map(np.array, state)
    for _ in range(3):
        state, numbers = step(state, batch_of(8))
    assert numbers["finite"]
    for old, new in (
        (before.params, state.params),
        (before.stats, state.stats),
        (before.average["params"], state.average["params"]),
        (before.average["stats"], state.average["stats"]),
    ):
        jax.tree.map(np.testing.assert_array_equal, new["conv1"], old["conv1"])
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), new["layers"], old["layers"])
        assert all(jax.tree.leaves(moved))


def test_frozen_parameters_have_no_state_in_the_optimizer(start):
    _, state = start(**FREEZING)
    trained = sum(x.size for key in ("layers", "final") for x in jax.tree.leaves(state.params[key]))
    assert sum(x.size for x in jax.tree.leaves(state.opt_state[0].mu)) == trained
    assert trained < sum(x.size for x in jax.tree.leaves(state.params))


SGD = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__lr": 0.5}
SGD |= {"optimizer__weight_decay": 0.1}


@pytest.mark.parametrize(
    ("settings", "depends"),
    [({"train__freeze": 2, "optimizer__backbone_factor": 0.1}, False), ({}, True)],
)
def test_frozen_batch_norm_does_not_look_at_the_batch(start, settings, depends):
    batch = batch_of(8)
    batch["visible"][4:] = 0  # the loss is that of the first four people
    losses = []
    for image in (batch["image"], np.concatenate([batch["image"][:4], 255 - batch["image"][4:]])):
        step, state = start(**SGD, **settings)
        losses.append(float(step(state, {**batch, "image": image})[1]["loss"]))
    assert (losses[0] != losses[1]) == depends


def test_a_backbone_factor_of_a_tenth_moves_sgd_a_tenth_as_far(start):
    moved = []
    for settings in ({}, {"optimizer__backbone_factor": 0.1}):
        step, state = start(**SGD, **settings)
        before = jax.tree.map(np.array, state.params)
        after, _ = step(state, batch_of(8))
        moved.append(jax.tree.map(lambda a, b: np.asarray(a) - b, after.params, before))
    whole, tenth = moved
    jax.tree.map(np.testing.assert_array_equal, tenth["final"], whole["final"])
    # Differences of float32 parameters of about 1.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-7)
    for key in ("conv1", "layers"):
        jax.tree.map(lambda a, b: close(a, 0.1 * b), tenth[key], whole[key])
        assert max(abs(x).max() for x in jax.tree.leaves(whole[key])) > 1e-3


def test_updates_of_slower_parts_are_multiplied_exactly():
    params = {"stem": {"kernel": jnp.ones((3, 5))}, "stages": {}, "final": {"kernel": jnp.ones(7)}}
    updates = fine_tuning.pack(jax.tree.map(lambda x: x * jnp.float32(0.3), params))
    slowed = fine_tuning.slow_down(updates, params, [("stem",)], 0.1).small["kernel"]
    expected = [np.float32(0.3)] * 7 + [np.float32(0.3) * np.float32(0.1)] * 15
    np.testing.assert_array_equal(slowed, np.float32(expected))


@pytest.fixture
def still(micro):
    """A recipe whose scores never change: only the last layer trains, and it does not move."""
    micro.train.update({"freeze": 2, "patience": 2, "epochs": 8})
    micro.optimizer.update({"name": "sgd", "lr": 1e-30})
    micro.eval.every_epochs = 1
    micro.checkpoint.keep = 1
    return micro


def evaluated_steps(workdir):
    return [row["step"] for row in run_log.read(workdir) if "eval/PCKh@0.5" in row]


@pytest.mark.long
def test_patience_ends_a_run_which_can_go_on(still, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert train.train(still, tmp_path) is None
    first, *others = evaluated_steps(tmp_path)
    assert len(others) == 2
    assert (
        "ended early: 2 evaluations in a row were not better than the PCKh@0.5 of " in caplog.text
    )
    assert f"at step {first} (config.train.patience). The best checkpoint is " in caplog.text
    assert checkpoints.best(tmp_path / "checkpoints") is not None
    caplog.clear()
    assert train.train(still, tmp_path) is None
    assert "this run is finished; it ended early" in caplog.text
    assert len(evaluated_steps(tmp_path)) == 3
    still.train.patience = 4
    assert train.train(still, tmp_path) is None
    assert len(evaluated_steps(tmp_path)) == 5
    assert "ended early: 4 evaluations in a row" in caplog.text

"""The training step: microbatches, remat, and steps that are not finite."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_networks import DROPPING

from hrjax import models
from hrjax.runtime import distributed
from hrjax.training import step as train_step
from hrjax.training import train
from hrjax.training.state import from_items, pack_state, to_items
from tests.conftest import micro_config

LONG = pytest.mark.long
SAVING = {"accumulate": 2, "remat": True, "on_nan": "skip", "ema_decay": 0.5}


def batch_of(count):
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "keypoints": rng.uniform(4, 28, (count, 16, 2)).astype(np.float32),
        "visible": np.ones((count, 16), np.float32),
    }


@pytest.fixture(scope="module")
def start(drawn):
    """Maps settings of the train section to the step on one device and its initial state."""

    @functools.cache
    def prepared(**settings):
        config = micro_config(drawn)
        # SGD without momentum, so that what a step changes is the gradient.
        config.optimizer.update({"name": "sgd", "momentum": 0.0, "lr": 0.1})
        config.train.update(settings)
        setup, state = train.prepare(config, distributed.make_mesh(jax.devices()[:1]))
        return setup.train_step, jax.tree.map(np.array, state)

    def fresh(**settings):
        step, state = prepared(**settings)
        return step, jax.tree.map(jnp.array, state)  # the step donates its memory

    return fresh


def assert_close(one, other, *, rtol, atol=0.0):
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=max(atol, rtol * np.abs(b).max()))

    jax.tree.map(compare, one, other)


def test_microbatches_and_remat_give_the_gradient_of_the_batch(start):
    whole = batch_of(8)
    # Every other row belongs to the same microbatch.
    parts = [{key: value[part::2] for key, value in whole.items()} for part in (0, 1)]
    alone = []
    for part in parts:
        step, state = start()
        alone.append(step(state, part))
    params = jax.tree.map(lambda a, b: (a + b) / 2, *[state.params for state, _ in alone])
    # The running statistics are updated once for each microbatch, one after the other.
    step, state = start()
    stats = step(state.replace(stats=alone[0][0].stats), parts[1])[0].stats
    step, state = start(**SAVING)
    assert "remat" in str(jax.make_jaxpr(step)(state, whole))
    state, numbers = step(state, whole)
    assert_close(state.params, params, rtol=1e-5)
    assert_close(state.stats, stats, rtol=1e-5)
    losses = [numbers["loss"] for _, numbers in alone]
    assert numbers["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert int(state.step) == 1


def test_with_groups_for_batch_norm_microbatches_change_nothing_but_memory(start):
    batch = batch_of(8)
    step, state = start(batch_norm_size=2)
    whole, numbers = step(state, batch)
    step, state = start(batch_norm_size=2, accumulate=2)
    split, again = step(state, batch)
    assert_close(split.params, whole.params, rtol=1e-5)
    assert_close(split.stats, whole.stats, rtol=1e-5)
    assert numbers["loss"] == pytest.approx(float(again["loss"]), rel=1e-6)
    step, state = start()
    ungrouped, _ = step(state, batch)
    with pytest.raises(AssertionError):
        assert_close(ungrouped.params, whole.params, rtol=1e-5)


def test_a_step_that_is_not_finite_is_skipped(start):
    step, before = start(**SAVING)
    kept = jax.tree.map(np.array, before)
    bad = batch_of(8)
    bad["visible"][1, 3] = np.nan
    state, numbers = step(before, bad)
    assert not numbers["finite"]
    assert np.isnan(numbers["loss"])
    jax.tree.map(
        np.testing.assert_array_equal,
        (state.params, state.stats, state.average),
        (kept.params, kept.stats, kept.average),
    )
    assert int(state.step) == 1
    state, numbers = step(state, batch_of(8))
    assert numbers["finite"]
    assert int(state.step) == 2


@pytest.mark.parametrize("settings", [{}, {**SAVING, "freeze": 2, "batch_norm_size": 2}])
def test_a_packed_state_changes_alike_and_is_saved_alike(start, settings):
    step, state = start(**settings)
    _, same = start(**settings)
    packed = pack_state(same)
    assert len(jax.tree.leaves(packed)) < 20 < len(jax.tree.leaves(state))
    for _ in range(2):
        state, numbers = step(state, batch_of(8))
        packed, again = step(packed, batch_of(8))
    assert numbers["loss"] == pytest.approx(float(again["loss"]), rel=1e-6)
    assert_close(packed.weights, state.weights, rtol=1e-6)
    saved, expected = to_items(packed), to_items(state)
    assert jax.tree.structure(saved) == jax.tree.structure(expected)
    assert_close(saved, expected, rtol=1e-6)
    restored = pack_state(from_items(saved, state))
    jax.tree.map(np.testing.assert_array_equal, restored, packed)


def test_the_number_of_microbatches_must_divide_the_batch(micro):
    micro.train.accumulate = 3
    with pytest.raises(ValueError, match=r"batch_size is 8.*of 3 microbatches \(config.train.acc"):
        train.prepare(micro)
    micro.train.accumulate = 0
    with pytest.raises(ValueError, match="accumulate is 0; set it to 1 or more"):
        train.prepare(micro)


def test_an_unknown_on_nan_lists_the_choices(micro):
    micro.train.on_nan = "ignore"
    with pytest.raises(ValueError, match=r"config.train.on_nan 'ignore'; choose one of: stop, ski"):
        train.prepare(micro)


GROUPS = {"dtype": "float64", "accumulate": 2, "batch_norm_size": 2}


def step_on_devices(config, count, batch):
    """The state and the numbers after a step on some devices, and the text of its program."""
    mesh = distributed.make_mesh(jax.devices()[:count])
    setup, state = train.prepare(config, mesh)
    batch = distributed.shard(batch, mesh)
    text = setup.train_step.lower(state, batch).compile().as_text()
    state, numbers = setup.train_step(state, batch)
    return to_items(state), numbers, text


@pytest.mark.parametrize(
    "model",
    [
        {},
        pytest.param({"name": "hrformer_small", **DROPPING["hrformer_small"]}, marks=LONG),
    ],
    ids=["resnet", "drop path"],
)
def test_devices_with_groups_of_their_own_exchange_once(drawn, model):
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    config = micro_config(drawn)
    config.optimizer.update({"name": "sgd", "momentum": 0.0, "lr": 0.1})
    config.train.update(GROUPS)
    if model:
        config.model = ConfigDict({"num_joints": 16, **model})
    batch = batch_of(8)
    batch["visible"][:5, ::3] = 0  # so that the devices count different joints
    with jax.enable_x64(True):
        state, numbers, _ = step_on_devices(config, 1, batch)
        shared, again, text = step_on_devices(config, 2, batch)
    # Biases before a batch norm have gradients of 1e-22, which are rounding alone.
    assert_close(shared, state, rtol=1e-9, atol=1e-15)
    assert float(numbers["pck"]) > 0
    np.testing.assert_allclose(float(again["loss"]), float(numbers["loss"]), rtol=1e-9)
    np.testing.assert_allclose(float(again["pck"]), float(numbers["pck"]), rtol=1e-6)
    # Gradients, running statistics and numbers have a vector for each name of array.
    assert 0 < text.count(" all-reduce(") <= 8


def test_a_gpu_puts_all_params_apart_but_matrices():
    shapes = [(3,), (4, 5), (1, 1, 4, 5), (3, 3, 4, 5), (2, 3, 3, 4, 5)]
    params = [jnp.ones(shape) for shape in shapes]
    cast = functools.partial(train_step._cast, dtype=jnp.bfloat16)
    with models.lowering_for("gpu"):
        text = jax.jit(cast).lower(params).as_text()
        gradients = jax.grad(lambda x: sum(map(jnp.sum, cast(x))))(params)
    (barrier,) = (line for line in text.splitlines() if "optimization_barrier" in line)
    assert barrier.endswith(": tensor<3xbf16>, tensor<3x3x4x5xbf16>")
    jax.tree.map(np.testing.assert_array_equal, gradients, params)

"""The training step: parts of batches, blocks computed again, steps that are not finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax import evaluate, train


def batch_of(count, *, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (count, 32, 32, 3), np.uint8),
        "keypoints": rng.uniform(4, 28, (count, 16, 2)).astype(np.float32),
        "visible": np.ones((count, 16), np.float32),
    }


def start(config):
    """The step of a config on one device, and a function that makes its first state."""
    job, state = train.prepare(config, evaluate.make_mesh(jax.devices()[:1]))
    kept = jax.tree.map(np.array, state)
    return job.train_step, lambda: jax.tree.map(jnp.asarray, kept)


@pytest.fixture
def plain(tiny):
    """SGD without momentum, so that a step is the gradient."""
    tiny.optimizer.name = "sgd"
    tiny.optimizer.momentum = 0.0
    tiny.optimizer.lr = 0.1
    return tiny


def assert_close(one, other, *, rtol):
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())

    jax.tree.map(compare, one, other)


def test_parts_of_a_batch_add_up_to_its_gradient(plain):
    step, begin = start(plain)
    whole = batch_of(8)
    # Which rows are in which part does not matter; here every other one is.
    parts = [{key: value[part::2] for key, value in whole.items()} for part in (0, 1)]
    alone = [step(begin(), part) for part in parts]
    params = jax.tree.map(lambda a, b: (a + b) / 2, *[state.params for state, _ in alone])
    # The running statistics move once for each part, the second time from where the first ended.
    stats = step(begin().replace(stats=alone[0][0].stats), parts[1])[0].stats
    plain.train.accumulate = 2
    step, begin = start(plain)
    state, numbers = step(begin(), whole)
    assert_close(state.params, params, rtol=1e-5)
    assert_close(state.stats, stats, rtol=1e-5)
    losses = [numbers["loss"] for _, numbers in alone]
    assert numbers["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert int(state.step) == 1


def test_parts_must_divide_the_batch(tiny):
    tiny.train.accumulate = 3
    with pytest.raises(ValueError, match=r"batch_size is 8.*in 3 parts \(config.train.accumulate"):
        train.prepare(tiny)
    tiny.train.accumulate = 0
    with pytest.raises(ValueError, match="accumulate is 0; take 1 or more"):
        train.prepare(tiny)


def test_computing_blocks_again_changes_no_number(plain):
    batch = batch_of(4)
    step, begin = start(plain)
    kept, numbers = step(begin(), batch)
    plain.train.remat = True
    step, begin = start(plain)
    again, same = step(begin(), batch)
    assert "remat" in str(jax.make_jaxpr(step)(begin(), batch))
    assert float(same["loss"]) == pytest.approx(float(numbers["loss"]), rel=1e-6)
    assert_close(again.params, kept.params, rtol=1e-5)
    assert_close(again.stats, kept.stats, rtol=1e-5)


def test_a_step_that_is_not_finite_is_left_out(tiny):
    tiny.train.on_nan = "skip"
    tiny.train.ema_decay = 0.5
    step, begin = start(tiny)
    bad = batch_of(4)
    bad["keypoints"][1, 3] = np.nan
    state, numbers = step(begin(), bad)
    assert not numbers["finite"]
    assert np.isnan(numbers["loss"])
    before = begin()
    jax.tree.map(
        np.testing.assert_array_equal,
        (state.params, state.stats, state.average),
        (before.params, before.stats, before.average),
    )
    assert int(state.step) == 1
    state, numbers = step(state, batch_of(4))
    assert numbers["finite"]
    assert int(state.step) == 2


def test_an_unknown_choice_for_such_steps_lists_the_choices(tiny):
    tiny.train.on_nan = "ignore"
    with pytest.raises(ValueError, match=r"config.train.on_nan 'ignore'; choose one of: stop, ski"):
        train.prepare(tiny)

"""Learning-rate schedules and optimizers of the recipes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from hrjax.training import optimizers


def settings(**changes):
    defaults = {
        "name": "adam",
        "lr": 2e-3,
        "lr_base_batch": 0,
        "weight_decay": 0.0,
        "momentum": 0.9,
        "schedule": "step",
        "milestones": (170, 200),
        "decay": 0.1,
        "warmup_steps": 500,
        "warmup_limit": 1.0,
        "warmup_factor": 0.001,
        "final_factor": 0.0,
        "by_epoch": False,
    }
    return ConfigDict({**defaults, **changes})


def schedule(batch_size=32, steps_per_epoch=100, epochs=210, **changes):
    return optimizers.schedule(
        settings(**changes), batch_size=batch_size, steps_per_epoch=steps_per_epoch, epochs=epochs
    )


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        # mmcv: lr * (1 - (1 - step / 500) * (1 - 0.001))
        (0, 2e-6),
        (250, 2e-3 * (1 - 0.5 * 0.999)),
        (500, 2e-3),
        (16_999, 2e-3),
        (17_000, 2e-4),
        (19_999, 2e-4),
        (20_000, 2e-5),
        (20_999, 2e-5),
    ],
)
def test_warmup_and_step_decay_match_mmcv(step, expected):
    np.testing.assert_allclose(
        schedule()(step), expected, rtol=2e-5
    )  # float32: 1 - 0.999 is inexact


def test_cosine_reaches_zero_at_the_end_of_the_last_epoch():
    rate = schedule(schedule="cosine", warmup_steps=0)
    np.testing.assert_allclose(
        [rate(0), rate(10_500), rate(21_000)], [2e-3, 1e-3, 0], rtol=1e-5, atol=1e-9
    )


def test_cosine_by_epoch_matches_mmcv():
    # 0.01 b + 0.5 * 0.99 b * (1 + cos(pi * epoch / epochs)), the same within an epoch.
    rate = schedule(schedule="cosine", warmup_steps=0, final_factor=0.01, by_epoch=True)
    epochs = np.array([0, 0, 1, 70, 209])
    expected = 2e-3 * (0.01 + 0.5 * 0.99 * (1 + np.cos(np.pi * epochs / 210)))
    rates = [rate(step) for step in (0, 99, 100, 7_050, 20_999)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_a_short_run_has_a_short_warmup():
    # 209 people in batches of 64 for 210 epochs: 630 steps, of which 500 were warm-up.
    short = schedule(steps_per_epoch=3, warmup_limit=0.05)
    assert float(short(31)) < 2e-3 * (1 - 1e-4)
    np.testing.assert_allclose([short(0), short(32), short(500)], [2e-6, 2e-3, 2e-3], rtol=2e-5)
    long = schedule(steps_per_epoch=3000, warmup_limit=0.05)
    np.testing.assert_allclose([long(250), long(500)], [2e-3 * (1 - 0.5 * 0.999), 2e-3], rtol=2e-5)


def test_learning_rate_scales_with_the_batch_size_only_on_request():
    plain = schedule(batch_size=64, warmup_steps=0)
    scaled = schedule(batch_size=64, lr_base_batch=32, warmup_steps=0)
    np.testing.assert_allclose([plain(0), scaled(0)], [2e-3, 4e-3], rtol=1e-6)


def one_update(parameter, gradient, **changes):
    transform = optimizers.optimizer(settings(**changes), lambda step: 0.1)
    update, _ = transform.update(gradient, transform.init(parameter), parameter)
    return float(update)


def test_adam_ignores_weight_decay_and_adamw_applies_it():
    one, two = jnp.array(1.0), jnp.array(2.0)
    # Adam's first step is the learning rate, whatever the gradient.
    assert one_update(two, one, weight_decay=0.5) == pytest.approx(-0.1, rel=1e-5)
    assert one_update(two, one, name="adamw", weight_decay=0.5) == pytest.approx(-0.2, rel=1e-5)


def test_relative_position_bias_tables_have_no_weight_decay():
    params = {"out": {"bias": jnp.ones(2)}, "relative_position_bias_table": jnp.ones(2)}
    transform = optimizers.optimizer(settings(name="adamw", weight_decay=0.5), lambda step: 0.1)
    gradients = jax.tree.map(jnp.zeros_like, params)
    update, _ = transform.update(gradients, transform.init(params), params)
    np.testing.assert_allclose(update["out"]["bias"], -0.05)
    np.testing.assert_array_equal(update["relative_position_bias_table"], 0)


def test_sgd_adds_weight_decay_to_the_gradient():
    update = one_update(jnp.array(2.0), jnp.array(1.0), name="sgd", weight_decay=0.5)
    assert update == pytest.approx(-0.1 * (1 + 0.5 * 2), rel=1e-5)


def test_unknown_choices_are_listed():
    with pytest.raises(ValueError, match=r"config.optimizer.name 'lion'.*adam, adamw, sgd"):
        optimizers.optimizer(settings(name="lion"), lambda step: 0.1)
    with pytest.raises(ValueError, match=r"config.optimizer.schedule 'poly'.*step, cosine"):
        schedule(schedule="poly")


def test_schedules_can_be_traced():
    assert jax.jit(schedule())(jnp.array(250)).shape == ()

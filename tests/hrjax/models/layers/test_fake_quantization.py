"""Fake quantization by hand-worked cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_networks
from flax import nnx

import hrjax
from hrjax import models
from hrjax.models.layers import Conv, FakeQuantization, HostInitializer
from hrjax.models.layers.fake_quantization import (
    clip,
    quantize,
    quantize_activations,
    quantize_bias,
    quantize_weights,
)


def test_rounding_is_to_127_steps_with_halves_away_from_zero():
    x = jnp.array([0.4, 0.5, 1.5, 2.5, -0.5, -1.5, 126.9, 200.0, -200.0])
    expected = [0, 1, 2, 3, -1, -2, 127, 127, -127]
    np.testing.assert_array_equal(quantize(x, jnp.float32(127.0)), expected)
    np.testing.assert_allclose(quantize(x / 254, jnp.float32(0.5)), np.array(expected) / 254)


def test_a_scale_of_zero_gives_zeros():
    np.testing.assert_array_equal(quantize(jnp.array([1.0, -1.0]), jnp.float32(0.0)), [0, 0])


def test_rounding_has_the_gradient_one_everywhere_and_none_to_the_scale():
    x = jnp.array([0.3, 5.0, -9.0])
    by_x, by_scale = jax.grad(lambda x, s: jnp.sum(quantize(x, s) * x**0), (0, 1))(
        x, jnp.float32(1.0)
    )
    np.testing.assert_array_equal(by_x, [1, 1, 1])
    assert by_scale == 0


def test_clipping_and_its_gradients():
    x = jnp.array([-7.0, -2.0, 0.0, 1.0, 3.0, 8.0])
    alpha = jnp.float32(2.5)
    np.testing.assert_array_equal(clip(x, alpha), [-2.5, -2, 0, 1, 2.5, 2.5])
    weights = jnp.array([1.0, 10.0, 100.0, 1000.0, 10.0, 7.0])
    by_x, by_alpha = jax.grad(lambda x, a: jnp.sum(weights * clip(x, a)), (0, 1))(x, alpha)
    np.testing.assert_array_equal(by_x, [0, 10, 100, 1000, 0, 0])
    assert by_alpha == 10 + 7 - 1  # +1 where x is above alpha, -1 where it is below -alpha


def test_alpha_is_applied_before_the_scale_in_evaluation():
    x = jnp.array([0.2, 3.0, -3.0])
    ours = quantize_activations(x, jnp.float32(1.0), jnp.float32(127.0))
    np.testing.assert_array_equal(ours, [0, 1, -1])


def test_halves_are_rounded_to_even_in_evaluation():
    x = jnp.array([0.5, 1.5, -2.5, 126.5, -200.0])
    ours = quantize_activations(x, jnp.float32(1000.0), jnp.float32(127.0))
    np.testing.assert_array_equal(ours, [0, 2, -2, 126, -127])
    total = jax.grad(lambda x: jnp.sum(quantize_activations(x, jnp.float32(9.0), jnp.float32(5.0))))
    np.testing.assert_allclose(total(jnp.array([0.3, 4.9, 7.0])), [1, 1, 0], rtol=1e-6)


def test_a_negative_alpha_clips_at_its_magnitude():
    rounding = FakeQuantization(alpha=-2.0)
    x, _ = rounding(jnp.array([[9.0]]), jnp.ones((1, 1)))
    assert rounding.total.get_value() == pytest.approx(0.9 + 2)
    rounding.eval()
    rounding.total.set_value(jnp.float32(4.0 * rounding.count.get_value()))
    x, _ = rounding(jnp.array([[9.0, -9.0]]), jnp.ones((2, 1)))
    np.testing.assert_allclose(x, [[64 * 4 / 127, -64 * 4 / 127]], rtol=1e-6)


def test_biases_are_whole_steps_of_the_products_where_integers_can_hold_them():
    weights = jnp.array([[127.0, 0.5, 0.0, 1e-30]])
    bias = jnp.array([5.4, -0.01, 0.3, 0.3])
    step = 2.0  # of the activations
    ours = quantize_bias(bias, weights, jnp.float32(127 * step))
    small = 0.5 / 127 * step
    expected = [6, round(-0.01 / small) * small, 0.3, 0.3]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_each_output_channel_of_weights_has_its_own_scale():
    weights = jnp.array([[127.0, 0.5], [2.4, -0.25], [0.0, 0.0]])
    rounded = quantize_weights(weights)
    np.testing.assert_allclose(rounded, [[127, 0.5], [2, -64 / 254], [0, 0]], rtol=1e-6)
    gradient = jax.grad(lambda w: jnp.sum(quantize_weights(w)))(weights)
    np.testing.assert_array_equal(gradient, np.ones((3, 2)))


def test_the_scale_follows_the_largest_activation_and_stays_in_evaluation():
    rounding = FakeQuantization(alpha=100.0)
    weights = jnp.ones((1, 1))
    rounding(jnp.array([[4.0]]), weights)
    assert rounding.total.get_value() / rounding.count.get_value() == pytest.approx(4.9 / 1.9)
    rounding(jnp.array([[-300.0]]), weights)  # clipped at alpha first
    scale = (0.9 * 4.9 + 100) / (0.9 * 1.9 + 1)
    assert rounding.total.get_value() / rounding.count.get_value() == pytest.approx(scale)
    rounding.eval()
    x, _ = rounding(jnp.array([[1e6, scale / 4]]), weights)
    np.testing.assert_allclose(x, [[scale, scale * 32 / 127]], rtol=1e-6)
    assert rounding.total.get_value() / rounding.count.get_value() == pytest.approx(scale)


def test_a_rounding_convolution_multiplies_rounded_by_rounded():
    conv = Conv(1, 1, rngs=HostInitializer(0))
    conv.kernel.set_value(jnp.full((1, 1, 1, 1), 0.5))
    conv.rounding = nnx.data(FakeQuantization(alpha=2.0))
    conv.rounding.total.set_value(jnp.float32(1.0))
    conv.rounding.use_running_average = True
    x = jnp.array([0.0, 0.301, 0.9, 5.0]).reshape(1, 2, 2, 1)
    expected = 0.5 * np.array([0, 38, 114, 127]).reshape(1, 2, 2, 1) / 127
    np.testing.assert_allclose(conv(x), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def network():
    name = "pose_resnet_50"
    return models.split(hrjax.create(name, **tiny_networks.TINY[name]))


def test_quantize_folds_batch_norm_and_rounds_every_convolution(network):
    graph, params, stats = models.quantize(*network, alpha=7.0)
    assert graph.training
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert names == {"alpha", "kernel", "bias", "transposed"}
    names = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(stats)}
    assert names == {"total", "count"}
    assert params["final"]["rounding"]["alpha"] == 7.0
    model = models.merge(*network)
    model.eval()
    assert not models.quantize(*models.split(model))[0].training


def test_parts_that_are_kept_have_no_rounding(network):
    _, params, _ = models.quantize(*network, keep=("final", "layers.0"))
    assert "rounding" not in params["final"]
    assert "rounding" not in params["layers"]["0"]["0"]["conv1"]["conv"]
    assert "rounding" in params["layers"]["1"]["0"]["conv1"]["conv"]
    with pytest.raises(ValueError, match=r"no layers fin to keep in float32; it has: .*final"):
        models.quantize(*network, keep=("fin",))

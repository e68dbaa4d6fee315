import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax.models.layers import (
    BatchNorm,
    HostInitializer,
    LayerNorm,
    Sequential,
    set_batch_norm_size,
)


def test_batch_norm_keeps_the_unbiased_variance():
    # Values 1, 2, 3, 6: mean 3, variance 3.5, unbiased 14/3. Running: 0.9 * before + 0.1 * now.
    norm = BatchNorm(1, rngs=HostInitializer(0))
    y = norm(jnp.asarray([1.0, 2, 3, 6]).reshape(1, 2, 2, 1))
    expected = np.array([-2, -1, 0, 3]) / np.sqrt(3.5 + 1e-5)
    np.testing.assert_allclose(np.ravel(y), expected, rtol=1e-6)
    np.testing.assert_allclose(norm.mean.get_value(), [0.3], rtol=1e-6)
    np.testing.assert_allclose(norm.var.get_value(), [0.9 + 0.1 * 14 / 3], rtol=1e-6)


def test_batch_norm_in_groups_moves_the_running_statistics_by_their_mean():
    # Values 1, 3 and 2, 6: means 2 and 4, unbiased variances 2 and 8.
    norm = BatchNorm(1, rngs=HostInitializer(0))
    set_batch_norm_size(Sequential(norm), 1)
    y = norm(jnp.asarray([1.0, 3, 2, 6]).reshape(2, 2, 1, 1))
    np.testing.assert_allclose(np.ravel(y), [-1, 1, -1, 1], rtol=1e-5)
    np.testing.assert_allclose(norm.mean.get_value(), [0.1 * 3], rtol=1e-6)
    np.testing.assert_allclose(norm.var.get_value(), [0.9 + 0.1 * 5], rtol=1e-6)


def test_batch_norm_in_groups_larger_than_the_batch_takes_all_of_it():
    x = jnp.asarray([1.0, 2, 3, 6]).reshape(2, 2, 1, 1)
    grouped = BatchNorm(1, rngs=HostInitializer(0))
    set_batch_norm_size(grouped, 32)
    np.testing.assert_array_equal(grouped(x), BatchNorm(1, rngs=HostInitializer(0))(x))


def test_batch_norm_groups_must_divide_the_batch():
    norm = BatchNorm(1, rngs=HostInitializer(0))
    set_batch_norm_size(norm, 2)
    with pytest.raises(ValueError, match="cannot split 3 images into groups of 2"):
        norm(jnp.ones((3, 2, 2, 1)))


def test_batch_norm_groups_on_devices_of_their_own_need_no_communication():
    mesh = jax.make_mesh((4,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))

    def collectives(size):
        def loss(x):
            norm = BatchNorm(3, rngs=HostInitializer(0))
            set_batch_norm_size(norm, size)
            return jnp.sum(norm(x) ** 3)

        jitted = jax.jit(jax.grad(loss), in_shardings=rows, out_shardings=rows)
        text = jitted.lower(jnp.ones((16, 8, 8, 3))).compile().as_text()
        return sum(text.count(f" {kind}(") for kind in ("all-reduce", "all-gather", "all-to-all"))

    assert collectives(0) > 0
    assert collectives(2) == collectives(4) == 0


def test_batch_norm_evaluates_with_the_running_statistics():
    norm = BatchNorm(2, rngs=HostInitializer(0))
    norm.mean.set_value(jnp.asarray([1.0, 2.0]))
    norm.var.set_value(jnp.asarray([4.0, 9.0]))
    norm.scale.set_value(jnp.asarray([2.0, 3.0]))
    norm.bias.set_value(jnp.asarray([0.0, 1.0]))
    norm.eval()
    y = norm(jnp.full((1, 1, 1, 2), 5.0))
    np.testing.assert_allclose(np.ravel(y), [2 * 4 / 2, 1 + 3 * 3 / 3], rtol=1e-5)
    np.testing.assert_array_equal(norm.mean.get_value(), [1.0, 2.0])


def test_batch_norm_of_bfloat16_computes_in_float32():
    # Eight bits of mantissa cannot tell 256 from 257: a mean taken in bfloat16 would be off by 1.
    norm = BatchNorm(1, rngs=HostInitializer(0))
    x = jnp.concatenate([jnp.full((1, 512, 1, 1), 256.0), jnp.full((1, 512, 1, 1), 258.0)])
    y = norm(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(norm.mean.get_value(), [25.7], rtol=1e-6)
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [-1, 1])


def test_batch_norm_of_a_single_value_says_what_to_change():
    with pytest.raises(ValueError, match=r"one value per channel.*larger images or more than one"):
        BatchNorm(3, rngs=HostInitializer(0))(jnp.ones((1, 1, 1, 3)))


def test_layer_norm_normalizes_the_channels_of_each_pixel():
    norm = LayerNorm(2, rngs=HostInitializer(0))
    norm.scale.set_value(jnp.asarray([2.0, 3.0]))
    norm.bias.set_value(jnp.asarray([0.0, 1.0]))
    # Deviations of 1e-3, which the epsilon of 1e-6 scales by 1 / sqrt(2).
    x = jnp.asarray([[1.0, 3.0], [0.0, 2e-3]]).reshape(1, 1, 2, 2)
    expected = [[-2.0, 1 + 3.0], [-2 * math.sqrt(0.5), 1 + 3 * math.sqrt(0.5)]]
    np.testing.assert_allclose(norm(x)[0, 0], expected, rtol=1e-5)


def test_layer_norm_of_bfloat16_computes_in_float32():
    x = jnp.asarray([256.0, 256, 256, 258], jnp.bfloat16).reshape(1, 1, 1, 4)
    y = LayerNorm(4, rngs=HostInitializer(0))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [-0.577, 1.73], rtol=0.004)

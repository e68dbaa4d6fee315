import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hrjax.models.layers import (
    BatchNorm,
    Conv,
    ConvBN,
    DropPath,
    DynamicConv,
    Keys,
    LayerNorm,
    Linear,
    Steps,
    TransposedConv,
    give_draws,
    shuffle,
)


def test_a_strided_convolution_pads_both_sides():
    # By hand: a 2x2 image of ones under a 3x3 kernel of ones at stride 2 sees all four pixels, as
    # the kernel's centre is on the first pixel. "SAME" would put its corner there.
    conv = Conv(1, 1, 3, stride=2, rngs=Keys(0))
    conv.kernel.set_value(jnp.arange(9.0).reshape(3, 3, 1, 1))
    np.testing.assert_array_equal(conv(jnp.ones((1, 2, 2, 1))), [[[[4 + 5 + 7 + 8]]]])


def test_convolutions_start_normal_and_biases_zero():
    conv = Conv(64, 256, 3, bias=True, rngs=Keys(0))
    np.testing.assert_allclose(conv.kernel.get_value().std(), 0.001, rtol=0.01)
    assert (conv.bias.get_value() == 0).all()


def test_conv_with_groups_that_do_not_divide_says_so():
    with pytest.raises(ValueError, match="4 groups do not divide 6 input and 8 output channels"):
        Conv(6, 8, groups=4, rngs=Keys(0))


def dynamic(inputs, outputs, size=1, **options):
    return DynamicConv(inputs, outputs, size, kernels=2, act=jax.nn.relu, rngs=Keys(0), **options)


def test_a_dynamic_convolution_mixes_its_kernels_for_each_sample():
    conv = dynamic(4, 1)
    conv.eval()
    # The attention sees the mean of the first channel; kernel 0 sums the channels, kernel 1
    # takes the last one.
    conv.squeeze.conv.kernel.set_value(jnp.asarray([1.0, 0, 0, 0]).reshape(1, 1, 4, 1))
    conv.attend.kernel.set_value(jnp.asarray([1.0, -1.0]).reshape(1, 1, 1, 2))
    conv.kernels.set_value(jnp.asarray([[1.0, 1, 1, 1], [0, 0, 0, 1]]).reshape(2, 1, 1, 4, 1))
    x = jnp.asarray([[3.0, 0, 0, 2], [-3.0, 0, 0, 2]]).reshape(2, 1, 1, 4)
    gate = 1 / (1 + np.exp(-3 / np.sqrt(1 + 1e-5)))
    expected = [gate * 5 + (1 - gate) * 2, 0.5 * -1 + 0.5 * 2]  # relu(-3) = 0: both by half
    np.testing.assert_allclose(np.ravel(conv(x)), expected, rtol=1e-5)


def test_dynamic_kernels_start_uniform_and_their_attention_small():
    conv = dynamic(256, 256, 3, groups=256)
    bank = conv.kernels.get_value()
    assert bank.shape == (2, 3, 3, 1, 256)
    bound = np.sqrt(6 / 9)  # Kaiming's, nine values into each output
    np.testing.assert_allclose([bank.min(), bank.max()], [-bound, bound], rtol=0.01)
    np.testing.assert_allclose(bank.std(), bound / np.sqrt(3), rtol=0.02)
    assert abs(dynamic(64, 32).kernels.get_value()).max() < np.sqrt(6 / 64)
    np.testing.assert_allclose(conv.squeeze.conv.kernel.get_value().std(), 0.001, rtol=0.02)
    assert (conv.attend.bias.get_value() == 0).all()


def test_dynamic_convolutions_of_few_channels_say_so():
    with pytest.raises(ValueError, match="needs 4 or more input channels, not 3"):
        dynamic(3, 8)


@pytest.mark.parametrize(("size", "groups"), [(1, 1), (3, 4)])
def test_batch_norm_folds_into_dynamic_kernels(size, groups):
    conv = functools.partial(DynamicConv, kernels=2, act=jax.nn.relu)
    unit = ConvBN(4, 4, size, groups=groups, act=None, conv=conv, rngs=Keys(0))
    unit.bn.mean.set_value(jnp.asarray([1.0, 2, 3, 4]))
    unit.bn.scale.set_value(jnp.asarray([1.0, -2, 3, 0.5]))
    unit.eval()
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 5, 4)), jnp.float32)
    before = unit(x)
    unit.fold()
    np.testing.assert_allclose(unit(x), before, atol=1e-6)


def test_batch_norm_keeps_the_unbiased_variance():
    # Values 1, 2, 3, 6: mean 3, variance 3.5, unbiased 14/3. Running: 0.9 * before + 0.1 * now.
    norm = BatchNorm(1, rngs=Keys(0))
    y = norm(jnp.asarray([1.0, 2, 3, 6]).reshape(1, 2, 2, 1))
    expected = np.array([-2, -1, 0, 3]) / np.sqrt(3.5 + 1e-5)
    np.testing.assert_allclose(np.ravel(y), expected, rtol=1e-6)
    np.testing.assert_allclose(norm.mean.get_value(), [0.3], rtol=1e-6)
    np.testing.assert_allclose(norm.var.get_value(), [0.9 + 0.1 * 14 / 3], rtol=1e-6)


def test_batch_norm_evaluates_with_the_running_statistics():
    norm = BatchNorm(2, rngs=Keys(0))
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
    norm = BatchNorm(1, rngs=Keys(0))
    x = jnp.concatenate([jnp.full((1, 512, 1, 1), 256.0), jnp.full((1, 512, 1, 1), 258.0)])
    y = norm(x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(norm.mean.get_value(), [25.7], rtol=1e-6)
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [-1, 1])


def test_batch_norm_of_one_value_says_what_to_change():
    with pytest.raises(ValueError, match=r"one value per channel.*larger images or more than one"):
        BatchNorm(3, rngs=Keys(0))(jnp.ones((1, 1, 1, 3)))


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_bias_before_batch_norm_moves_the_running_mean_alone(evaluation):
    unit = ConvBN(1, 2, act=None, conv=functools.partial(Conv, bias=True), rngs=Keys(0))
    unit.conv.kernel.set_value(jnp.asarray([1.0, 2.0]).reshape(1, 1, 1, 2))
    unit.conv.bias.set_value(jnp.asarray([10.0, -4.0]))
    if evaluation:
        unit.eval()
    y = unit(jnp.asarray([-1.0, 1.0]).reshape(1, 1, 2, 1))[0, 0]
    # -1 and 1, -2 and 2: of mean 0 without the biases, of unbiased variance 2 and 8.
    signs = np.asarray([[-1.0], [1.0]])
    if evaluation:
        expected = np.asarray([10, -4]) + signs * [1, 2]
        np.testing.assert_allclose(y, expected, rtol=1e-4)
    else:
        np.testing.assert_allclose(y, signs * [1, 1], rtol=1e-4)
        np.testing.assert_allclose(unit.bn.mean.get_value(), [1.0, -0.4], rtol=1e-6)
        np.testing.assert_allclose(unit.bn.var.get_value(), [0.9 + 0.2, 0.9 + 0.8], rtol=1e-6)


def test_shuffle_interleaves():
    x = jnp.arange(6.0).reshape(1, 1, 1, 6)
    np.testing.assert_array_equal(np.ravel(shuffle(*jnp.split(x, 2, axis=-1))), [0, 3, 1, 4, 2, 5])


def test_a_transposed_convolution_stamps_its_kernel_every_two_pixels():
    conv = TransposedConv(1, 1, 4, stride=2, rngs=Keys(0))
    kernel = np.arange(1.0, 17).reshape(4, 4)
    conv.transposed.set_value(jnp.asarray(kernel, jnp.float32)[:, :, None, None])
    x = np.array([[1.0, 10], [100, 1000]])
    stamped = np.zeros((6, 6))
    for row, column in np.ndindex(2, 2):
        stamped[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += x[row, column] * kernel
    y = conv(jnp.asarray(x, jnp.float32).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(y[0, :, :, 0], stamped[1:5, 1:5])


def test_transposed_convolutions_start_normal_and_of_other_kinds_say_so():
    kernel = TransposedConv(64, 64, 4, stride=2, rngs=Keys(0)).transposed.get_value()
    np.testing.assert_allclose(kernel.std(), 0.001, rtol=0.01)
    with pytest.raises(ValueError, match="4x4 with stride 2 and 1 group, not 3x3 with stride 1"):
        TransposedConv(4, 4, 3, stride=1, rngs=Keys(0))


def test_layer_norm_normalises_the_channels_of_each_pixel():
    norm = LayerNorm(2, rngs=Keys(0))
    norm.scale.set_value(jnp.asarray([2.0, 3.0]))
    norm.bias.set_value(jnp.asarray([0.0, 1.0]))
    # Deviations of 1e-3: the epsilon of 1e-6 makes 1 / sqrt(2) of them.
    x = jnp.asarray([[1.0, 3.0], [0.0, 2e-3]]).reshape(1, 1, 2, 2)
    expected = [[-2.0, 1 + 3.0], [-2 * math.sqrt(0.5), 1 + 3 * math.sqrt(0.5)]]
    np.testing.assert_allclose(norm(x)[0, 0], expected, rtol=1e-5)


def test_layer_norm_of_bfloat16_computes_in_float32():
    x = jnp.asarray([256.0, 256, 256, 258], jnp.bfloat16).reshape(1, 1, 1, 4)
    y = LayerNorm(4, rngs=Keys(0))(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.unique(y.astype(np.float32)), [-0.577, 1.73], rtol=0.004)


def test_linear_layers_start_uniform():
    linear = Linear(256, 512, rngs=Keys(0))
    for values in (linear.matrix.get_value(), linear.bias.get_value()):
        assert abs(values).max() <= 1 / 16
        np.testing.assert_allclose(values.std(), 1 / 16 / math.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(linear(jnp.zeros((1, 256)))[0], linear.bias.get_value())


def dropped(key, samples=512, rate=0.25):
    drop = DropPath(rate)
    give_draws(drop, key, samples)
    return drop(jnp.full((samples, 2, 3, 1), 3.0))


def test_drop_path_drops_whole_samples_and_scales_the_rest():
    y = np.asarray(dropped(jax.random.key(0)))
    assert (y == y[:, :1, :1]).all()
    assert set(np.unique(y)) == {0.0, 4.0}
    # 128 of 512, give or take four deviations of sqrt(512 * 1/4 * 3/4) = 9.8.
    assert abs((y[:, 0, 0] == 0).sum() - 128) < 40


def test_drop_path_draws_anew_for_each_key_and_each_layer():
    first, second = DropPath(0.5), DropPath(0.5)
    draws = []
    for drop, seed in ((first, 0), (second, 0), (first, 1), (first, 0)):
        give_draws(Steps(first, second), jax.random.key(seed), 64)
        draws.append(np.ravel(drop(jnp.ones((64, 1, 1, 1)))))
    assert (draws[0] != draws[1]).any()
    assert (draws[0] != draws[2]).any()
    np.testing.assert_array_equal(draws[0], draws[3])


def test_drop_path_in_evaluation_or_at_rate_0_needs_no_key():
    x = jnp.ones((4, 1, 1, 1))
    assert DropPath(0.0)(x) is x
    drop = DropPath(0.5)
    with pytest.raises(ValueError, match="drop path draws random numbers in training"):
        drop(x)
    drop.eval()
    assert drop(x) is x


def test_drop_path_on_eight_devices_draws_as_on_one():
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    alone = jax.jit(dropped)(jax.random.key(0))
    shared = jax.jit(dropped, out_shardings=rows)(jax.random.key(0))
    assert len(shared.sharding.device_set) == 8
    np.testing.assert_array_equal(shared, alone)

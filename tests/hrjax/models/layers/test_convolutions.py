import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models.layers import (
    Conv,
    ConvBN,
    DynamicConv,
    HostInitializer,
    Linear,
    TransposedConv,
    pad_inputs,
)


def test_a_strided_convolution_pads_both_sides():
    # By hand: a 2x2 image of ones under a 3x3 kernel of ones at stride 2 sees all four pixels, as
    # the kernel's center is on the first pixel. "SAME" would put its corner there.
    conv = Conv(1, 1, 3, stride=2, rngs=HostInitializer(0))
    conv.kernel.set_value(jnp.arange(9.0).reshape(3, 3, 1, 1))
    np.testing.assert_array_equal(conv(jnp.ones((1, 2, 2, 1))), [[[[4 + 5 + 7 + 8]]]])


def test_convolutions_start_normal_and_biases_zero():
    conv = Conv(64, 256, 3, bias=True, rngs=HostInitializer(0))
    np.testing.assert_allclose(conv.kernel.get_value().std(), 0.001, rtol=0.01)
    assert (conv.bias.get_value() == 0).all()


def test_groups_that_do_not_divide_the_channels_are_an_error():
    with pytest.raises(ValueError, match="4 groups do not divide 6 input and 8 output channels"):
        Conv(6, 8, groups=4, rngs=HostInitializer(0))


def dynamic(inputs, outputs, size=1, **options):
    return DynamicConv(
        inputs, outputs, size, kernels=2, act=jax.nn.relu, rngs=HostInitializer(0), **options
    )


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
    expected = [gate * 5 + (1 - gate) * 2, 0.5 * -1 + 0.5 * 2]  # relu(-3) = 0: half of each
    np.testing.assert_allclose(np.ravel(conv(x)), expected, rtol=1e-5)


def test_dynamic_kernels_start_uniform_and_their_attention_small():
    conv = dynamic(256, 256, 3, groups=256)
    bank = conv.kernels.get_value()
    assert bank.shape == (2, 3, 3, 1, 256)
    bound = np.sqrt(6 / 9)  # Kaiming's, for nine inputs to each output
    np.testing.assert_allclose([bank.min(), bank.max()], [-bound, bound], rtol=0.01)
    np.testing.assert_allclose(bank.std(), bound / np.sqrt(3), rtol=0.02)
    assert abs(dynamic(64, 32).kernels.get_value()).max() < np.sqrt(6 / 64)
    np.testing.assert_allclose(conv.squeeze.conv.kernel.get_value().std(), 0.001, rtol=0.02)
    assert (conv.attend.bias.get_value() == 0).all()


def test_dynamic_convolutions_of_too_few_channels_are_an_error():
    with pytest.raises(ValueError, match="needs 4 or more input channels, not 3"):
        dynamic(3, 8)


@pytest.mark.parametrize(("size", "groups"), [(1, 1), (3, 4)])
def test_batch_norm_folds_into_dynamic_kernels(size, groups):
    conv = functools.partial(DynamicConv, kernels=2, act=jax.nn.relu)
    unit = ConvBN(4, 4, size, groups=groups, act=None, conv=conv, rngs=HostInitializer(0))
    unit.bn.mean.set_value(jnp.asarray([1.0, 2, 3, 4]))
    unit.bn.scale.set_value(jnp.asarray([1.0, -2, 3, 0.5]))
    unit.eval()
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 5, 4)), jnp.float32)
    before = unit(x)
    unit.fold()
    np.testing.assert_allclose(unit(x), before, atol=1e-6)


@pytest.mark.parametrize(
    ("platform", "inputs", "size", "padded"),
    [
        ("gpu", 80, 1, 96),
        ("gpu", 96, 1, 96),
        ("gpu", 40, 1, 40),
        ("gpu", 80, 3, 80),
        ("tpu", 80, 1, 80),
    ],
)
def test_gpus_sum_whole_blocks_of_inputs(platform, inputs, size, padded):
    conv = Conv(inputs, 5, size, rngs=HostInitializer(0))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 3, inputs)), jnp.float32)
    before = conv(x)
    with hrjax.lowering_for(platform):
        pad_inputs(conv)
        after = conv(x)
    assert conv.kernel.shape == (size, size, padded, 5)
    np.testing.assert_allclose(after, before, atol=1e-8)


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_bias_before_batch_norm_changes_only_the_running_mean(evaluation):
    unit = ConvBN(1, 2, act=None, conv=functools.partial(Conv, bias=True), rngs=HostInitializer(0))
    unit.conv.kernel.set_value(jnp.asarray([1.0, 2.0]).reshape(1, 1, 1, 2))
    unit.conv.bias.set_value(jnp.asarray([10.0, -4.0]))
    if evaluation:
        unit.eval()
    y = unit(jnp.asarray([-1.0, 1.0]).reshape(1, 1, 2, 1))[0, 0]
    # -1 and 1, -2 and 2: mean 0 without the biases, unbiased variances 2 and 8.
    signs = np.asarray([[-1.0], [1.0]])
    if evaluation:
        expected = np.asarray([10, -4]) + signs * [1, 2]
        np.testing.assert_allclose(y, expected, rtol=1e-4)
    else:
        np.testing.assert_allclose(y, signs * [1, 1], rtol=1e-4)
        np.testing.assert_allclose(unit.bn.mean.get_value(), [1.0, -0.4], rtol=1e-6)
        np.testing.assert_allclose(unit.bn.var.get_value(), [0.9 + 0.2, 0.9 + 0.8], rtol=1e-6)


def test_a_transposed_convolution_adds_its_kernel_at_every_second_pixel():
    conv = TransposedConv(1, 1, 4, stride=2, rngs=HostInitializer(0))
    kernel = np.arange(1.0, 17).reshape(4, 4)
    conv.transposed.set_value(jnp.asarray(kernel, jnp.float32)[:, :, None, None])
    x = np.array([[1.0, 10], [100, 1000]])
    stamped = np.zeros((6, 6))
    for row, column in np.ndindex(2, 2):
        stamped[2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += x[row, column] * kernel
    y = conv(jnp.asarray(x, jnp.float32).reshape(1, 2, 2, 1))
    np.testing.assert_array_equal(y[0, :, :, 0], stamped[1:5, 1:5])


def test_transposed_convolutions_start_normal_and_reject_other_shapes():
    kernel = TransposedConv(64, 64, 4, stride=2, rngs=HostInitializer(0)).transposed.get_value()
    np.testing.assert_allclose(kernel.std(), 0.001, rtol=0.01)
    with pytest.raises(ValueError, match="4x4 with stride 2 and 1 group, not 3x3 with stride 1"):
        TransposedConv(4, 4, 3, stride=1, rngs=HostInitializer(0))


def test_linear_layers_start_uniform():
    linear = Linear(256, 512, rngs=HostInitializer(0))
    for values in (linear.matrix.get_value(), linear.bias.get_value()):
        assert abs(values).max() <= 1 / 16
        np.testing.assert_allclose(values.std(), 1 / 16 / math.sqrt(3), rtol=0.05)
    np.testing.assert_allclose(linear(jnp.zeros((1, 256)))[0], linear.bias.get_value())

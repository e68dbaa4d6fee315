import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models.joint.attention import JointAttention, MeansProduct, means_in_parts
from hrjax.models.layers import DynamicConv, HostInitializer, gelu


def images(*sizes, dtype=np.float32):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal((2, *size)), dtype) for size in sizes]


@pytest.mark.parametrize(("platform", "parts"), [("gpu", 4), ("tpu", 1)])
def test_parts_of_means_add_up_to_them(platform, parts):
    pair = images((12, 5, 3), (4, 3, 2))  # four rows divide both heights
    with hrjax.lowering_for(platform):
        means = means_in_parts(pair)
    assert means.shape == (2, parts, 5)
    expected = np.concatenate([x.mean((1, 2)) for x in pair], -1)
    np.testing.assert_allclose(means.sum(1), expected, atol=1e-6)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_means_of_bfloat16_are_summed_in_float32(platform):
    # 1/256 of 257 is lost where a sum of ones is rounded to eight bits.
    ones = jnp.ones((1, 257, 1, 1), jnp.bfloat16)
    with hrjax.lowering_for(platform):
        means = means_in_parts([ones])
    assert means.dtype == jnp.float32
    np.testing.assert_allclose(means.sum(1), 1, rtol=1e-6)


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_a_product_of_means_adds_up_their_parts(platform):
    product = MeansProduct(jnp.asarray([[1.0, 10], [0, -1], [2, 0]]), jnp.asarray([0.5, 0, 0]))
    with hrjax.lowering_for(platform):
        outputs = product(jnp.asarray([[[1.0, 2], [3, 4]]]))  # in sum 4 and 6
    np.testing.assert_array_equal(outputs, [[64.5, -6, 8]])


def test_joint_attention_gives_each_convolution_its_weights():
    rngs = HostInitializer(0)
    random = np.random.default_rng(1)
    convs = [
        DynamicConv(8, 4, kernels=3, act=gelu, rngs=rngs),
        DynamicConv(4, 4, 3, groups=4, kernels=2, act=gelu, rngs=rngs),
    ]
    for conv in convs:
        conv.eval()
        for layer in (conv.squeeze.conv, conv.attend):
            layer.kernel.set_value(jnp.asarray(random.standard_normal(layer.kernel.shape)))
        conv.squeeze.fold()
    pair = images((4, 4, 8), (2, 2, 4))
    expected = [conv(x) for conv, x in zip(convs, pair, strict=True)]
    weights = jax.jit(JointAttention(convs))(pair)
    assert [w.shape for w in weights] == [(2, 3), (2, 2)]
    for conv, x, w, y in zip(convs, pair, weights, expected, strict=True):
        np.testing.assert_allclose(conv.mix(x, w), y, rtol=1e-4, atol=1e-5)

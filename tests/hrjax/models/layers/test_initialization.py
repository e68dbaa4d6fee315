import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from hrjax.models import layers
from hrjax.models.layers import HostInitializer, constant, normal, uniform

KINDS = {
    "BasicBlock": functools.partial(layers.BasicBlock, 4),
    "BatchNorm": functools.partial(layers.BatchNorm, 4),
    "Bottleneck": functools.partial(layers.Bottleneck, 4, 2, 8),
    "Conv": functools.partial(layers.Conv, 4, 8, 3, bias=True),
    "ConvBN": functools.partial(layers.ConvBN, 4, 8),
    "DropPath": functools.partial(layers.DropPath, 0.5),
    "DynamicConv": functools.partial(layers.DynamicConv, 4, 8, kernels=2, act=jax.nn.relu),
    "LayerNorm": functools.partial(layers.LayerNorm, 4),
    "Linear": functools.partial(layers.Linear, 4, 8),
    "Separable": functools.partial(layers.Separable, 4, 8, stride=1, act=None),
    "SqueezeExcite": functools.partial(layers.SqueezeExcite, 4, 2),
    "TransposedConv": functools.partial(layers.TransposedConv, 4, 8, 4, stride=2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_layers_accept_the_streams_of_nnx(kind):
    ours, theirs = (KINDS[kind](rngs=rngs) for rngs in (HostInitializer(0), nnx.Rngs(0)))
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), nnx.state(x)) for x in (ours, theirs)]
    assert shapes[0] == shapes[1]
    x = jnp.ones((2, 4, 4, 4))
    assert nnx.eval_shape(lambda layer: layer(x), theirs).shape[0] == 2


@pytest.mark.parametrize("rngs", [HostInitializer(0), nnx.Rngs(0)], ids=["host", "nnx"])
def test_draws_have_their_distributions(rngs):
    values = normal(rngs, (100, 200), 0.5)
    np.testing.assert_allclose([values.mean(), values.std()], [0, 0.5], atol=0.02)
    values = uniform(rngs, (100, 200), 0.5)
    np.testing.assert_allclose(
        [values.min(), values.mean(), values.max()], [-0.5, 0, 0.5], atol=0.02
    )
    assert (normal(rngs, (3,), 1.0) != normal(rngs, (3,), 1.0)).all()
    np.testing.assert_array_equal(constant(rngs, (2,), 3.0), [3, 3])
    assert {f(rngs, (2,), 1.0).dtype for f in (normal, uniform, constant)} == {jnp.dtype("float32")}


def test_the_host_draws_as_numpy_does():
    random = np.random.default_rng(3)
    rngs = HostInitializer(3)
    rngs.dropout_stream()  # takes nothing away from the parameters
    drawn = np.float32(0.5) * random.standard_normal(5, np.float32)
    np.testing.assert_array_equal(rngs.normal((5,), 0.5), drawn)
    drawn = random.uniform(-2, 2, 5).astype(np.float32)
    np.testing.assert_array_equal(rngs.uniform((5,), 2), drawn)


def test_without_a_seed_there_are_only_shapes():
    rngs = HostInitializer(None)
    shape = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert rngs.normal((2, 3), 1.0) == rngs.uniform((2, 3), 1.0) == rngs.constant((2, 3), 1.0)
    assert rngs.normal((2, 3), 1.0) == shape
    assert rngs.dropout_stream() is None


def test_every_stream_of_a_seed_is_different():
    rngs = HostInitializer(0)
    keys = [jax.random.key_data(rngs.dropout_stream().key.get_value()) for _ in range(4)]
    assert len(np.unique(keys, axis=0)) == 4

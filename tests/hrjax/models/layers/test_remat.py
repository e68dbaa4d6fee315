"""Blocks that recompute their insides for gradients."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import print_saved_residuals

from hrjax import models
from hrjax.models.layers import BatchNorm, DropPath, enable_remat, run_block


def kept_bytes(capsys, **settings):
    """The bytes that JAX keeps of a forward pass for gradients, without the arguments."""
    graph, params, stats = models.shapes("hrnet_tiny", training=True)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)

    def loss(params, images):
        outputs, _ = models.apply(graph, params, zeros, images, **settings)
        return jnp.sum(outputs**2)

    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), stats)
    print_saved_residuals(loss, params, images)
    lines = capsys.readouterr().out.splitlines()
    shapes = [re.match(r"f32\[([\d,]*)\]", line) for line in lines if "argument" not in line]
    return 4 * sum(
        math.prod(map(int, shape[1].split(","))) for shape in shapes if shape and shape[1]
    )


def test_remat_keeps_less_for_gradients(capsys):
    everything = kept_bytes(capsys)
    assert 0 < kept_bytes(capsys, remat=True) < 0.6 * everything


def test_remat_moves_statistics_and_random_streams_on():
    class Block(nnx.Module):
        def __init__(self):
            self.norm = BatchNorm(3, rngs=nnx.Rngs(0))
            self.drop = DropPath(0.5, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.drop(self.norm(x))

    x = jnp.asarray(np.random.default_rng(0).standard_normal((8, 2, 2, 3)), jnp.float32)
    plain, saving = Block(), Block()
    enable_remat(saving)
    for count in (1, 2):
        np.testing.assert_allclose(run_block(saving, x), run_block(plain, x), atol=1e-6)
        assert int(saving.drop.rngs.count.get_value()) == count
        np.testing.assert_allclose(saving.norm.var.get_value(), plain.norm.var.get_value())

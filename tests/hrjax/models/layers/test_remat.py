"""Blocks that recompute their insides for gradients."""

import math
import re

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import print_saved_residuals

from hrjax import models


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

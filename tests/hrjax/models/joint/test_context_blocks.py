"""HRNeXt's blocks as GPUs and TPUs compute them, against the blocks that they are made of."""

import jax
import numpy as np
import pytest
from tiny_networks import scrambled

import hrjax
from hrjax import models
from hrjax.models import hrnext
from hrjax.models.layers import HostInitializer


# A TPU computes as a GPU does large batches. Blocks of one kernel each have no attention.
@pytest.mark.parametrize(
    ("platform", "kernels"), [("gpu", (4, 2, 1)), ("tpu", (4, 2, 1)), ("gpu", (1,))]
)
def test_joint_blocks_compute_what_their_blocks_do(platform, kernels):
    config = hrnext.HRNeXtConfig()
    rngs = HostInitializer(0)
    blocks = [
        hrnext.ContextBlock(4 * 2**i, count, config, rate=0.1, rngs=rngs)
        for i, count in enumerate(kernels)
    ]
    random = np.random.default_rng(0)
    branches = [
        random.standard_normal((2, 16 // 2**i, 24 // 2**i, 4 * 2**i)) for i in range(len(kernels))
    ]

    def outputs(graph, params, stats):
        network = jax.jit(lambda *arrays: models.merge(graph, *arrays)(branches))
        return jax.device_get(network(params, stats))

    with jax.enable_x64(True), hrjax.lowering_for(platform):
        graph, *arrays = scrambled(hrnext.ContextBlocks(blocks))
        network = (graph, *jax.tree.map(np.float64, arrays))
        expected = outputs(*models.fold_batch_norm(*network))
        found = outputs(*models.specialize(*network))
    for before, after in zip(expected, found, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-9 * before.std())

"""Training on several devices equals training on one."""

import os
import subprocess
import sys

import pytest

STEP = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
import hrjax

name, overrides = sys.argv[1], {"width": 8, "modules": (1,), "blocks": 1, **eval(sys.argv[2])}
graph, params, stats = hrjax.split(hrjax.create(name, **overrides))
params = jax.tree.map(lambda x: x.astype(jnp.float64) * (100 if x.ndim == 4 else 1), params)
stats = jax.tree.map(lambda x: x.astype(jnp.float64), stats)
images = np.random.default_rng(0).standard_normal((8, 32, 32, 3))

def loss(params, stats, images):
    heatmaps, stats = hrjax.apply(graph, params, stats, images, jax.random.key(0))
    return jnp.mean((heatmaps - 1) ** 2), stats

step = jax.jit(jax.value_and_grad(loss, has_aux=True))
alone = step(*jax.device_put((params, stats, images), jax.devices()[0]))
mesh = jax.make_mesh((8,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
everywhere = NamedSharding(mesh, PartitionSpec())
params, stats = jax.device_put((params, stats), everywhere)
images = jax.device_put(images, NamedSharding(mesh, PartitionSpec("batch")))
shared = step(params, stats, images)
scale = max(float(abs(x).max()) for x in jax.tree.leaves(alone[1]))
for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-13 * scale)
print("equal on", jax.device_count())
"""


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("hrnet_w32", {}),
        ("widehrnet_18_se", {}),
        ("hrformer_small", {"drop_path": 0.5, "blocks": 2}),
        ("hrnext_small", {"drop_path": 0.5}),
        ("efenet_small", {"drop_path": 0.5, "blocks": 2}),
    ],
)
def test_eight_devices_step_as_one(name, overrides):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_ENABLE_X64": "1"}
    command = [sys.executable, "-c", STEP, name, repr(overrides)]
    result = subprocess.run(command, env=os.environ | flags, capture_output=True, text=True)
    assert result.stdout == "equal on 8\n", result.stderr

"""Weights lie in memory as the compiled program reads them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import hrjax
from hrjax.models.layers import in_layouts, layouts, weight_format


@pytest.fixture
def on_gpu(monkeypatch):
    """Lays weights out as on a GPU, on the devices of this machine."""
    monkeypatch.setitem(layouts.PLATFORMS, "cpu", "gpu")


def order(shape):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    whole = NamedSharding(mesh, PartitionSpec())
    wanted = weight_format(shape, whole)
    return wanted.layout.major_to_minor if wanted != whole else None


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((3, 3, 16, 32), (3, 0, 1, 2)),  # output channels first, as cuDNN's NHWC wants them
        ((1, 1, 16, 32), (3, 0, 1, 2)),
        ((1, 1, 16, 16), None),  # few outputs
        ((3, 3, 1, 32), None),  # depthwise
        ((32,), None),
        ((4, 3, 3, 1, 32), None),  # kernels that each sample mixes
    ],
)
def test_dense_kernels_have_their_output_channels_first_on_gpu(shape, expected):
    assert order(shape) == expected


def test_weights_stay_as_they_are_on_cpu():
    weights = {"kernel": jnp.ones((3, 3, 4, 8)), "bias": jnp.zeros(8)}
    assert order((3, 3, 16, 32)) is None
    assert in_layouts(weights) is weights


@pytest.mark.usefixtures("on_gpu")
def test_a_network_computes_the_same_in_another_layout():
    model = hrjax.create("hrnet_w32", width=8, modules=(1,), blocks=1, stem_blocks=1)
    model.eval()
    graph, params, stats = hrjax.split(model)
    moved = in_layouts(params)
    kernel = moved["stem"]["conv2"]["conv"]["kernel"]
    assert kernel.format.layout.major_to_minor == (3, 0, 1, 2)
    jax.tree.map(np.testing.assert_array_equal, moved, params)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), jnp.float32)
    forward = jax.jit(lambda params: hrjax.apply(graph, params, stats, images)[0])
    np.testing.assert_allclose(forward(moved), forward(params), rtol=1e-5, atol=1e-9)
    # The compiled function takes the kernels as they lie.
    taken = forward.lower(moved).compile().input_formats[0][0]
    assert taken["stem"]["conv2"]["conv"]["kernel"] == kernel.format

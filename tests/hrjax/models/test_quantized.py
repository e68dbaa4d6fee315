"""Which layers round, and the ranges that calibration finds for them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_networks
from flax import nnx
from ml_collections import ConfigDict

import hrjax
from hrjax import models
from hrjax.models.layers import Conv, HostInitializer

NAME = "pose_resnet_50"
FIELDS = tiny_networks.TINY[NAME]


class Twice(nnx.Module):
    """Two 1x1 convolutions that double what they read."""

    def __init__(self):
        self.first, self.second = (Conv(1, 1, rngs=HostInitializer(0)) for _ in range(2))
        for layer in (self.first, self.second):
            layer.kernel.set_value(jnp.full((1, 1, 1, 1), 2.0))

    def __call__(self, x):
        return self.second(self.first(x))


def twice(**options):
    model = Twice()
    model.eval()
    return models.quantize(*models.split(model), **options)


def pixels(*values):
    return jnp.array(values, jnp.float32).reshape(-1, 1, 2, 1)


def test_ranges_hold_a_percentage_of_the_magnitudes_over_all_images():
    values = np.arange(1, 1001, dtype=np.float32)
    values[::2] *= -1
    network = twice(alpha=7.0)
    params, stats = models.calibrate(*network, pixels(*values), percentile=99.0)
    assert params["first"]["rounding"]["alpha"] == 990
    assert params["second"]["rounding"]["alpha"] == 1980  # nothing is rounded or clipped meanwhile
    assert stats["second"]["rounding"] == {"total": 1980, "count": 1}
    params, _ = models.calibrate(*network, pixels(*values), percentile=100.0)
    assert params["first"]["rounding"]["alpha"] == 1000


def test_without_a_percentile_alpha_stays_and_limits_the_scale():
    params, stats = models.calibrate(*twice(alpha=5.0), pixels(1, -3))
    assert params["first"]["rounding"]["alpha"] == 5
    assert stats["first"]["rounding"]["total"] == 3
    assert stats["second"]["rounding"]["total"] == 5


def test_layers_that_read_zeros_can_still_learn():
    params, stats = models.calibrate(*twice(), pixels(0, 0), percentile=99.0)
    assert params["first"]["rounding"]["alpha"] == 1
    assert stats["first"]["rounding"]["total"] == 1


def test_layers_in_float32_are_not_calibrated():
    graph, params, stats = twice(keep=("first",))
    params, stats = models.calibrate(graph, params, stats, pixels(1, 2), percentile=100.0)
    assert set(params["first"]) == {"kernel"}
    assert set(stats) == {"second"}


def test_shapes_are_those_of_the_quantized_network():
    told = models.Quantization(keep=("final",))
    graph, *expected = models.shapes(NAME, training=True, quantization=told, **FIELDS)
    network = models.split(hrjax.create(NAME, **FIELDS))
    same, *arrays = models.quantize(*network, keep=told.keep)
    assert graph == same
    shapes = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (expected, arrays)]
    assert shapes[0] == shapes[1]


def test_parts_that_the_network_does_not_have_are_told():
    unknown, choices = models.unknown_parts(
        *models.shapes(NAME, **FIELDS), ("layers", "stem", "fin")
    )
    assert unknown == "'stem', 'fin'"
    assert choices.startswith("conv1, final, layers, or parts of these such as ")


@pytest.mark.parametrize("enabled", [True, False])
def test_the_section_of_a_config(enabled):
    section = ConfigDict({"enabled": enabled, "keep": ("stem",), "alpha": 2, "percentile": 99})
    expected = models.Quantization(("stem",), 2.0, 99.0) if enabled else None
    assert models.quantization_of(section) == expected

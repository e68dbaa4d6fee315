"""Programs are traced for the platform that they are for, not for the host that traces them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax.models.layers import target_platform


def test_the_target_is_the_platform_of_the_devices_in_use(monkeypatch):
    assert target_platform() == "cpu"
    with jax.default_device(jax.devices("cpu")[0]):
        monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
        assert target_platform() == "cpu"
    assert target_platform() == "tpu"


@pytest.mark.parametrize(
    ("platform", "target"),
    [
        ("cpu", "cpu"),
        ("gpu", "gpu"),
        ("cuda", "gpu"),
        ("rocm", "gpu"),
        ("tpu", "tpu"),
        ("onnx", "onnx"),
    ],
)
def test_the_context_sets_the_target(platform, target):
    with hrjax.lowering_for(platform):
        assert target_platform() == target
        with hrjax.lowering_for("cpu"):
            assert target_platform() == "cpu"
        assert target_platform() == target
    assert target_platform() == "cpu"


def test_an_unknown_platform_is_an_error_with_the_choices():
    with pytest.raises(
        ValueError,
        match=r"'cudnn'; did you mean cuda\? Choose one of: cpu, gpu, cuda, rocm, tpu, onnx",
    ):
        hrjax.lowering_for("cudnn")


def test_one_jitted_function_is_traced_for_each_target():
    forward = jax.jit(lambda: target_platform() == "cpu")
    assert forward()
    with hrjax.lowering_for("tpu"):
        assert not forward()
    assert forward()


def fusion_barriers(exported):
    """The calls that keep XLA's CPU backend from fusing across a block."""
    return exported.mlir_module().count('inlineable = "false"')


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_network_is_exported_for_an_absent_platform(platform):
    model = hrjax.create("litehrnet_18", width=8, modules=(1,), blocks=1)
    model.eval()
    network = hrjax.split(model)

    @jax.jit
    def forward(images):
        return hrjax.apply(*network, images)[0]

    images = jnp.asarray(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), jnp.float32)
    here = jax.export.export(forward)(images)
    with hrjax.lowering_for(platform):
        there = jax.export.export(forward, platforms=[platform])(images)
    assert fusion_barriers(here) > 0
    assert fusion_barriers(there) == 0
    assert there.platforms == (platform,)
    np.testing.assert_allclose(here.call(images), forward(images), rtol=1e-4, atol=1e-7)

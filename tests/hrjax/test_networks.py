"""Networks as nnx modules, with weights from anywhere."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import hrjax
from hrjax.weights import torch_names


@pytest.fixture
def file(tmp_path):
    """A file of a small network with 16 joints, and that network."""
    model = hrjax.create("hrnet_tiny", seed=3, num_joints=16)
    _, params, stats = hrjax.split(model)
    path = tmp_path / "weights.npz"
    np.savez(path, **torch_names.to_torch("hrnet_tiny", params, stats))
    return path, model


IMAGES = jnp.asarray(np.random.default_rng(0).standard_normal((2, 64, 32, 3)), jnp.float32)


def test_a_loaded_network_evaluates_by_itself(file):
    path, model = file
    network = hrjax.load(path)
    assert isinstance(network, nnx.Module)
    model.eval()
    both = network(IMAGES)
    np.testing.assert_array_equal(both, model(IMAGES))
    # In evaluation mode the heatmaps of an image do not depend on the rest of the batch.
    np.testing.assert_allclose(network(IMAGES[:1])[0], both[0], atol=1e-6)
    network.train()
    assert not np.allclose(network(IMAGES[:1])[0], both[0], atol=1e-3)


def test_a_created_network_trains_from_weights(file, caplog):
    path, model = file
    caplog.set_level("INFO", logger="hrjax")
    network = hrjax.create("hrnet_tiny", seed=5, num_joints=16, weights=path)
    assert caplog.messages == [f"starting from the weights of {path}"]
    np.testing.assert_array_equal(network(IMAGES), model(IMAGES))  # both in training mode


def test_a_created_network_has_a_fresh_head_for_other_joints(file, caplog):
    path, model = file
    caplog.set_level("INFO", logger="hrjax")
    network = hrjax.create("hrnet_tiny", seed=5, num_joints=5, weights=path)
    assert caplog.messages == [
        f"starting from the weights of {path}; the head starts fresh: 5 joints instead of 16"
    ]
    assert network(IMAGES).shape == (2, 16, 8, 5)
    loaded, expected = hrjax.split(network)[1], hrjax.split(model)[1]
    np.testing.assert_array_equal(
        loaded["stem"]["conv1"]["conv"]["kernel"], expected["stem"]["conv1"]["conv"]["kernel"]
    )
    fresh = hrjax.split(hrjax.create("hrnet_tiny", seed=5, num_joints=5))[1]
    np.testing.assert_array_equal(loaded["final"]["kernel"], fresh["final"]["kernel"])


def test_without_weights_nothing_is_said(caplog):
    caplog.set_level("INFO", logger="hrjax")
    hrjax.create("hrnet_tiny", seed=5)
    assert not caplog.messages

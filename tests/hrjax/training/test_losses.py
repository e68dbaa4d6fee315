"""The loss and its gradient against the reference implementations."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from hrjax.training import losses


@pytest.fixture
def recorded(golden):
    contents = np.load(golden / "loss_accuracy.npz")
    return {key: contents[key] for key in contents}


def arrays(recorded, weight="target_weight"):
    maps = (np.moveaxis(recorded[key], 1, -1) for key in ("output", "target"))
    return (*map(jnp.array, maps), jnp.array(recorded[weight][..., 0]))


@pytest.mark.parametrize(
    ("weight", "factor", "expected"),
    [
        ("target_weight", 0.5, "official_mse_weight"),
        ("target_weight", 1.0, "mm0_mse_weight"),
        ("target_weight_joint_weighted", 0.5, "official_mse_joint_weight"),
        ("target_weight_joint_weighted", 1.0, "mm0_mse_joint_weight"),
    ],
)
def test_loss_matches_the_recorded_loss(recorded, weight, factor, expected):
    loss = losses.joint_mse(*arrays(recorded, weight), factor=factor)
    np.testing.assert_allclose(loss, recorded[expected], rtol=1e-6)


def test_gradient_matches_the_recorded_gradient(recorded):
    heatmaps, targets, weights = arrays(recorded, "target_weight_joint_weighted")
    gradient = jax.grad(losses.joint_mse)(heatmaps, targets, weights, factor=0.5)
    expected = np.moveaxis(recorded["grad_official_joint_weighted"], 1, -1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)


def test_weights_are_squared_and_the_mean_is_over_all_joints():
    heatmaps = jnp.zeros((1, 2, 2, 2)).at[0, 0, 0].set(1.0)
    loss = losses.joint_mse(heatmaps, jnp.zeros((1, 2, 2, 2)), jnp.array([[0.0, 3.0]]), factor=0.5)
    assert float(loss) == 0.5 * 9 / 8


def test_bfloat16_heatmaps_give_a_float32_loss():
    heatmaps, targets = jnp.full((1, 64, 48, 1), 1.0, jnp.bfloat16), jnp.zeros((1, 64, 48, 1))
    loss = losses.joint_mse(heatmaps, targets, jnp.full((1, 1), 1.001), factor=1.0)
    assert loss.dtype == jnp.float32
    # Adding 3072 equal numbers costs 1e-5; in bfloat16 1.001 would be 1.
    np.testing.assert_allclose(loss, 1.001**2, rtol=2e-5)


def test_a_sharded_batch_has_the_same_loss(recorded):
    devices = jax.devices()[:4]  # as many as people
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    rows = NamedSharding(mesh, PartitionSpec("data"))
    sharded = jax.device_put(arrays(recorded), rows)
    loss = jax.jit(losses.joint_mse, static_argnames="factor")(*sharded, factor=0.5)
    np.testing.assert_allclose(loss, recorded["official_mse_weight"], rtol=1e-6)


def test_different_shapes_are_an_error_and_not_broadcast():
    heatmaps = jnp.zeros((2, 8, 6, 3))
    with pytest.raises(ValueError, match=r"got \(2, 8, 6, 3\), \(2, 8, 6, 1\) and \(2, 3\)"):
        losses.joint_mse(heatmaps, heatmaps[..., :1], jnp.ones((2, 3)), factor=0.5)
    with pytest.raises(ValueError, match=r"and \(1, 3\)"):
        losses.joint_mse(heatmaps, heatmaps, jnp.ones((1, 3)), factor=0.5)


@pytest.mark.parametrize(
    ("factor", "expected"), [(0.5, "official_ohkm_top8"), (1.0, "mm0_ohkm_top8")]
)
def test_hard_joint_mining_matches_the_recorded_loss(recorded, factor, expected):
    loss = losses.joint_mse(*arrays(recorded), factor=factor, hard_joints=8)
    np.testing.assert_allclose(loss, recorded[expected], rtol=1e-6)


def test_mining_all_joints_is_the_plain_loss(recorded):
    everyone = losses.joint_mse(*arrays(recorded), factor=0.5, hard_joints=17)
    np.testing.assert_allclose(everyone, recorded["official_mse_weight"], rtol=1e-6)


def test_more_hard_joints_than_joints_are_an_error(recorded):
    with pytest.raises(
        ValueError, match=r"config\.loss\.hard_joints is 18; the skeleton has 17 joints"
    ):
        losses.joint_mse(*arrays(recorded), factor=0.5, hard_joints=18)


@pytest.mark.parametrize("size", ["192x256", "256x256", "288x384"])
def test_joint_weights_match_the_recorded_weights(golden, size):
    recorded = np.load(golden / "targets.npz")
    coco = json.loads((golden / "dataset_meta.json").read_text())["coco"]
    weights = jnp.asarray(recorded[f"{size}_msra_weight"])
    weighed = losses.weigh_joints(weights, coco["joint_weights"])
    expected = recorded[f"{size}_msra_weight_joint_weighted"]
    np.testing.assert_allclose(weighed, expected, rtol=1e-6)
    assert losses.weigh_joints(weights, ()) is weights


def test_joint_weights_of_another_skeleton_are_an_error():
    with pytest.raises(ValueError, match=r"joint_weights has 3 numbers for 17 joints"):
        losses.weigh_joints(jnp.ones((2, 17)), (1.0, 1.0, 1.5))

"""Weights from a checkpoint and from a file are the same, on the devices that were asked for."""

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import hrjax
from hrjax import models
from hrjax.runtime import distributed
from hrjax.weights import checkpoints, restoring, torch_names


@pytest.fixture(scope="module")
def saved():
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=3, num_joints=5))
    return {"params": params, "stats": stats}


def save(kind, saved, folder):
    """The path of what was saved as a checkpoint, or as a file under the official names."""
    if kind == "checkpoint":
        with checkpoints.open_folder(folder, keep=1) as manager:
            checkpoints.save(manager, 7, {"model": saved}, position={}, score=None)
            checkpoints.wait(manager)
        return folder / "7"
    np.savez(folder / "weights.npz", **torch_names.to_torch("hrnet_tiny", *saved.values()))
    return folder / "weights.npz"


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["checkpoint", "file"])
def test_weights_come_with_the_graph_that_was_asked_for(saved, tmp_path, kind, training):
    whole = NamedSharding(distributed.make_mesh(jax.devices()[:2]), PartitionSpec())
    fields, path = {"num_joints": 5}, save(kind, saved, tmp_path)
    found, graph, restored = restoring.restore(
        "hrnet_tiny", fields, str(path), whole, training=training
    )
    assert found == path
    assert graph == models.shapes("hrnet_tiny", training=training, **fields)[0]
    jax.tree.map(np.testing.assert_array_equal, restored, saved)
    assert all(leaf.sharding == whole for leaf in jax.tree.leaves(restored))

import jax
import numpy as np
import pytest

import hrjax
from hrjax import models, weights

TINY = {"width": 8, "modules": (1,), "blocks": 1, "stem_width": 8, "num_joints": 3}


@pytest.fixture
def state_dict():
    """Different numbers everywhere, under the names and in the shapes of the official code."""
    _, params, stats = models.shapes("widehrnet_18", **TINY)
    random = np.random.default_rng(0)
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path({"0": params, "1": stats}):
        key, axes = weights.torch_name([entry.key for entry in path[1:]], table())
        shape = [leaf.shape[axes.index(axis)] for axis in range(len(axes))]
        found[key] = random.standard_normal(shape).astype(np.float32)
    return found


def table():
    return models.FAMILIES["widehrnet_18"].TORCH_NAMES


def load(state):
    return hrjax.from_torch("widehrnet_18", state, **TINY)


def test_kernels_come_with_their_axes_turned(state_dict):
    _, params, stats = load(state_dict)
    conv = params["stem"]["conv1"]["conv"]["kernel"]
    theirs = state_dict["backbone.stem.conv1.conv.weight"]
    assert theirs.shape == (8, 3, 3, 3)
    assert conv[0, 1, 2, 5] == theirs[5, 2, 0, 1]
    depthwise = params["stem"]["branch1"]["depthwise"]["conv"]["kernel"]
    assert depthwise[2, 1, 0, 3] == state_dict["backbone.stem.branch1.0.conv.weight"][3, 0, 2, 1]
    mean = stats["stem"]["conv1"]["bn"]["mean"]
    np.testing.assert_array_equal(mean, state_dict["backbone.stem.conv1.bn.running_mean"])


def test_the_graph_evaluates(state_dict):
    graph, params, stats = load(state_dict)
    images = np.ones((1, 32, 32, 3), np.float32)
    _, after = jax.jit(lambda *args: hrjax.apply(graph, *args))(params, stats, images)
    jax.tree.map(np.testing.assert_array_equal, stats, after)


def test_num_batches_tracked_is_ignored(state_dict):
    load(state_dict | {"backbone.stem.conv1.bn.num_batches_tracked": np.int64(7)})


def test_all_problems_come_in_one_message(state_dict):
    del state_dict["backbone.stem.conv1.bn.bias"]
    state_dict["keypoint_head.final_layer.weight"] = np.zeros((4, 8, 1, 1), np.float32)
    state_dict["backbone.head.weight"] = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="problems loading") as caught:
        load(state_dict)
    assert str(caught.value).split("\n  ") == [
        "3 problems loading weights of widehrnet_18:",
        "misshapen keypoint_head.final_layer.weight: (4, 8, 1, 1), expected (3, 8, 1, 1)",
        "missing backbone.stem.conv1.bn.bias",
        "unused backbone.head.weight",
    ]


def test_hrnets_first_and_last_keys_are_the_official_ones():
    names = models.FAMILIES["hrnet_w32"].TORCH_NAMES
    paths = {
        "stem.conv1.conv.kernel": "conv1.weight",
        "stem.blocks.0.shortcut.bn.var": "layer1.0.downsample.1.running_var",
        "stages.1.transition.new.conv.kernel": "transition2.2.0.0.weight",
        "stages.2.modules.1.fuse.paths.3.1.steps.1.bn.scale": "stage4.1.fuse_layers.3.1.1.1.weight",
        "stages.2.modules.1.blocks.2.branches.3.conv2.bn.bias": "stage4.1.branches.3.2.bn2.bias",
        "final.bias": "final_layer.bias",
    }
    for ours, theirs in paths.items():
        assert weights.torch_name(ours.split("."), names)[0] == theirs

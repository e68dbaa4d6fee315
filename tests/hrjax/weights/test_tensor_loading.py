"""Weights of files become our arrays."""

import re

import jax
import ml_dtypes
import numpy as np
import pytest
import recorded
from variants import EVERY

import hrjax
from hrjax import models
from hrjax.weights import file_formats, foreign_names, tensor_loading, torch_names
from tests.hrjax.weights.official import ones, zeros

TINY = {"width": 8, "modules": (1,), "blocks": 1, "stem_width": 8, "num_joints": 3}


@pytest.fixture
def state_dict():
    """Different numbers everywhere, under the names and in the shapes of the official code."""
    _, params, stats = models.shapes("widehrnet_18", **TINY)
    random = np.random.default_rng(0)
    state = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path({"0": params, "1": stats}):
        key, axes = torch_names.torch_name([entry.key for entry in path[1:]], table())
        shape = [leaf.shape[axes.index(axis)] for axis in range(len(axes))]
        state[key] = random.standard_normal(shape).astype(np.float32)
    return state


def table():
    return models.FAMILIES["widehrnet_18"].TORCH_NAMES


def start_from(name, state):
    """Weights of ones, with those of an official state dict of `name`."""
    return tensor_loading.start_from(name, ones(name), foreign_names.translate(state))


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
    lines = str(caught.value).splitlines()
    assert [line.strip() for line in lines[:-1]] == [
        "3 problems loading weights of widehrnet_18:",
        "keypoint_head.final_layer.weight is (4, 8, 1, 1), expected (3, 8, 1, 1)",
        "missing backbone.stem.conv1.bn.bias",
        "unused backbone.head.weight",
    ]


@pytest.mark.parametrize(
    "array",
    [
        np.full((3, 8, 1, 1), np.nan, np.float32),
        np.full((3, 8, 1, 1), np.inf, np.float64),
        np.full((3, 8, 1, 1), -np.inf, ml_dtypes.bfloat16),
        np.ones((3, 8, 1, 1), np.int64),
        np.ones((3, 8, 1, 1), np.complex64),
        np.ones((3, 8, 1, 1), bool),
        np.full((3, 8, 1, 1), "one"),
        np.ones((3, 8, 1, 1), "V2"),
        np.full((3, 8, 1, 1), None),
    ],
    ids=lambda array: f"{array.dtype}",
)
def test_only_finite_floating_point_numbers_are_weights(state_dict, array):
    state_dict["keypoint_head.final_layer.weight"] = array
    expected = rf"weight is {array.dtype}, not finite floating-point numbers"
    with pytest.raises(ValueError, match=expected.replace("|", r"\|")):
        load(state_dict)


def test_large_finite_numbers_are_weights(state_dict):
    for dtype, value in {np.float32: 3e38, np.float16: 6e4, ml_dtypes.bfloat16: 3e38}.items():
        state_dict["keypoint_head.final_layer.weight"] = np.full((3, 8, 1, 1), value, dtype)
        load(state_dict)


def test_a_long_list_of_problems_is_shortened(state_dict):
    state_dict |= {f"more{n}.{'x' * 200}": np.zeros(1) for n in range(5000)}
    with pytest.raises(ValueError, match=r"\n  … and 4970 more\n") as caught:
        load(state_dict)
    assert str(caught.value).startswith("5000 problems loading weights of widehrnet_18:\n")
    assert len(str(caught.value)) < 5000


def test_fields_of_which_no_network_can_be_built_are_one_message():
    with pytest.raises(ValueError, match=r"cannot build hrnet_tiny with modules=\(\): "):
        tensor_loading.shapes("hrnet_tiny", modules=())


@pytest.mark.parametrize("name", recorded.NAMES)
def test_there_and_back_is_the_identity(name):
    golden = recorded.load(name)
    state = recorded.state_dict(golden)
    _, params, stats = hrjax.from_torch(golden["model"], state, **recorded.options(golden))
    back = torch_names.to_torch(golden["model"], params, stats)
    counters = {key for key in back if key.endswith("num_batches_tracked")}
    assert {key.rpartition(".")[0] for key in counters} == {
        key.rpartition(".")[0] for key in state if key.endswith("running_var")
    }
    assert all(back.pop(key) == 0 for key in counters)
    derived = {key for key in back if key.endswith("relative_position_index")}
    assert back.keys() - derived == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)


@pytest.mark.parametrize("name", EVERY)
def test_every_variant_reads_what_it_writes(name):
    filled, notes = start_from(name, zeros(name))
    assert not notes
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(filled))


def test_a_network_trained_elsewhere_gives_its_heatmaps(shared):
    """PP-TinyPose on six crops of people; what its own runtime gave is stored beside it."""
    state = file_formats.read(shared / "weights" / "tinypose_256x192.npz")
    graph, params, stats = hrjax.from_torch("wider_naive_litehrnet_18", state)
    recording = np.load(shared / "weights" / "tinypose_256x192_io.npz")
    images = recording["x"].transpose(0, 2, 3, 1)
    heatmaps, _ = jax.jit(lambda *args: hrjax.apply(graph, *args))(params, stats, images)
    np.testing.assert_allclose(heatmaps, recording["y"].transpose(0, 2, 3, 1), atol=1e-5)


PADDLE = (
    (r"\.bn\.", ".norm."),
    ("running_mean", "_mean"),
    ("running_var", "_variance"),
    (r"^keypoint_head\.final_layer", "final_conv"),
)
MMPOSE = (("keypoint_head", "head"), (r"\.out_proj", ".proj"), (r"\.mlp\.", ".ffn."))


@pytest.mark.parametrize(
    ("name", "renames"),
    [
        ("litehrnet_18", PADDLE),
        ("wider_naive_litehrnet_18", PADDLE),
        ("hrformer_small", MMPOSE),
    ],
)
def test_other_programs_names_are_those_of_the_same_tensors(name, renames):
    official = {key: np.random.default_rng(0).random(x.shape) for key, x in zeros(name).items()}
    theirs = {}
    for key, x in official.items():
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        theirs[key] = x
    for key in [key for key in theirs if ".q_proj." in key]:
        parts = [theirs.pop(key.replace(".q_proj.", f".{q}_proj.")) for q in "qkv"]
        theirs[key.replace(".q_proj.", ".qkv.")] = np.concatenate(parts)
    assert theirs.keys() - official.keys()
    expected, read = hrjax.from_torch(name, official), hrjax.from_torch(name, theirs)
    jax.tree.map(np.testing.assert_array_equal, expected[1:], read[1:])


def test_a_resnet_starts_from_torchvisions():
    state = {key: x for key, x in zeros("pose_resnet_50").items() if key[0] not in "df"}
    state |= {"fc.weight": np.zeros((1000, 2048)), "fc.bias": np.zeros(1000)}
    filled, notes = start_from("pose_resnet_50", state)
    assert notes[0] == "the head starts fresh: these weights have no head for joints"
    assert notes[1].startswith("not in these weights: deconv_layers.1.bias, deconv_layers.1.")
    assert notes[2] == "not used: fc.weight, fc.bias"
    for key, _, _, leaf in torch_names.entries("pose_resnet_50", filled):
        assert bool(np.asarray(leaf).any()) == key.startswith(("deconv_layers", "final_layer"))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_parameters_are_float32_whatever_the_file_has(state_dict, dtype):
    _, params, _ = load({key: x.astype(dtype) for key, x in state_dict.items()})
    assert {x.dtype for x in jax.tree.leaves(params)} == {np.dtype(np.float32)}


def test_a_file_of_another_variant_is_recognized():
    state = zeros("widehrnet_30_se", num_joints=14)
    with pytest.raises(ValueError, match="problems loading weights of widehrnet_18:") as caught:
        hrjax.from_torch("widehrnet_18", state)
    message = str(caught.value)
    assert message.endswith("\nThese weights fit widehrnet_30_se with num_joints=14.")


def test_training_starts_from_a_classifier():
    state = zeros("hrnet_w32")
    del state["final_layer.weight"], state["final_layer.bias"]
    state |= {"final_layer.0.weight": np.ones(2048), "classifier.bias": np.ones(1000)}
    state["stage4.2.fuse_layers.1.0.0.0.weight"] = np.ones(3)  # classifiers read all branches
    filled, notes = start_from("hrnet_w32", state)
    assert notes == [
        "the head starts fresh: these weights have no head for joints",
        "not used: final_layer.0.weight, classifier.bias, stage4.2.fuse_layers.1.0.0.0.weight",
    ]
    assert filled["params"].pop("final")["kernel"].all()
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(filled))


def test_a_head_for_other_joints_is_left_out():
    state = zeros("hrnet_tiny", num_joints=16)
    filled, notes = start_from("hrnet_tiny", state)
    assert notes == ["the head starts fresh: 17 joints instead of 16"]
    assert filled["params"]["final"]["kernel"].all()


@pytest.mark.parametrize("other", ["hrnet_w48", "widehrnet_18"])
def test_training_does_not_start_from_another_network(other):
    with pytest.raises(ValueError, match=f"These weights fit {other} with num_joints=17"):
        start_from("hrnet_w32", zeros(other))


def test_weights_of_a_classifier_are_not_a_network():
    state = zeros("hrnet_tiny")
    del state["final_layer.weight"], state["final_layer.bias"]
    with pytest.raises(ValueError, match=r"have no head for joints; training can start from"):
        hrjax.from_torch("hrnet_tiny", state)

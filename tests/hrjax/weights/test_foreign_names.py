"""Files of other programs arrive under the official names."""

import numpy as np
import pytest
import recorded

from hrjax.weights import foreign_names


@pytest.fixture(scope="module")
def hrnet():
    """The official names of HRNet-W32 with another number for each."""
    tensors = recorded.load("hrnet_w32_coco_256x192")["tensors"]
    return {key: np.float32([n]) for n, (key, _) in enumerate(tensors)}


def layer(ours, theirs, *, conv="conv", norm="norm"):
    """Our names of a convolution and its batch norm → theirs, as Paddle calls them."""
    pairs = {f"{ours[0]}.weight": f"{theirs}.{conv}.weight"}
    for leaf, their_leaf in {
        "weight": "weight",
        "bias": "bias",
        "running_mean": "_mean",
        "running_var": "_variance",
    }.items():
        pairs[f"{ours[1]}.{leaf}"] = f"{theirs}.{norm}.{their_leaf}"
    return pairs


def both(module):
    return f"{module}.0", f"{module}.1"


def paddle_names():
    """Official names of HRNet → those of the HRNet that PaddlePaddle's keypoint tutorial has."""
    pairs = layer(("conv1", "bn1"), "conv_layer1_1") | layer(("conv2", "bn2"), "conv_layer1_2")
    for block in range(4):
        theirs = f"la1.block_layer2_{block + 1}"
        for n in (1, 2, 3):
            ours = f"layer1.{block}.conv{n}", f"layer1.{block}.bn{n}"
            pairs |= layer(ours, f"{theirs}.conv{n}")
    pairs |= layer(both("layer1.0.downsample"), "la1.block_layer2_1.conv_down")
    pairs |= layer(both("transition1.0"), "tr1.transition_tr1_layer_1")
    for n in (1, 2, 3):
        pairs |= layer(both(f"transition{n}.{n}.0"), f"tr{n}.transition_tr{n}_layer_{n + 1}")
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for m in range(modules):
            ours, at = f"stage{stage}.{m}", f"st{stage}_{m + 1}"
            theirs = f"st{stage}.stage_{at}"
            for b in range(stage):
                for n in range(4):
                    block = f"{theirs}.branches_func.bb_{at}_branch_layer_{b + 1}_{n + 1}"
                    for c in (1, 2):
                        inside = f"{ours}.branches.{b}.{n}"
                        pairs |= layer((f"{inside}.conv{c}", f"{inside}.bn{c}"), f"{block}.conv{c}")
            for i in range(1 if (stage, m) == (4, 2) else stage):
                for j in range(stage):
                    path = f"{ours}.fuse_layers.{i}.{j}"
                    unit = f"{theirs}.fuse_func.residual_{at}_layer_{i + 1}_{j + 1}"
                    if j > i:
                        pairs |= layer(both(path), unit)
                    for k in range(i - j):
                        pairs |= layer(both(f"{path}.{k}"), f"{unit}_{k + 1}")
    head = {f"final_layer.{leaf}": f"final_conv.{leaf}" for leaf in ("weight", "bias")}
    return pairs | head


def renamed(state, pairs, prefix=""):
    return {
        prefix * (not theirs.startswith("final_conv")) + theirs: state[ours]
        for ours, theirs in pairs.items()
    }


def assert_reads(state, expected):
    assert {name: array for name, (_, array) in foreign_names.translate(state).items()} == expected


@pytest.mark.parametrize(
    "rename",
    [
        lambda key: f"module.{key}",
        lambda key: f"_orig_mod.module.{key}",
        lambda key: ("keypoint_head." if "final" in key else "backbone.") + key,  # mmpose 0.x
        lambda key: ("head." if "final" in key else "backbone.") + key,  # mmpose 1.x
    ],
)
def test_prefixes_are_taken_off(hrnet, rename):
    assert_reads({rename(key): x for key, x in hrnet.items()}, hrnet)


def test_wrappers_are_opened_and_averages_preferred(hrnet):
    zeros = {key: np.zeros_like(x) for key, x in hrnet.items()}
    assert_reads({"epoch": 210, "model": "pose_hrnet", "state_dict": hrnet}, hrnet)
    assert_reads({"model": {"state_dict": hrnet}, "optimizer": {}}, hrnet)
    assert_reads({"state_dict": zeros, "state_dict_ema": hrnet}, hrnet)
    assert_reads({"model": zeros, "model_ema": hrnet}, hrnet)


def test_what_mmcv_averages_from_is_left_out(hrnet):
    before = {f"ema_{key.replace('.', '_')}": np.zeros_like(x) for key, x in hrnet.items()}
    assert_reads({"state_dict": hrnet | before}, hrnet)


def test_paddles_hrnet_is_read(hrnet):
    state = renamed(hrnet, paddle_names(), prefix="backbone.")
    assert "backbone.st3.stage_st3_2.fuse_func.residual_st3_2_layer_3_1_2.norm._mean" in state
    assert len(state) == len(hrnet)
    assert_reads(state | {"StructuredToParameterName@@": {"a": "b"}}, hrnet)


def test_paddles_classifier_is_read_under_its_own_names(hrnet):
    """PaddleClas has fewer names: exchange units are lists, in the order of their making."""
    theirs = {
        "conv_layer1_1._conv.weight": "conv1.weight",
        "layer1.0.conv_down._batch_norm._mean": "layer1.0.downsample.1.running_mean",
        "tr1_2._conv.weight": "transition1.1.0.0.weight",
        "tr3._batch_norm.bias": "transition3.3.0.1.bias",
        "st4.stage_func_list.1.basic_block_list.2.3.conv1._conv.weight": (
            "stage4.1.branches.2.3.conv1.weight"
        ),
        "st2.stage_func_list.0.fuse_func.residual_func_list.0._conv.weight": (
            "stage2.0.fuse_layers.0.1.0.weight"
        ),
        "st2.stage_func_list.0.fuse_func.residual_func_list.1._conv.weight": (
            "stage2.0.fuse_layers.1.0.0.0.weight"
        ),
        # The outputs before it have 3 and 3 convolutions; to the third, the first takes two.
        "st4.stage_func_list.0.fuse_func.residual_func_list.7._batch_norm._variance": (
            "stage4.0.fuse_layers.2.0.1.1.running_var"
        ),
        "st4.stage_func_list.0.fuse_func.residual_func_list.15._batch_norm.weight": (
            "stage4.0.fuse_layers.3.2.0.1.weight"
        ),
    }
    found = foreign_names.translate({key: np.zeros(1) for key in theirs})
    assert {key: name for name, (key, _) in found.items()} == theirs


def test_paddles_litehrnet_differs_in_the_names_of_norms():
    state = {
        "backbone.stem.conv1.norm._mean": "stem.conv1.bn.running_mean",
        "backbone.stage0.0.layers.0.cross_resolution_weighting.conv1.conv.weight": (
            "stage0.0.layers.0.cross_resolution_weighting.conv1.conv.weight"
        ),
        "backbone.stage0.0.fuse_layers.1.0.0.1._variance": (
            "stage0.0.fuse_layers.1.0.0.1.running_var"
        ),
        "backbone.head_layer.projects.0.pointwise_conv.norm.weight": (
            "head_layer.projects.0.pointwise_conv.bn.weight"
        ),
        "final_conv.bias": "final_layer.bias",
    }
    found = foreign_names.translate({key: np.zeros(1) for key in state})
    assert {key: name for name, (key, _) in found.items()} == state


def test_mmposes_hrformer_has_query_key_and_value_in_one():
    block = "backbone.stage2.0.branches.0.1."
    given = {
        f"{block}attn.attn.qkv.weight": np.arange(12.0).reshape(6, 2),
        f"{block}attn.attn.qkv.bias": np.arange(6.0),
        f"{block}attn.attn.proj.weight": np.ones((2, 2)),
        f"{block}attn.attn.relative_position_index": np.zeros((49, 49), int),
        f"{block}ffn.norm1.running_mean": np.ones(8),
        f"{block}norm1.weight": np.ones(2),
    }
    found = {name: array.tolist() for name, (_, array) in foreign_names.translate(given).items()}
    block = foreign_names.strip_prefixes(block)
    assert found.keys() == {
        *(f"{block}attn.attn.{q}_proj.{leaf}" for q in "qkv" for leaf in ("weight", "bias")),
        *(f"{block}{name}" for name in ("attn.attn.out_proj.weight", "norm1.weight")),
        f"{block}mlp.norm1.running_mean",
    }
    assert found[f"{block}attn.attn.k_proj.weight"] == [[4, 5], [6, 7]]
    assert found[f"{block}attn.attn.v_proj.bias"] == [4, 5]


def test_a_file_without_arrays_or_with_two_of_a_name_is_refused():
    with pytest.raises(ValueError, match="the file holds epoch, state"):
        foreign_names.translate({"epoch": 3, "state": "best"})
    with pytest.raises(ValueError, match=r"both backbone.conv1.weight and conv1.weight are conv1"):
        foreign_names.translate({"backbone.conv1.weight": np.ones(1), "conv1.weight": np.ones(1)})


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({0: ONE}, "arrays by name; the file holds 0$"),
        ({b"w": ONE, ("a",): ONE}, "arrays by name; the file holds bytes, tuple$"),
        ({f"x{n}": n for n in range(10_000)}, r"holds x0, .*, x7, … and 9992 more$"),
        ({"x" * 10_000: ONE}, r"the tensor x{100}… has a name of 10000 characters; expected at"),
        ({"\x1b[31mred\n": ONE}, r"the tensor \?\[31mred\? has a name .* all printable$"),
        ({"w\udcff": ONE}, r"the tensor w\? has a name"),
        (
            {"a.attn.qkv.weight": np.ones(4)},
            r"what the tensor a.attn.qkv.weight \(4,\) is$",
        ),
        ({"a.attn.qkv.weight": np.float32(1)}, r"the tensor a.attn.qkv.weight \(\) is$"),
        (
            {"conv_layer1_1.w": ONE, "stage2.0.fuse_func.residual_func_list.99": ONE},
            r"cannot tell what the tensor stage2.0.fuse_func.residual_func_list.99 \(1,\) is$",
        ),
        ({"w": ONE, "module.w": ONE}, "both w and module.w are w; leave one out$"),
    ],
)
def test_odd_dicts_are_one_short_message(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        foreign_names.translate(content)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).isprintable()

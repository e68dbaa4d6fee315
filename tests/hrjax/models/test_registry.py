import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import TINY

import hrjax
from hrjax import models

# num_joints and the number of parameters of the official networks (hrnet_tiny is our own).
PARAMETERS = {
    "hrnet_w32": (17, 28_536_113),
    "hrnet_w48": (17, 63_595_745),
    "hrnet_tiny": (17, 185_705),
    "pose_resnet_50": (17, 33_999_697),
    "pose_resnet_101": (17, 52_991_825),
    "pose_resnet_152": (17, 68_635_473),
    "litehrnet_18": (17, 1_130_769),
    "litehrnet_30": (17, 1_763_717),
    "naive_litehrnet_18": (17, 760_365),
    "wider_naive_litehrnet_18": (17, 1_318_625),
    "ditehrnet_18": (17, 1_186_933),
    "ditehrnet_30": (17, 1_862_549),
    "widehrnet_18": (16, 2_685_624),
    "widehrnet_18_se": (16, 4_398_328),
    "widehrnet_30": (16, 4_351_104),
    "widehrnet_30_se": (16, 7_194_336),
    "hrformer_small": (17, 7_746_779),
    "hrformer_base": (17, 43_211_777),
    "hrnext_small": (17, 9_479_249),
    "hrnext_base": (17, 31_726_913),
    # Of our inferred design; the paper has 7.8 M and 43.9 M.
    "efenet_small": (17, 7_836_475),
    "efenet_base": (17, 43_939_787),
}


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_every_variant_has_a_parameter_count():
    assert sorted(PARAMETERS) == sorted(models.VARIANTS)


@pytest.mark.parametrize("name", models.VARIANTS)
def test_variants_have_the_published_number_of_parameters(name):
    joints, expected = PARAMETERS[name]
    _, params, _ = models.shapes(name, num_joints=joints)
    assert count(params) == expected


@pytest.mark.parametrize(
    ("name", "joints", "expected"),
    [("hrnet_w32", 16, 28_536_080), ("widehrnet_18_se", 17, 4_398_369)],
)
def test_the_number_of_joints_changes_only_the_last_layer(name, joints, expected):
    assert count(models.shapes(name, num_joints=joints)[1]) == expected


QUICK = {*TINY} - {"ditehrnet_18", "hrnext_small"}  # those that take seconds to trace


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.long)
        for name in models.VARIANTS
    ],
)
def test_heatmaps_are_a_quarter_of_the_image_and_efenets_a_half(name):
    graph, params, stats = models.shapes(name)
    images = jax.ShapeDtypeStruct((2, 96, 64, 3), jnp.float32)
    heatmaps, _ = jax.eval_shape(lambda *args: hrjax.apply(graph, *args), params, stats, images)
    expected = (2, 48, 32, 17) if name.startswith("efenet") else (2, 24, 16, 17)
    assert heatmaps.shape == expected


@pytest.mark.parametrize("name", TINY)
def test_shapes_are_those_of_a_created_network(name):
    model = hrjax.create(name, **TINY[name])
    model.eval()
    graph, *arrays = hrjax.split(model)
    shapes_graph, *shapes = models.shapes(name, **TINY[name])
    assert shapes_graph == graph
    assert jax.tree.map(lambda x: (x.shape, x.dtype), arrays) == jax.tree.map(
        lambda x: (x.shape, x.dtype), shapes
    )


def test_seeds_decide_the_weights():
    first, again, other = (hrjax.split(hrjax.create("hrnet_tiny", seed))[1] for seed in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert (first["final"]["kernel"] != other["final"]["kernel"]).all()


@pytest.mark.parametrize(
    "name", ["widehrnet_18_se", "litehrnet_18", "ditehrnet_18", "pose_resnet_50"]
)
def test_networks_start_from_small_normal_convolutions(name):
    _, params, _ = hrjax.split(hrjax.create(name, num_joints=16))
    kernels = [x for path, x in jax.tree_util.tree_leaves_with_path(params) if x.ndim == 4]
    values = np.concatenate([np.ravel(kernel) for kernel in kernels])
    np.testing.assert_allclose(values.std(), 0.001, rtol=0.002)
    np.testing.assert_allclose(values.mean(), 0, atol=3e-6)
    # Kernels that are mixed start from Kaiming's uniform distribution.
    banks = [x * np.sqrt(np.prod(x.shape[1:4]) / 6) for x in jax.tree.leaves(params) if x.ndim == 5]
    assert len(banks) == (62 if name == "ditehrnet_18" else 0)
    assert all(abs(bank).max() <= 1 and bank.std() > 0.55 for bank in banks)
    ones = [x for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "scale"]
    zeros = [x for path, x in jax.tree_util.tree_leaves_with_path(params) if path[-1].key == "bias"]
    assert all((x == 1).all() for x in ones)
    assert all((x == 0).all() for x in zeros)


def test_unknown_model_lists_the_choices():
    known = r"'hrnet_w31'; did you mean hrnet_w32.*\? Choose one of: .*hrnet_tiny, "
    with pytest.raises(ValueError, match=known):
        hrjax.create("hrnet_w31")


@pytest.mark.parametrize(
    ("override", "shown"),
    [
        ({"widht": 32}, "widht=32"),
        ({"width": 32.0}, r"width=32\.0"),
        ({"width": True}, "width=True"),
        ({"modules": [1, 1]}, r"modules=\[1, 1\]"),
        ({"modules": (1, "1")}, r"modules=\(1, '1'\)"),
    ],
)
def test_unknown_or_ill_typed_overrides_list_the_fields(override, shown):
    with pytest.raises(
        ValueError,
        match=f"hrnet_w32 cannot take {shown}; its fields are num_joints: int, width: int, "
        r"modules: tuple\[int, \.\.\.\], blocks: int",
    ):
        hrjax.create("hrnet_w32", **override)


def test_models_are_listed_by_pattern():
    assert models.list_models() == sorted(models.VARIANTS)
    assert hrjax.list_models("hrnext*") == ["hrnext_base", "hrnext_small"]
    assert hrjax.list_models("resnet") == []

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hrjax
from hrjax import models

SMALL = {"width": 8, "modules": (1,), "blocks": 1}
# One network of each family; drop path, where there is any, draws from a key.
TINY = {
    "hrnet_w32": SMALL,
    "widehrnet_18_se": SMALL,
    "litehrnet_18": SMALL,
    "ditehrnet_18": SMALL,
    "pose_resnet_50": {"width": 8, "blocks": (1, 1), "deconvs": 1, "deconv_width": 8},
    "hrformer_small": {**SMALL, "drop_path": 0.0},
    "hrnext_small": {**SMALL, "drop_path": 0.0, "stem_blocks": 1},
    "efenet_small": {**SMALL, "drop_path": 0.0},
}
# num_joints and the number of parameters of the official networks (hrnet_tiny: ours alone).
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
    # Of our inferred design; the paper says 7.8 M and 43.9 M.
    "efenet_small": (17, 7_836_475),
    "efenet_base": (17, 43_939_787),
}


@pytest.fixture(scope="module", params=TINY)
def model(request):
    return hrjax.create(request.param, **TINY[request.param])


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
def test_joints_change_the_last_layer_alone(name, joints, expected):
    assert count(models.shapes(name, num_joints=joints)[1]) == expected


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in TINY else pytest.mark.long)
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


def test_split_returns_nested_dicts_with_string_keys(model):
    graph, params, stats = hrjax.split(model)
    hash(graph)
    for path, leaf in jax.tree_util.tree_leaves_with_path({"params": params, "stats": stats}):
        assert all(type(entry.key) is str for entry in path)
        assert isinstance(leaf, jax.Array)


def test_training_moves_the_statistics_and_evaluation_leaves_them(model):
    training, params, stats = hrjax.split(model)
    model.eval()
    evaluation, _, _ = hrjax.split(model)
    model.train()
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 32, 32, 3)), jnp.float32)
    moved = jax.jit(lambda *args: hrjax.apply(training, *args))(params, stats, images)[1]
    kept = jax.jit(lambda *args: hrjax.apply(evaluation, *args))(params, stats, images)[1]
    jax.tree.map(np.testing.assert_array_equal, kept, stats)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, stats)), strict=True))


def test_folded_batch_norm_changes_no_heatmap(model):
    _, params, stats = hrjax.split(model)
    model.eval()
    graph, _, _ = hrjax.split(model)
    model.train()
    random = np.random.default_rng(0)
    # Away from the start, where heatmaps are next to nothing and batch norm next to the identity.
    params = jax.tree.map(lambda x: np.float64(x) + 0.2 * random.standard_normal(x.shape), params)
    stats = jax.tree.map(lambda x: random.uniform(0.5, 1.5, x.shape), stats)
    images = random.standard_normal((1, 32, 32, 3))

    def heatmaps(graph, *arrays):
        return np.asarray(jax.jit(lambda *args: hrjax.apply(graph, *args)[0])(*arrays, images))

    with jax.enable_x64(True):
        before = heatmaps(graph, params, stats)
        folded = hrjax.fold_batch_norm(graph, params, stats)
        after = heatmaps(*folded)
    assert count(folded[2]) < count(stats) / 4
    np.testing.assert_allclose(after, before, atol=1e-9 * before.std())


def test_bfloat16_in_gives_bfloat16_out_and_float32_statistics(model):
    graph, params, stats = hrjax.split(model)
    images = jnp.zeros((2, 32, 32, 3), jnp.bfloat16)
    params = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    heatmaps, stats = jax.eval_shape(lambda *a: hrjax.apply(graph, *a), params, stats, images)
    assert heatmaps.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(stats)} == {jnp.dtype("float32")}


def scrambled(model):
    """The evaluation graph, params and stats, with batch norms that are far from the identity."""
    model.eval()
    graph, params, stats = hrjax.split(model)
    model.train()
    random = np.random.default_rng(0)

    def draw(path, x):
        if path[-1].key in ("scale", "var"):
            return jnp.asarray(random.uniform(0.5, 1.5, x.shape), jnp.float32)
        std = 0.1 if x.ndim == 1 else np.prod(x.shape[-4:-1]) ** -0.5
        return jnp.asarray(random.standard_normal(x.shape) * std, jnp.float32)

    return graph, *(jax.tree_util.tree_map_with_path(draw, tree) for tree in (params, stats))


@pytest.mark.parametrize("name", TINY)
def test_folding_leaves_only_batch_norms_that_follow_no_convolution(name):
    *_, left = models.fold_batch_norm(*scrambled(hrjax.create(name, **TINY[name])))
    # Dite-HRNet's global contexts end with one: one in each branch of the stem and of the block.
    # Two of HRNeXt's residuals start with one: in the stem's block and in those of two branches.
    expected = {"ditehrnet_18": 4, "hrnext_small": 6}.get(name, 0)
    assert len(jax.tree.leaves(left)) == 2 * expected


@pytest.mark.parametrize("name", TINY)
def test_features_are_the_branches_before_the_head(name):
    graph, params, stats = models.shapes(name, **TINY[name])
    images = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    found = jax.eval_shape(lambda *args: models.features(graph, *args), params, stats, images)
    scale = 4 if "resnet" in name else 1  # bottlenecks widen four times
    expected = [(2, 16, 8, 8 * scale), (2, 8, 4, 16 * scale)]
    # These read their largest branch alone.
    alone = name in ("hrnet_w32", "hrformer_small", "hrnext_small")
    assert [x.shape for x in found] == expected[: 1 if alone else 2]


def test_unknown_model_lists_the_choices():
    with pytest.raises(
        ValueError, match=r"unknown model 'hrnet_w31'; choose one of: .*hrnet_tiny, "
    ):
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


def test_normalize_subtracts_imagenets_mean_of_rgb():
    image = np.array([[[[0, 0, 0], [255, 255, 255], [124, 116, 104]]]], np.uint8)
    expected = [
        [-2.117904, -2.035714, -1.804444],
        [2.248908, 2.428571, 2.640000],
        [0.005566, -0.004902, 0.008192],
    ]
    normal = models.normalize(image)
    assert normal.dtype == jnp.float32
    np.testing.assert_allclose(normal[0, 0], expected, atol=2e-6)


def test_normalize_is_the_references(shared):
    recorded = np.load(shared / "reference" / "golden" / "warp_crops.npz")
    normal = models.normalize(recorded["normalize_in_u8_hwc"])
    theirs = recorded["normalize_out_chw"].transpose(1, 2, 0)
    np.testing.assert_allclose(normal, theirs, rtol=1e-6, atol=1e-6)


def test_normalize_turns_the_channels_round_but_not_the_mean():
    image = np.array([[[[1, 2, 3]]]], np.uint8)
    np.testing.assert_array_equal(
        models.normalize(image, "bgr"), models.normalize(image[..., ::-1])
    )
    with pytest.raises(ValueError, match="unknown color 'gray'; choose one of: rgb, bgr"):
        models.normalize(image, "gray")

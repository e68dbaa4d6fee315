import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_networks import DROPPING, TINY, scrambled

import hrjax
from hrjax import models


@pytest.fixture(scope="module", params=TINY)
def model(request):
    return hrjax.create(request.param, **TINY[request.param])


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


def test_split_returns_nested_dicts_with_string_keys(model):
    graph, params, stats = hrjax.split(model)
    hash(graph)
    for path, leaf in jax.tree_util.tree_leaves_with_path({"params": params, "stats": stats}):
        assert all(type(entry.key) is str for entry in path)
        assert isinstance(leaf, jax.Array)


def test_training_updates_the_statistics_and_evaluation_keeps_them(model):
    training, params, stats = hrjax.split(model)
    model.eval()
    evaluation, _, _ = hrjax.split(model)
    model.train()
    images = jnp.asarray(np.random.default_rng(0).standard_normal((2, 32, 32, 3)), jnp.float32)
    moved = jax.jit(lambda *args: hrjax.apply(training, *args))(params, stats, images)[1]
    kept = jax.jit(lambda *args: hrjax.apply(evaluation, *args))(params, stats, images)[1]
    jax.tree.map(np.testing.assert_array_equal, kept, stats)
    assert all((a != b).any() for a, b in zip(*map(jax.tree.leaves, (moved, stats)), strict=True))


def test_groups_for_batch_norm_are_batches_of_their_own(model):
    graph, params, stats = hrjax.split(model)
    images = jnp.asarray(np.random.default_rng(0).standard_normal((4, 32, 32, 3)), jnp.float32)

    def train(images, size=0):
        apply = jax.jit(lambda *args: hrjax.apply(graph, *args, batch_norm_size=size))
        return jax.tree.map(np.asarray, apply(params, stats, images))

    (first, before), (second, after) = train(images[:2]), train(images[2:])
    heatmaps, moved = train(images, size=2)
    expected = np.concatenate([first, second])
    np.testing.assert_allclose(heatmaps, expected, rtol=1e-4, atol=1e-4 * expected.std())
    for name, a, b in zip(*map(jax.tree.leaves, (moved, before, after)), strict=True):
        np.testing.assert_allclose(name, (a + b) / 2, rtol=1e-4, atol=1e-6)


def test_folded_batch_norm_changes_no_heatmap(model):
    _, params, stats = hrjax.split(model)
    model.eval()
    graph, _, _ = hrjax.split(model)
    model.train()
    random = np.random.default_rng(0)
    # Away from the initial values, where heatmaps and the effect of batch norm are tiny.
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


@pytest.mark.parametrize("name", TINY)
def test_folding_leaves_only_batch_norms_that_follow_no_convolution(name):
    *_, left = models.fold_batch_norm(*scrambled(hrjax.create(name, **TINY[name])))
    # Dite-HRNet's global contexts end with one: one in each branch of the stem and of the block.
    # Two of HRNeXt's residuals start with one: in the stem's block and in those of two branches.
    expected = {"ditehrnet_18": 4, "hrnext_small": 6}.get(name, 0)
    assert len(jax.tree.leaves(left)) == 2 * expected


# By how many arrays the params shrink where a network with stages of two and of three branches, the
# latter of two modules, is specialized for GPUs. Kernel and bias vanish of each layer that joins
# another: one in each module whose smallest branch is projected twice (HRNet, HRFormer and their
# like read only the largest branch of the last module, the others all), two of queries, keys and
# values in each of 8 attentions, and of Dite-HRNet's attention 3 layers in the block of two
# branches, and 8 in both of three, whose smallest has two dynamic convolutions. Each of WideHRNet's
# 8 blocks gets a second form of its first convolution. Each of HRNeXt's 9 blocks loses two scales;
# two branches of each module have dynamic convolutions, whose attention had 8 layers each and has
# 7, and a shift, for both; that of the stem's block has them alone.
JOINED = {
    "hrnet_w32": 2 * 1,
    "widehrnet_18_se": 2 * (2 - 8),
    "litehrnet_18": 2 * 2,
    "ditehrnet_18": 2 * (2 + 3 + 8 + 8),
    "pose_resnet_50": 0,
    "hrformer_small": 2 * (1 + 8 * 2),
    "hrnext_small": 2 * 1 + 9 * 2 + (2 * 8 - 15) + 3 * (2 * 2 * 8 - 15),
    "efenet_small": 2 * (1 + 8 * 2),
}


@pytest.mark.parametrize("name", TINY)
def test_a_specialized_network_computes_the_same_with_other_layers(name):
    branches = {"modules": (1, 2)} if "modules" in TINY[name] else {}
    network = scrambled(hrjax.create(name, **TINY[name] | branches))
    images = np.random.default_rng(0).standard_normal((2, 64, 32, 3))

    def heatmaps(graph, *arrays):
        return np.asarray(jax.jit(lambda *args: hrjax.apply(graph, *args)[0])(*arrays, images))

    with jax.enable_x64(True):
        network = (network[0], *jax.tree.map(np.float64, network[1:]))
        folded = models.specialize(*network)
        with hrjax.lowering_for("gpu"):
            specialized = models.specialize(*network)
            expected, found = heatmaps(*folded), heatmaps(*specialized)
            again, _, _ = models.specialize(*specialized)
        with hrjax.lowering_for("tpu"):
            for_tpus, _, _ = models.specialize(*network)
    assert folded[0] == models.fold_batch_norm(*network)[0]
    assert again == specialized[0]
    assert (for_tpus == again) == (name != "widehrnet_18_se")  # whose blocks GPUs alone change
    before, after = (len(jax.tree.leaves(params)) for _, params, _ in (folded, specialized))
    assert before - after == JOINED[name]
    np.testing.assert_allclose(found, expected, atol=1e-9 * expected.std())


# The second branch has 80 channels. Its strided paths read them once in each of 4 modules of three
# branches, three times in each of 2 of four, and once in a transition. Each of Lite-HRNet's 8 and 4
# blocks there squeezes half the channels of all branches, 140 and 300.
@pytest.mark.parametrize(("name", "count"), [("widehrnet_18", 11), ("litehrnet_18", 11 + 8 + 4)])
def test_kernels_of_few_pixels_read_whole_blocks_of_inputs_on_gpus(name, count):
    graph, *weights = models.shapes(name)

    def shapes(platform):
        with hrjax.lowering_for(platform):
            params = jax.eval_shape(lambda *args: models.specialize(graph, *args)[1], *weights)
        return {path: x.shape for path, x in jax.tree_util.tree_leaves_with_path(params)}

    before, after = shapes("tpu"), shapes("gpu")
    changed = {path: shape for path, shape in before.items() if after[path] != shape}
    assert len(changed) == count
    for path, (*size, inputs, outputs) in changed.items():
        assert after[path] == (*size, inputs + -inputs % 32, outputs)


@pytest.mark.parametrize("name", TINY)
def test_networks_that_round_are_only_folded(name):
    _, params, _ = rounding = models.quantize(*scrambled(hrjax.create(name, **TINY[name])))
    with hrjax.lowering_for("gpu"):
        _, specialized, _ = models.specialize(*rounding)
    jax.tree.map(np.testing.assert_array_equal, specialized, params)


@pytest.mark.parametrize("name", TINY)
def test_features_are_the_branches_before_the_head(name):
    graph, params, stats = models.shapes(name, **TINY[name])
    images = jax.ShapeDtypeStruct((2, 64, 32, 3), jnp.float32)
    branches = jax.eval_shape(lambda *args: models.features(graph, *args), params, stats, images)
    scale = 4 if "resnet" in name else 1  # bottlenecks widen four times
    expected = [(2, 16, 8, 8 * scale), (2, 8, 4, 16 * scale)]
    # These read only their largest branch.
    alone = name in ("hrnet_w32", "hrformer_small", "hrnext_small")
    assert [x.shape for x in branches] == expected[: 1 if alone else 2]


def test_a_graph_says_whether_it_trains():
    model = hrjax.create("hrnet_tiny", width=4, modules=(1,))
    training, params, stats = hrjax.split(model)
    model.eval()
    evaluating, _, _ = hrjax.split(model)
    assert (training.training, evaluating.training) == (True, False)
    assert repr(training) == "Graph(HighResolutionNet, training=True)"
    assert not hrjax.fold_batch_norm(training, params, stats)[0].training
    for mode in (False, True):
        assert models.shapes("hrnet_tiny", training=mode)[0].training == mode


def test_a_network_with_one_layer_in_training_mode_trains():
    model = hrjax.create("hrnet_tiny", width=4, modules=(1,))
    model.eval()
    model.stem.train()
    assert hrjax.split(model)[0].training


def test_graphs_are_static_arguments_of_jit():
    graph, params, stats = models.shapes("hrnet_tiny")
    again, *_ = models.shapes("hrnet_tiny")
    assert (graph, hash(graph)) == (again, hash(again))
    assert graph != models.shapes("hrnet_tiny", training=True)[0]
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    jitted = jax.jit(hrjax.apply, static_argnums=0)
    assert jax.eval_shape(jitted, graph, params, stats, images)[0].shape == (1, 8, 8, 17)


def test_features_of_a_training_graph_are_an_error():
    graph, params, stats = models.shapes("hrnet_tiny", training=True)
    with pytest.raises(ValueError, match=r"the graph is in training mode; call `model.eval\(\)` b"):
        hrjax.features(graph, params, stats, jnp.zeros((1, 32, 32, 3)))


def test_drop_path_in_a_training_graph_needs_a_key():
    network = models.shapes("hrformer_small", training=True, **DROPPING["hrformer_small"])
    images = jnp.zeros((1, 32, 32, 3))
    with pytest.raises(ValueError, match=r"give `apply` a key, or call `model\.eval\(\)`"):
        jax.eval_shape(lambda *arrays: hrjax.apply(network[0], *arrays, images), *network[1:])


def test_merge_inverts_split(model):
    graph, params, stats = hrjax.split(model)
    again, *arrays = hrjax.split(models.merge(graph, params, stats))
    assert again == graph
    jax.tree.map(np.testing.assert_array_equal, arrays, [params, stats])


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


def test_normalize_reverses_the_channels_but_not_the_mean():
    image = np.array([[[[1, 2, 3]]]], np.uint8)
    np.testing.assert_array_equal(
        models.normalize(image, "bgr"), models.normalize(image[..., ::-1])
    )
    with pytest.raises(ValueError, match="unknown color 'gray'; choose one of: rgb, bgr"):
        models.normalize(image, "gray")

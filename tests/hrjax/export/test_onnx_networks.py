"""Networks as ONNX programs compute what they compute in JAX, by onnxruntime."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
import recorded
import tiny_networks
from flax import nnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

import hrjax
from data_pipelines.skeletons import COCO
from hrjax import heatmaps as heatmaps_module
from hrjax import inference, models
from hrjax.export import onnx_model, running
from hrjax.export.programs import Plan
from hrjax.export.translation import translate, values, writing
from hrjax.export.translation.onnx_graph import Graph
from hrjax.models import layers
from hrjax.weights.model_card import ModelCard

CROPS = np.random.default_rng(1).integers(0, 256, (3, 64, 64, 3), np.uint8)


def lively(model):
    """Evaluating params and stats whose signals neither vanish nor explode."""
    rng = np.random.default_rng(0)

    def draw(x):
        scale = np.prod(x.shape[-4:-1]) ** -0.5 if x.ndim > 1 else 0.1
        return (rng.standard_normal(x.shape) * scale + (x.ndim == 1) * x).astype(np.float32)

    model.eval()
    graph, params, stats = hrjax.split(model)
    return graph, jax.tree.map(draw, params), stats


def card_of(name, size=(64, 64), **settings):
    values = {"decode": "dark", "flip_test": False, "encoding": "msra"} | settings
    return ModelCard(
        variant=name,
        fields={},
        input_size=size,
        color="rgb",
        skeleton=COCO,
        sigma=2.0,
        stride=4,
        joint_threshold=0.2,
        dataset="coco",
        metric="coco_ap",
        **values,
    )


def session(built):
    return onnxruntime.InferenceSession(built.SerializeToString())


def heatmaps(network, crops, platform="tpu"):
    """The heatmaps in JAX, by a program that compiles faster than the one for CPUs."""

    @jax.jit
    def forward(params, stats, images):
        with jax.default_matmul_precision("highest"), models.lowering_for(platform):
            return models.apply(network[0], params, stats, images)[0]

    return np.asarray(forward(*network[1:], models.normalize(crops)))


def program(function, weights, images, samples=0):
    """The ONNX program of `function(weights, images)` for so many images, 0 for any number."""
    graph = Graph(translate.BATCH, samples)
    shape = (translate.BATCH, *images.shape[1:])
    given = values.Value("images", shape, images.dtype, (0, 1, 2, 3), shape)
    results = translate.trace(graph, function, weights, [given])
    ranks = {"images": 4, **{name: len(value.shape) for name, value in results.items()}}
    axes = {name: "nhwcx"[:rank] for name, rank in ranks.items()}
    return writing.to_model(graph, {"images": (shape, images.dtype)}, results, axes)


@pytest.fixture(scope="module")
def maps():
    """Heatmaps (3, 24, 18, 17): peaks between cells and at borders, noise, and one that is flat."""
    rng = np.random.default_rng(2)
    joints = rng.uniform(-4, 100, (3, 17, 2)).astype(np.float32)
    maps, _ = heatmaps_module.encode(
        joints, np.ones((3, 17)), size=(24, 18), stride=4, sigma=2.0, encoding="dark"
    )
    maps = np.array(maps) + rng.normal(0, 0.01, maps.shape)
    maps[0, :, :, 3] = 0
    maps[1, :, :, 4] *= -1
    return maps.astype(np.float32)


def operations(built):
    """How often each operation occurs."""
    names = [node.op_type for node in built.graph.node]
    return {name: names.count(name) for name in names}


SOONER = ("litehrnet_18", "pose_resnet_50", "hrformer_small")  # to compile
EACH_FAMILY = [
    pytest.param(name, marks=() if name in SOONER else pytest.mark.long)
    for name in tiny_networks.TINY
]


@pytest.mark.parametrize("name", EACH_FAMILY)
def test_a_network_of_each_family_computes_the_same_for_any_number_of_crops(name):
    network = lively(hrjax.create(name, **tiny_networks.TINY[name]))
    built = onnx_model.build(Plan(network, card_of(name), returns_heatmaps=True))
    run, expected = session(built), heatmaps(network, CROPS)
    for count in (1, 3):
        (ours,) = run.run(["heatmaps"], {"crops": CROPS[:count]})
        assert np.abs(ours - expected[:count]).max() <= 2e-5 * expected.std()


def values_of(built, attribute):
    """An attribute of the program's operations, in their order, with those of loops inside."""
    graphs = [built.graph]
    graphs += [a.g for node in built.graph.node for a in node.attribute if a.name == "body"]
    nodes = [node for graph in graphs for node in graph.node]
    return [
        helper.get_attribute_value(a) for n in nodes for a in n.attribute if a.name == attribute
    ]


@pytest.mark.long
def test_kernels_per_sample_are_mixed_before_they_convolve():
    """In one convolution for a fixed number of crops, in one for each sample otherwise."""
    fields = {**tiny_networks.TINY["hrnext_small"], "width": 64, "stem_width": 64}
    network = lively(hrjax.create("hrnext_small", **fields))
    plans = [Plan(network, card_of("hrnext_small"), True, samples) for samples in (0, 3)]
    free, fixed = map(onnx_model.build, plans)
    assert 3 * 256 in values_of(fixed, "group")
    assert "Scan" not in operations(fixed)
    assert 256 in values_of(free, "group")
    assert "Scan" in operations(free)
    ours, theirs = (session(built).run(None, {"crops": CROPS})[0] for built in (fixed, free))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * theirs.std())


def in_onnxruntime(built, images):
    return session(built).run(None, {"images": images})


def of_images(function, channels=6, size=(4, 5), run=in_onnxruntime):
    """The operations of a function of images (n, h, w, c) that are stored channels first.

    For two images, they must give what the function gives in JAX.
    """
    images = np.random.default_rng(0).standard_normal((2, channels, *size)).astype(np.float32)

    def forward(_, images):
        return {"result": function(images.transpose(0, 2, 3, 1))}

    built = program(forward, {}, images)
    (ours,) = run(built, images)
    np.testing.assert_allclose(ours, forward({}, images)["result"], rtol=1e-5, atol=1e-5)
    return operations(built)


def test_channels_are_shuffled_without_operations_of_their_own():
    """The pictures one above the other are the channels in turns, once the shape says so."""
    done = of_images(lambda x: layers.shuffle(*jnp.split(x, 3, axis=-1)))
    assert done == {"Transpose": 1, "Split": 1, "Concat": 1, "Reshape": 1}


@pytest.mark.parametrize("size", [(4, 5), (1, 5), (1, 1)])
@pytest.mark.parametrize("axis", [1, 2, 3, 4])
def test_a_stack_may_be_along_any_axis(axis, size):
    of_images(lambda x: jnp.stack([x, 2 * x, x[:, :1, :, :1] + 0 * x], axis), size=size)


def test_columns_are_joined_as_they_are():
    done = of_images(lambda x: jnp.concatenate(jnp.split(x, 6, axis=-1)[::-1], axis=-1))
    assert done == {"Transpose": 1, "Split": 1, "Concat": 1}


def in_openvino(built, images):
    openvino = pytest.importorskip("openvino")
    core, options = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(built.SerializeToString()), "CPU", options)
    return [compiled({"images": images})["result"]]


@pytest.mark.parametrize("run", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize(("kernels", "stride"), [(2, 1), (3, 1), (3, 2)])
def test_many_kernels_are_mixed_for_each_sample(kernels, stride, run):
    options = {"stride": stride, "groups": 8, "kernels": kernels, "act": jax.nn.relu}
    conv = layers.DynamicConv(8, 8, 3, **options, rngs=nnx.Rngs(0))
    conv.eval()
    done = of_images(conv, 8, (6, 5), run)
    expected = {"Scan": 1} if kernels > 2 and stride == 1 else {"Conv": kernels}
    assert {name: n for name, n in done.items() if name in ("Scan", "Conv")} == expected


def test_what_is_left_of_an_image_is_multiplied_by_matrices():
    gate = layers.Sequential(
        layers.Conv(6, 4, bias=True, rngs=nnx.Rngs(0)),
        layers.Conv(4, 6, bias=True, rngs=nnx.Rngs(1)),
    )
    done = of_images(lambda x: x * gate(jnp.mean(x, (1, 2), keepdims=True)))
    assert done == {"Transpose": 1, "ReduceMean": 1, "Gemm": 2, "Reshape": 1, "Mul": 1}


def test_a_mean_weighted_by_a_softmax_is_one_product():
    done = of_images(lambda x: layers.softmax_mean(x, x[..., :1]))
    assert done["Softmax"] == done["MatMul"] == 1
    assert not {"Exp", "Div"} & {*done}


def test_what_is_added_to_itself_doubles_the_kernels():
    conv = layers.Conv(6, 4, bias=True, rngs=nnx.Rngs(0))

    def twice(x):
        x = conv(x)
        return x + x

    assert of_images(twice) == {"Transpose": 1, "Conv": 1}


def test_factors_in_a_row_are_one():
    def twice(x):
        return x + x

    assert of_images(lambda x: twice(3 * x)) == {"Transpose": 1, "Mul": 1}
    assert of_images(lambda x: 3 * twice(x)) == {"Transpose": 1, "Mul": 1}
    assert of_images(lambda x: twice(twice(x))) == {"Transpose": 1, "Mul": 1}


def test_an_array_may_be_reduced_to_a_number():
    of_images(lambda x: x + jnp.sum(jnp.max(x, 0)))


OFFICIAL = {
    # Dite-HRNet with random weights magnifies the rounding of float32.
    "ditehrnet_18_coco_256x192": 1e-2,
    "hrformer_small_coco_256x192_rpb": 5e-4,
    "hrnet_w32_coco_256x192": 5e-4,
    "hrnext_small_coco_256x192": 5e-4,
    "litehrnet_18_coco_256x192": 5e-4,
    "pose_resnet_50_coco_256x192": 5e-4,
    "widehrnet_18_se_mpii_256x256": 5e-4,
}


@pytest.mark.long
@pytest.mark.parametrize("name", OFFICIAL)
def test_programs_give_the_outputs_of_the_official_implementations(name):
    golden = recorded.load(name)
    graph, params, stats = hrjax.from_torch(
        golden["model"], recorded.state_dict(golden), **recorded.options(golden)
    )

    def forward(weights, images):
        return {"heatmaps": models.apply(graph, weights["params"], weights["stats"], images)[0]}

    images = recorded.images(golden)
    run = session(program(forward, {"params": params, "stats": stats}, images))
    (ours,) = run.run(None, {"images": images})
    theirs, std = golden["output_every_16"], golden["output_std"]
    error = np.abs(ours.transpose(0, 3, 1, 2)[:, :, ::16, ::16].ravel() - theirs).max() / std
    assert error <= OFFICIAL[name]


@pytest.mark.parametrize(
    ("name", "most"),
    [("litehrnet_18", 1100), pytest.param("hrnet_w32", 760, marks=pytest.mark.long)],
)
def test_programs_are_short_and_transpose_only_at_the_ends(name, most):
    graph, *shapes = models.shapes(name)
    params, stats = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
    card = card_of(name, (256, 192))
    nodes = onnx_model.build(Plan((graph, params, stats), card, returns_heatmaps=True)).graph.node
    assert len(nodes) <= most
    moves = [i for i, node in enumerate(nodes) if node.op_type == "Transpose"]
    assert moves == [0, len(nodes) - 1]


@pytest.mark.long
def test_in_float64_the_program_is_exact():
    """Dite-HRNet with random weights amplifies the rounding of float32; not that of float64."""
    name = "ditehrnet_18"
    with jax.enable_x64(True):
        graph, *arrays = lively(hrjax.create(name, **tiny_networks.TINY[name]))
        params, stats = jax.tree.map(lambda x: np.asarray(x, np.float64), arrays)
        images = np.random.default_rng(0).standard_normal((2, 64, 64, 3))

        def forward(weights, images):
            return {"heatmaps": models.apply(graph, weights["params"], weights["stats"], images)[0]}

        weights = {"params": params, "stats": stats}
        built = program(forward, weights, images)
        expected = np.asarray(jax.jit(forward)(weights, images)["heatmaps"])
    (ours,) = ReferenceEvaluator(built).run(None, {"images": images})
    assert np.abs(ours - expected).max() <= 2e-4 * expected.std()


@pytest.mark.parametrize("method", heatmaps_module.DECODERS)
def test_decoding_finds_the_same_keypoints(method, maps):
    card = card_of("hrnet_w32", decode=method, encoding="udp" if method == "udp" else "msra")

    def read(_, maps):
        cells, strides, scores = inference.read_cells(maps, 96, running.settings_of(card))
        return {"keypoints": cells * strides, "scores": scores}

    expected = jax.jit(lambda maps: read(None, maps))(maps)
    for built, count in ((program(read, {}, maps), 2), (program(read, {}, maps, samples=1), 1)):
        keypoints, scores = session(built).run(None, {"images": maps[:count]})
        np.testing.assert_allclose(keypoints, expected["keypoints"][:count], atol=1e-3)
        np.testing.assert_allclose(scores, expected["scores"][:count], rtol=1e-6)


def test_the_flip_test_averages_a_crop_and_its_mirror_image():
    name = "pose_resnet_50"
    network = lively(hrjax.create(name, **tiny_networks.TINY[name]))
    plain = onnx_model.build(Plan(network, card_of(name), returns_heatmaps=True))
    flipped = onnx_model.build(Plan(network, card_of(name, flip_test=True), returns_heatmaps=True))
    straight, mirrored = (
        session(plain).run(None, {"crops": crops})[0] for crops in (CROPS, CROPS[:, :, ::-1])
    )
    mirrored = mirrored[:, :, ::-1][..., COCO.flip_order]
    mirrored[:, :, 1:] = mirrored[:, :, :-1].copy()
    (ours,) = session(flipped).run(None, {"crops": CROPS})
    np.testing.assert_allclose(ours, (straight + mirrored) / 2, atol=1e-5 * straight.std())

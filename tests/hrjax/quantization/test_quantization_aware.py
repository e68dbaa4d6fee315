"""Networks with fake quantization are exported to integers that give the same results."""

import functools

import jax
import numpy as np
import onnxruntime
import pytest
import tiny_networks
from onnx import TensorProto, numpy_helper

import hrjax
from data_pipelines.skeletons import COCO
from hrjax import models
from hrjax.export import onnx_model
from hrjax.export.programs import Plan
from hrjax.weights.model_card import ModelCard

CROPS = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
SCALES = (3.0, 6.0)  # of activations, some above and some below alpha
ALPHA = 4.0


def plan(name):
    """A network with fake quantization whose signals neither vanish nor explode."""
    model = hrjax.create(name, **tiny_networks.TINY[name])
    model.eval()
    rng = np.random.default_rng(1)
    graph, params, stats = models.quantize(*models.split(model), alpha=ALPHA)

    def draw(x):
        if x.ndim == 0:
            return x
        scale = np.prod(x.shape[:-1]) ** -0.5 if x.ndim > 1 else 0.1
        return (rng.standard_normal(x.shape) * scale).astype(np.float32)

    def scale(path, x):
        return np.float32(rng.uniform(*SCALES)) if path[-1].key == "total" else x

    params, stats = jax.tree.map(draw, params), jax.tree_util.tree_map_with_path(scale, stats)
    card = ModelCard(
        variant=name,
        fields={},
        input_size=(64, 64),
        color="rgb",
        skeleton=COCO,
        encoding="msra",
        sigma=2.0,
        stride=4,
        decode="quarter",
        flip_test=False,
        joint_threshold=0.2,
        dataset="coco",
        metric="coco_ap",
    )
    return Plan((graph, params, stats), card, returns_heatmaps=True)


def in_jax(plan):
    graph, params, stats = plan.network

    @jax.jit
    def forward(params, stats, images):
        with jax.default_matmul_precision("highest"), models.lowering_for("tpu"):
            return models.apply(graph, params, stats, images)[0]

    return np.asarray(forward(params, stats, models.normalize(CROPS)))


@pytest.mark.parametrize(
    "name",
    [
        "pose_resnet_50",
        pytest.param("litehrnet_18", marks=pytest.mark.long),
        pytest.param("hrformer_small", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize(
    ("optimized", "precise"),
    [("ORT_DISABLE_ALL", "0"), ("ORT_ENABLE_ALL", "0"), ("ORT_ENABLE_ALL", "1")],
)
def test_the_program_computes_what_the_network_computes(network_of, name, optimized, precise):
    planned, built, expected = network_of(name)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, optimized)
    # As hrjax opens sessions, which matters on x86 without VNNI: kernels are made unsigned there.
    options.add_session_config_entry("session.x64quantprecision", precise)
    session = onnxruntime.InferenceSession(built.SerializeToString(), options)
    (ours,) = session.run(None, {"crops": CROPS})
    # A value near a tie may be rounded to the other side, one step away.
    step = max(SCALES) / 127 * np.abs(planned.network[1]["final"]["kernel"]).max()
    assert np.abs(ours - expected).max() <= step
    assert np.mean(np.abs(ours - expected) > 1e-4 * expected.std()) <= 0.01


@pytest.fixture(scope="module")
def network_of():
    """A function from a name to the plan, the program, and what the network gives."""

    @functools.cache
    def make(name):
        planned = plan(name)
        return planned, onnx_model.build(planned), in_jax(planned)

    return make


def test_weights_and_biases_are_integers_inside_of_convolutions(network_of):
    _, built, _ = network_of("pose_resnet_50")
    made = {name: node for node in built.graph.node for name in node.output}
    kinds = {x.name: x.data_type for x in built.graph.initializer}
    for node in built.graph.node:
        if node.op_type != "Conv":
            continue
        crops, weights, bias = (made[name] for name in node.input)
        assert {crops.op_type, weights.op_type, bias.op_type} == {"DequantizeLinear"}
        assert kinds[weights.input[0]] == TensorProto.INT8
        assert kinds[bias.input[0]] == TensorProto.INT32
        step = constant(built, crops.input[1]) * constant(built, weights.input[1])
        np.testing.assert_array_equal(constant(built, bias.input[1]), step.astype(np.float32))


def test_activations_are_clipped_where_alpha_is_below_the_scale_or_where_they_can_be_negative(
    network_of,
):
    _, built, _ = network_of("pose_resnet_50")
    made = {name: node for node in built.graph.node for name in node.output}
    for node in built.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        before = made[node.input[0]]
        clipped = before.op_type == "Clip"
        step = constant(built, node.input[1])
        assert clipped == (127 * step > ALPHA or before.op_type not in ("Relu", "MaxPool"))
        if clipped:
            assert constant(built, before.input[2]) == pytest.approx(min(ALPHA, 127 * step))
    assert 0 < sum(node.op_type == "Clip" for node in built.graph.node) < 10


def constant(built, name):
    (found,) = [x for x in built.graph.initializer if x.name == name]
    return numpy_helper.to_array(found)

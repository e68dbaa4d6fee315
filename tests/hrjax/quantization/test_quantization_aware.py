"""Networks with fake quantization are exported to integers that give the same results."""

import jax
import numpy as np
import onnxruntime
import pytest
import tiny_networks

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
    ("name", "share"),
    # A step in one layer, of a value near a tie, reaches the pixels around it in the heatmaps. With
    # attention and global layers it reaches all of them.
    [("pose_resnet_50", 0.1), pytest.param("hrformer_small", 1.0, marks=pytest.mark.long)],
)
def test_the_program_computes_what_the_network_computes(name, share):
    planned = plan(name)
    built = onnx_model.build(planned)
    (ours,) = onnxruntime.InferenceSession(built.SerializeToString()).run(None, {"crops": CROPS})
    expected = in_jax(planned)
    # Rounding to the other side in a tie: a step of what the last layer reads, in two channels.
    step = max(SCALES) / 127 * np.abs(planned.network[1]["final"]["kernel"]).max()
    assert np.abs(ours - expected).max() <= 2 * step
    assert np.mean(np.abs(ours - expected) > 1e-4 * expected.std()) <= share


def test_weights_are_integers_and_biases_are_inside_of_convolutions():
    built = onnx_model.build(plan("pose_resnet_50"))
    nodes = [node for node in built.graph.node if node.op_type == "Conv"]
    made = {name: node.op_type for node in built.graph.node for name in node.output}
    assert {made[node.input[1]] for node in nodes} == {"DequantizeLinear"}
    assert {made[node.input[0]] for node in nodes} == {"DequantizeLinear"}
    assert {len(node.input) for node in nodes} == {3}
    kernels = {x.name: x.data_type for x in built.graph.initializer if x.name.endswith(".kernel")}
    assert set(kernels.values()) == {3}  # INT8


def test_activations_are_clipped_only_where_alpha_is_below_the_scale():
    planned = plan("pose_resnet_50")
    built = onnx_model.build(planned)
    totals = [
        float(x)
        for path, x in jax.tree_util.tree_leaves_with_path(planned.network[2])
        if path[-1].key == "total"
    ]
    clips = [node for node in built.graph.node if node.op_type == "Clip"]
    # Layers that read the same tensor share what clips it.
    assert 0 < len(clips) <= sum(total > ALPHA for total in totals) < len(totals)

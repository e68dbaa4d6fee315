"""Post-training quantization of exported networks."""

import dataclasses
import json
import pathlib
import tempfile

import numpy as np
import onnx
import pytest
import tiny_networks
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import calibrate

import hrjax
from data_pipelines.skeletons import COCO
from hrjax import models
from hrjax.export import onnx_model
from hrjax.export.programs import Plan
from hrjax.quantization import calibration, post_training, program, switches
from hrjax.weights import onnx_programs
from hrjax.weights.model_card import ModelCard

RNG = np.random.default_rng(0)
CROPS = RNG.integers(0, 256, (8, 64, 64, 3), np.uint8)
CARD = ModelCard(
    variant="pose_resnet_50",
    fields={},
    input_size=(64, 64),
    color="rgb",
    skeleton=COCO,
    encoding="msra",
    sigma=2.0,
    stride=4,
    decode="quarter",
    flip_test=True,
    joint_threshold=0.2,
    dataset="coco",
    metric="coco_ap",
)


@pytest.fixture(scope="module")
def plan():
    model = hrjax.create("pose_resnet_50", **tiny_networks.TINY["pose_resnet_50"])
    model.eval()
    graph, params, stats = models.split(model)
    rng = np.random.default_rng(1)
    params = {**params}
    params = _drawn(params, rng)
    return Plan((graph, params, stats), CARD)


def _drawn(tree, rng):
    """Weights whose signals neither vanish nor explode."""
    if isinstance(tree, dict):
        return {key: _drawn(value, rng) for key, value in tree.items()}
    scale = np.prod(tree.shape[:-1]) ** -0.5 if tree.ndim > 1 else 0.1
    return (rng.standard_normal(tree.shape) * scale + (tree.ndim == 1)).astype(np.float32)


@pytest.fixture(scope="module")
def heatmaps(plan):
    """The program without decoding and flip test."""
    card = dataclasses.replace(CARD, flip_test=False)
    return onnx_model.build(dataclasses.replace(plan, card=card, returns_heatmaps=True))


@pytest.fixture(scope="module")
def ranges(heatmaps):
    return calibration.Histograms(heatmaps, CROPS[:2]).ranges(100.0)


def run(model, crops=CROPS):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.onnx")
        file.write_bytes(model.SerializeToString())
        return onnx_programs.open_session(file).run(None, {"crops": crops})


def test_weights_have_127_steps_to_the_largest_of_each_output_channel():
    weights = np.array([[127.0, 1.4, -2.6], [0.0, 0.0, 0.0]], np.float32).reshape(2, 3, 1, 1)
    rounded = program.rounded_weights(weights, "Conv").reshape(2, 3)
    np.testing.assert_array_equal(rounded, [[127, 1, -3], [0, 0, 0]])
    columns = program.rounded_weights(weights.reshape(2, 3).T, "MatMul")
    np.testing.assert_array_equal(columns, rounded.T)


@pytest.mark.parametrize(
    ("low", "high", "step", "zero"),
    [
        (0, 255, 1, -128),
        (-128, 127, 1, 0),
        (3, 51, 0.2, -128),
        (-51, -3, 0.2, 127),
        (0, 0, 1, -128),
    ],
)
def test_steps_and_zero_of_a_range_that_holds_zero(low, high, step, zero):
    assert switches.scale_and_zero(low, high) == (np.float32(step), zero)


def test_ranges_leave_out_equal_shares_at_both_ends():
    values = np.linspace(-1, 3, 4000, dtype=np.float32).reshape(1, 1, 1, -1)
    kernel = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "kernel")
    shape = [1, 1, 1, 4000]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"], name="conv")],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [kernel],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    histograms = calibration.Histograms(model, values)
    bin_width = 6 / calibration.BINS  # the ranges are exact to one
    assert calibration.bounds(histograms.ranges(90.0), "y") == pytest.approx(
        (-0.8, 2.8), abs=2 * bin_width
    )
    assert calibration.bounds(histograms.ranges(100.0), "y") == pytest.approx(
        (-1, 3), abs=bin_width
    )


def test_switched_off_is_float32_and_switched_on_is_the_quantized_program(heatmaps, ranges):
    tried = switches.Switches(heatmaps, CROPS)
    assert tried.error((), ranges) == 0
    (exact,) = run(heatmaps)
    for rounded in (tried.layers, tried.layers[::2], tried.layers[-1:]):
        kept = [layer.name for layer in tried.layers if layer not in rounded]
        (ours,) = run(post_training.apply(heatmaps, ranges, kept))
        error = tried.error(rounded, ranges)
        # Rounding of equal values to the other side, where ONNX Runtime computes with integers.
        assert switches.relative_error(ours, exact) == pytest.approx(error, rel=0.1)


def test_layers_in_float32_read_activations_before_they_are_rounded(heatmaps, ranges):
    # Otherwise ONNX Runtime rounds their weights, all channels together.
    names = [layer.name for layer in program.layers(heatmaps)]
    quantized = post_training.apply(heatmaps, ranges, names[1::2])
    made = {name: node.op_type for node in quantized.graph.node for name in node.output}
    read = {node.name: made.get(node.input[0]) for node in quantized.graph.node if node.input}
    assert {read[name] for name in names[::2]} == {"DequantizeLinear"}
    assert "DequantizeLinear" not in {read[name] for name in names[1::2]}
    others = [node for node in quantized.graph.node if node.op_type in ("Add", "Relu", "MaxPool")]
    assert others
    assert not any(made.get(x) == "DequantizeLinear" for node in others for x in node.input)


def test_all_layers_kept_is_the_same_program(heatmaps, ranges):
    names = [layer.name for layer in program.layers(heatmaps)]
    same = post_training.apply(heatmaps, ranges, names)
    assert {node.op_type for node in same.graph.node} == {
        node.op_type for node in heatmaps.graph.node
    }


def test_layers_end_where_decoding_begins(plan, heatmaps):
    names = [layer.name for layer in program.layers(heatmaps)]
    assert names[-1] == "final"
    assert len(names) == len(set(names)) == 11
    dark = dataclasses.replace(plan, card=dataclasses.replace(CARD, decode="dark"))
    assert [layer.name for layer in program.layers(onnx_model.build(dark))] == names


def test_the_layer_that_hurts_most_stays_in_float32(heatmaps, monkeypatch):
    layers = program.layers(heatmaps)
    ranges = {100.0: None}

    class Told:
        """Errors that are worked out by hand: the head costs 0.5, every other layer 0.01."""

        def __init__(self, model, crops):
            self.layers = layers

        def error(self, rounded, _):
            return sum(0.5 if layer.name == "final" else 0.01 for layer in rounded)

    monkeypatch.setattr(post_training, "Switches", Told)
    monkeypatch.setattr(post_training, "COUNTS", (0, 1))
    choice = post_training.search(heatmaps, CROPS, ranges)
    assert choice.kept == ("final",)
    assert choice.error == pytest.approx(0.1)
    assert [row[:2] for row in choice.tried] == [(100.0, 0), (100.0, 1)]


def test_layers_too_large_to_keep_are_passed_over():
    def layer(name, size):
        return program.Layer(name, "Conv", name, size, "x")

    order = [layer("large", 11), layer("small", 6), layer("second", 5), layer("rest", 78)]
    assert [x.name for x in post_training._kept(order, 3)] == ["small"]
    assert post_training._kept(order, 0) == []


def test_a_quantized_file_predicts_and_says_how_it_was_made(plan, heatmaps):
    model = onnx_model.build(plan)
    onnx_model.describe(model, plan, "CC0")
    quantized, choice = post_training.quantize(model, heatmaps, CROPS)
    again, _ = post_training.quantize(model, heatmaps, CROPS)
    assert quantized.SerializeToString() == again.SerializeToString()
    told = {entry.key: entry.value for entry in quantized.metadata_props}
    assert told["license"] == "CC0"
    assert json.loads(told["quantization"])["percentile"] == choice.percentile
    assert len(choice.tried) == len(post_training.PERCENTILES) * 3
    weights = {x.data_type for x in quantized.graph.initializer}
    assert onnx.TensorProto.INT8 in weights
    keypoints, scores = run(quantized)
    assert keypoints.shape == (8, 17, 2)
    np.testing.assert_allclose(scores, run(model)[1], atol=0.3)


def test_what_cannot_be_quantized(heatmaps, ranges):
    with pytest.raises(ValueError, match="7 training crops to quantize with; give 8 or more"):
        post_training.quantize(heatmaps, heatmaps, CROPS[:7])
    with pytest.raises(ValueError, match="in eight bits already"):
        program.layers(post_training.apply(heatmaps, ranges, ()))
    empty = onnx.ModelProto()
    with pytest.raises(ValueError, match="no layers with weights in float32"):
        program.layers(empty)
    assert isinstance(ranges, calibrate.TensorsData)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"half": True}, "half and int8_crops exclude each other"),
        ({"int8_crops": CROPS[:, :32]}, r"int8_crops is uint8 \(8, 32, 64, 3\); expected uint8 \("),
        ({"int8_crops": CROPS / 255}, r"int8_crops is float64 .*; expected uint8 \('n', "),
    ],
)
def test_crops_that_cannot_be(portable, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        hrjax.export_onnx(portable.weights, tmp_path / "x.onnx", **{"int8_crops": CROPS, **options})

"""ONNX files that cannot be used, hostile ones among them, give one message."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import hrjax
from hrjax.weights import onnx_programs, source


@pytest.fixture
def changed(portable, tmp_path):
    """Writes the exported file with a change, and returns where it is."""

    def change(edit):
        model = onnx.load(portable.onnx)
        edit(model)
        file = tmp_path / "changed.onnx"
        file.write_bytes(model.SerializeToString())
        return file

    return change


def with_card(**fields):
    def edit(model):
        (entry,) = [entry for entry in model.metadata_props if entry.key == "model.json"]
        entry.value = json.dumps(json.loads(entry.value) | fields)

    return edit


def with_text(text):
    def edit(model):
        (entry,) = [entry for entry in model.metadata_props if entry.key == "model.json"]
        entry.value = text

    return edit


def refusal(file):
    with pytest.raises(ValueError, match=r"\.onnx") as caught:
        hrjax.Predictor(file)
    return str(caught.value)


def test_a_file_that_is_not_onnx(tmp_path):
    file = tmp_path / "text.onnx"
    file.write_text("not a network")
    assert "is cut short, damaged or not an ONNX file" in refusal(file)
    file.write_bytes(b"")
    assert "(0 bytes) is cut short, damaged or not an ONNX file" in refusal(file)


def test_a_file_that_was_cut_short(portable, tmp_path):
    contents = portable.onnx.read_bytes()
    file = tmp_path / "short.onnx"
    for length in (10, len(contents) // 2, len(contents) - 7):
        file.write_bytes(contents[:length])
        assert "short.onnx" in refusal(file)


def test_a_network_that_hrjax_did_not_export(changed):
    message = refusal(changed(lambda model: model.ClearField("metadata_props")))
    assert "has no model.json in its metadata" in message


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (with_text("{"), "is not a usable model card"),
        (with_text("[" * 100_000), "is not a usable model card"),
        (with_text("x" * 2**21), "expected at most 1048576"),
        (with_card(stride=-4), "stride is -4, expected 4"),
        (with_card(input_size=[10**9, 10**9]), "expected two positive numbers up to 4096"),
        (with_card(decode="__import__('os')"), "decode is"),
        (with_card(input_size=[64, 32]), "crops is tensor(uint8) ['batch', 32, 32, 3], expected"),
        (with_card(format_version=99), "format_version is 99"),
    ],
)
def test_hostile_metadata(changed, edit, message):
    assert message in refusal(changed(edit))


def test_outputs_that_do_not_fit_the_card(changed):
    def rename(model):
        model.graph.output[1].name = model.graph.node[-1].output[0] = "other"
        for node in model.graph.node:
            node.output[:] = ["other" if name == "scores" else name for name in node.output]

    assert "it has keypoints, other, expected keypoints, scores" in refusal(changed(rename))


def test_a_program_that_returns_another_shape_than_it_says(portable, tmp_path):
    (text,) = [e.value for e in onnx.load(portable.onnx).metadata_props if e.key == "model.json"]
    # The number of joints depends on a value of the crops, so that nothing tells it in advance.
    constants = [
        helper.make_tensor("sizes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
    ]
    nodes = [
        helper.make_node("Cast", ["crops"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["crops"], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "sizes"], ["shape"], axis=0),
        helper.make_node("ConstantOfShape", ["shape"], ["scores"]),
        helper.make_node("Unsqueeze", ["scores", "axes"], ["keypoints"]),
    ]
    graph = helper.make_graph(
        nodes,
        "liar",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["n", 32, 32, 3])],
        [
            helper.make_tensor_value_info("keypoints", TensorProto.FLOAT, ["n", 16, 2]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 16]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model.metadata_props.add(key="model.json", value=text)
    file = tmp_path / "liar.onnx"
    file.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"liar.onnx"):
        onnx_programs.open_program(file).run(np.zeros((2, 32, 32, 3), np.uint8))


def test_weights_in_other_files_are_refused(changed, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(10**6))

    def refer(model):
        tensor = next(x for x in model.graph.initializer if x.data_type == TensorProto.FLOAT)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=str(secret))

    assert "changed.onnx" in refusal(changed(refer))


def test_an_exported_network_has_no_weights_to_start_from(portable):
    opened = source.open(portable.onnx)
    assert (opened.variant, opened.num_joints) == ("pose_resnet_50", 16)
    with pytest.raises(ValueError, match="has no weights to train, convert or export"):
        hrjax.load(opened)
    with pytest.raises(ValueError, match="has no weights to train, convert or export"):
        hrjax.create("pose_resnet_50", weights=opened, **portable.card.fields)


def test_without_onnxruntime_the_extra_is_named(portable, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"pip install 'hrjax\[export\]'"):
        source.open(portable.onnx)

"""A detector of bright cells that looks like YOLOX's export, and other kinds of outputs."""

import sys

import numpy as np
import pytest

from hrjax.prediction import person_detector

SIZE = (64, 64)
CELLS = 8 * 8 + 4 * 4 + 2 * 2


def save_model(path, shape=(1, 3, *SIZE)):
    """Saves a network that detects a person, 8 wide and 16 high, in each bright cell."""
    onnx = pytest.importorskip("onnx")
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    rest = np.zeros((1, CELLS - 64, 1), np.float32)
    place = np.tile(np.float32([0.5, 0.5, 0, np.log(2)]), (1, CELLS, 1))
    constants = {
        "rows": np.array([1, -1, 1], np.int64),
        "white": np.array(255, np.float32),
        "rest": rest,
        "place": place,
        "person": np.ones((1, CELLS, 1), np.float32),
        "car": np.zeros((1, CELLS, 1), np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["gray"], axes=[1], keepdims=1),
        helper.make_node("MaxPool", ["gray"], ["pooled"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["pooled", "rows"], ["column"]),
        helper.make_node("Div", ["column", "white"], ["bright"]),
        helper.make_node("Concat", ["bright", "rest"], ["objectness"], axis=1),
        helper.make_node("Concat", ["place", "objectness", "person", "car"], ["out"], axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "cells",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, (1, CELLS, 7))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return str(path)


@pytest.fixture
def model(tmp_path):
    pytest.importorskip("onnxruntime")
    return save_model(tmp_path / "cells.onnx")


def test_boxes_are_in_pixels_of_the_image(model):
    image = np.zeros((64, 128, 3), np.uint8)  # halved, with gray padding below
    image[16:32, 96:112] = 255
    boxes, scores = person_detector.Detector(model, threshold=0.6)(image)
    # Cell (6, 1) of stride 8: center (52, 12), size 8x16; times two.
    np.testing.assert_allclose(boxes, [(96, 8, 16, 32)])
    np.testing.assert_allclose(scores, [1], atol=0.01)


def test_of_overlapping_boxes_the_best_is_kept(model):
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:16, 8:16], image[16:24, 8:16] = 255, 230  # their boxes share half of each
    assert len(person_detector.Detector(model, threshold=0.6, overlap=0.2)(image)[0]) == 1
    assert len(person_detector.Detector(model, threshold=0.6, overlap=0.5)(image)[0]) == 2


def test_a_black_image_has_no_people(model):
    boxes, scores = person_detector.Detector(model, threshold=0.6)(np.zeros((64, 64, 3), np.uint8))
    assert boxes.shape == (0, 4)
    assert scores.shape == (0,)


def test_the_network_takes_bgr_with_gray_padding(model, monkeypatch):
    detector = person_detector.Detector(model, threshold=0.6)
    seen = []
    stop = lambda canvas, *_: seen.append(canvas) or 1 / 0  # noqa: E731
    monkeypatch.setattr(person_detector, "_network_input", stop)
    with pytest.raises(ZeroDivisionError):
        detector(np.full((32, 64, 3), (10, 20, 30), np.uint8))
    np.testing.assert_array_equal(seen[0][0, 0], (30, 20, 10))
    np.testing.assert_array_equal(seen[0][40, 0], (114, 114, 114))


def test_raw_outputs_are_offsets_and_logarithms():
    rows = np.zeros((1, CELLS, 6))
    rows[0, 9] = (0.25, 0.5, np.log(2), np.log(3), 0.8, 0.5)  # stride 8, cell (1, 1)
    rows[0, 64 + 7] = (0, 0, 0, 0, 1, 0.9)  # stride 16, cell (3, 1)
    corners, scores = person_detector.decode([rows], SIZE)
    np.testing.assert_allclose(corners[9], (10 - 8, 12 - 12, 10 + 8, 12 + 12), atol=1e-12)
    np.testing.assert_allclose(corners[71], (48 - 8, 16 - 8, 48 + 8, 16 + 8))
    np.testing.assert_allclose(scores[[9, 71, 0]], (0.4, 0.9, 0))


def test_larger_networks_have_a_fourth_stride():
    rows = np.zeros((1, CELLS + 1, 85))
    rows[0, -1, 4:6] = 1
    corners, scores = person_detector.decode([rows], SIZE)
    np.testing.assert_allclose(corners[-1], (-32, -32, 32, 32))
    assert scores[-1] == 1


def test_outputs_after_nms_are_used_as_they_are():
    rows = np.array([[[1, 2, 3, 4, 0.9], [5, 6, 7, 8, 0.8]]])
    corners, scores = person_detector.decode([rows], SIZE)
    np.testing.assert_array_equal(corners, rows[0, :, :4])
    np.testing.assert_array_equal(scores, (0.9, 0.8))
    _, scores = person_detector.decode([rows, np.array([[2, 0]])], SIZE)  # labels
    np.testing.assert_array_equal(scores, (0, 0.8))
    _, scores = person_detector.decode([np.concatenate([rows, [[[0], [5]]]], axis=2)], SIZE)
    np.testing.assert_array_equal(scores, (0.9, 0))


def test_unsupported_outputs_list_the_supported_ones():
    with pytest.raises(ValueError, match=r"shapes \(1, 84, 8400\); expected \(1, cells, 5 \+ cla"):
        person_detector.decode([np.zeros((1, 84, 8400))], (640, 640))


def test_files_that_are_not_supported_detectors_are_named(tmp_path, model):
    with pytest.raises(FileNotFoundError, match=r"there is no detector file gone\.onnx"):
        person_detector.Detector("gone.onnx", threshold=0.3)
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.onnx is damaged or not an ONNX file"):
        person_detector.Detector(str(tmp_path / "text.onnx"), threshold=0.3)
    gray = save_model(tmp_path / "gray.onnx", shape=(1, 1, *SIZE))
    with pytest.raises(
        ValueError, match=r"not a supported detector: expected one float32 input .*, got ima"
    ):
        person_detector.Detector(gray, threshold=0.3)


def test_without_onnxruntime_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"pip install onnxruntime, or give boxes"):
        person_detector.Detector(str(tmp_path / "a.onnx"), threshold=0.3)

"""OpenVINO runs exported files and finds the same keypoints."""

import numpy as np
import onnxruntime
import pytest

openvino = pytest.importorskip("openvino")


def test_openvino_finds_the_keypoints_of_onnxruntime(portable):
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(portable.onnx, "CPU", options)
    theirs = onnxruntime.InferenceSession(portable.onnx).run(None, {"crops": crops})
    results = compiled({"crops": crops})
    np.testing.assert_allclose(results["keypoints"], theirs[0], atol=1e-3)
    np.testing.assert_allclose(results["scores"], theirs[1], rtol=1e-4)

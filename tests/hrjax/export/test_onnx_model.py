"""`hrjax.export_onnx`: what the file says of itself, and what is refused."""

import json

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

import hrjax
from hrjax import models
from hrjax.export import onnx_model
from hrjax.export.programs import Plan
from hrjax.weights import model_card, source


def axes(values):
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in values
    }


def metadata(file):
    return {entry.key: entry.value for entry in onnx.load(file).metadata_props}


def test_the_file_says_what_goes_in_and_out(portable):
    graph = onnx.load(portable.onnx).graph
    assert axes(graph.input) == {"crops": ["batch", 32, 32, 3]}
    assert axes(graph.output) == {"keypoints": ["batch", 16, 2], "scores": ["batch", 16]}
    meanings = [axis.denotation for axis in graph.input[0].type.tensor_type.shape.dim]
    assert meanings == ["batch", "height", "width", "rgb"]


def test_the_metadata_has_the_joints_the_crop_the_license_and_the_whole_card(portable):
    told = metadata(portable.onnx)
    assert json.loads(told["joints"])[:2] == ["right_ankle", "right_knee"]
    assert json.loads(told["flip_pairs"])[0] == [0, 5]
    assert json.loads(told["input_size"]) == [32, 32]
    assert (told["box_padding"], told["udp"], told["decode"]) == ("1.25", "false", "quarter")
    assert (told["flip_test"], told["license"]) == ("false", "CC0")
    assert model_card.parse(told["model.json"], "the metadata") == portable.card


def test_heatmaps_and_a_fixed_batch(portable, tmp_path):
    file = tmp_path / "new folder" / "heatmaps.onnx"
    hrjax.export_onnx(portable.weights, file, decode="none", flip_test=True, batch=2)
    graph = onnx.load(file).graph
    assert axes(graph.input) == {"crops": [2, 32, 32, 3]}
    assert axes(graph.output) == {"heatmaps": [2, 8, 8, 16]}
    told = metadata(file)
    assert (told["decode"], told["flip_test"]) == ("none", "true")
    assert json.loads(told["model.json"])["decode"] == "quarter"


def test_half_precision_halves_the_weights(portable, tmp_path):
    file = hrjax.export_onnx(portable.weights, tmp_path / "half.onnx", half=True)
    kinds = [tensor.data_type for tensor in onnx.load(file).graph.initializer if tensor.dims]
    assert kinds.count(onnx.TensorProto.FLOAT16) > 5
    crops = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    (_, scores), (_, halves) = (
        onnxruntime.InferenceSession(name).run(None, {"crops": crops})
        for name in (portable.onnx, file)
    )
    np.testing.assert_allclose(halves, scores, atol=5e-3 * abs(scores).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decode": "soft"}, "unknown decoding 'soft'; choose one of: argmax, .*, none"),
        ({"batch": 0}, "batch must be a positive number of crops, or None for any; got 0"),
        ({"model": "hrnet_w32"}, "is a pose_resnet_50, not a hrnet_w32"),
    ],
)
def test_options_that_cannot_be(portable, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        hrjax.export_onnx(portable.weights, tmp_path / "model.onnx", **options)
    assert not (tmp_path / "model.onnx").exists()


def test_a_folder_is_not_the_file_to_write(portable, tmp_path):
    with pytest.raises(ValueError, match="is a folder; name the file to write"):
        hrjax.export_onnx(portable.weights, tmp_path)


def test_a_program_does_not_replace_its_weights(portable, tmp_path):
    file = tmp_path / "weights.npz"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights.npz"):
        hrjax.export_onnx(source.Source(file, saved_card=portable.card), file)


def test_a_network_with_an_unknown_primitive_is_told_with_it(portable):
    class Sorting(nnx.Module):
        def __call__(self, images):
            return jax.numpy.sort(images, axis=-1)

    plan = Plan(models.split(Sorting()), portable.card, returns_heatmaps=True)
    with pytest.raises(ValueError, match=r"pose_resnet_50 cannot be exported .* primitive 'sort'"):
        onnx_model.build(plan)

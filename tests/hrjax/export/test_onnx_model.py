"""`hrjax.export_onnx`: what the file says of itself, and what is refused."""

import json

import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from flax import nnx

import hrjax
from data_pipelines.skeletons import COCO
from hrjax import models
from hrjax.export import onnx_model
from hrjax.export.programs import Plan
from hrjax.weights import checkpoints, model_card, source

FIELDS = {"width": 4, "blocks": (1,), "deconvs": 0, "deconv_width": 8, "num_joints": 17}


def card(**settings):
    values = {"variant": "pose_resnet_50", "fields": FIELDS, "decode": "dark", "flip_test": True}
    return model_card.ModelCard(
        input_size=(64, 48),
        color="bgr",
        skeleton=COCO,
        encoding="msra",
        sigma=2.0,
        stride=4,
        joint_threshold=0.2,
        dataset="coco",
        metric="coco_ap",
        **values | settings,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Converted weights of a tiny network with a model card."""
    folder = tmp_path_factory.mktemp("exported") / "weights"
    _, params, stats = models.split(hrjax.create("pose_resnet_50", **FIELDS))
    with checkpoints.open_folder(folder, keep=1) as manager:
        weights = {"model": {"params": params, "stats": stats}}
        checkpoints.save(manager, 0, weights, position={}, score=None, card=card())
        checkpoints.wait(manager)
    return folder


@pytest.fixture(scope="module")
def exported(checkpoint):
    return hrjax.export_onnx(checkpoint, checkpoint.parent / "model.onnx", license_text="CC0")


def axes(values):
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in values
    }


def test_the_file_says_what_goes_in_and_out(exported):
    graph = onnx.load(exported).graph
    assert axes(graph.input) == {"crops": ["batch", 64, 48, 3]}
    assert axes(graph.output) == {"keypoints": ["batch", 17, 2], "scores": ["batch", 17]}
    meanings = [axis.denotation for axis in graph.input[0].type.tensor_type.shape.dim]
    assert meanings == ["batch", "height", "width", "rgb"]


def test_the_metadata_has_the_joints_the_crop_the_license_and_the_whole_card(exported):
    told = {entry.key: entry.value for entry in onnx.load(exported).metadata_props}
    assert json.loads(told["joints"]) == [*COCO.names]
    assert json.loads(told["flip_pairs"])[0] == [1, 2]
    assert json.loads(told["input_size"]) == [64, 48]
    assert (told["box_padding"], told["decode"], told["flip_test"]) == ("1.25", "dark", "true")
    assert told["license"] == "CC0"
    assert model_card.parse(told["model.json"], "the metadata") == card()


def test_heatmaps_and_a_fixed_batch(checkpoint, tmp_path):
    file = tmp_path / "new folder" / "heatmaps.onnx"
    hrjax.export_onnx(checkpoint, file, decode="none", flip_test=False, batch=2)
    graph = onnx.load(file).graph
    assert axes(graph.input) == {"crops": [2, 64, 48, 3]}
    assert axes(graph.output) == {"heatmaps": [2, 16, 12, 17]}
    told = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert (told["decode"], told["flip_test"]) == ("none", "false")
    assert json.loads(told["model.json"])["decode"] == "dark"


def test_half_precision_halves_the_weights(checkpoint, exported, tmp_path):
    file = hrjax.export_onnx(checkpoint, tmp_path / "half.onnx", half=True)
    kinds = {tensor.data_type for tensor in onnx.load(file).graph.initializer}
    assert onnx.TensorProto.FLOAT16 in kinds
    crops = np.random.default_rng(0).integers(0, 256, (2, 64, 48, 3), np.uint8)
    (_, scores), (_, halves) = (
        onnxruntime.InferenceSession(name).run(None, {"crops": crops}) for name in (exported, file)
    )
    np.testing.assert_allclose(halves, scores, atol=5e-3 * abs(scores).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decode": "soft"}, "unknown decode 'soft'; choose one of: argmax"),
        ({"batch": 0}, "batch must be a positive number of crops, or None for any; got 0"),
        ({"model": "hrnet_w32"}, "is a pose_resnet_50, not a hrnet_w32"),
    ],
)
def test_options_that_cannot_be(checkpoint, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        hrjax.export_onnx(checkpoint, tmp_path / "model.onnx", **options)
    assert not (tmp_path / "model.onnx").exists()


def test_a_program_does_not_replace_its_weights(tmp_path):
    file = tmp_path / "weights.npz"
    file.write_bytes(b"")
    with pytest.raises(ValueError, match=r"weights.npz"):
        hrjax.export_onnx(source.Source(file, saved_card=card()), file)


def test_a_network_with_an_unknown_primitive_is_told_with_it():
    class Sorting(nnx.Module):
        def __call__(self, images):
            return jax.numpy.sort(images, axis=-1)

    plan = Plan(models.split(Sorting()), card(flip_test=False), returns_heatmaps=True)
    with pytest.raises(ValueError, match=r"pose_resnet_50 cannot be exported .* primitive 'sort'"):
        onnx_model.build(plan)

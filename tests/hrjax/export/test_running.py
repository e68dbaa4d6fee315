"""Exported networks predict and are evaluated like the checkpoints that they come from."""

import numpy as np
import pytest

import hrjax
from hrjax.evaluation import evaluate
from hrjax.export import running
from hrjax.weights import source


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


BOXES = [(5, 5, 40, 50), (30, 0, 20, 60), (0, 0, 80, 60)]


@pytest.fixture(scope="module")
def expected(portable, image):
    return hrjax.Predictor(portable.weights)(image, BOXES)


@pytest.fixture(scope="module")
def heatmaps_file(portable):
    file = portable.onnx.with_name("heatmaps.onnx")
    return hrjax.export_onnx(portable.weights, file, decode="none", batch=2)


def assert_same(ours, theirs):
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-4, atol=1e-9)


def test_a_predictor_of_the_file_finds_what_the_checkpoint_finds(portable, image, expected):
    assert_same(hrjax.Predictor(portable.onnx)(image, BOXES), expected)


def test_a_file_with_heatmaps_for_two_crops_leaves_the_decoding_open(
    heatmaps_file, portable, image, expected
):
    assert_same(hrjax.Predictor(heatmaps_file)(image, BOXES), expected)
    theirs = hrjax.Predictor(portable.weights, decode="argmax")(image, BOXES)
    assert_same(hrjax.Predictor(heatmaps_file, decode="argmax")(image, BOXES), theirs)


def test_the_heatmaps_of_the_file_are_those_of_the_checkpoint(heatmaps_file, portable, image):
    ours, theirs = (
        hrjax.Predictor(path).heatmaps(image, BOXES) for path in (heatmaps_file, portable.weights)
    )
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-5 * theirs[1].std())
    with pytest.raises(ValueError, match='returns keypoints; export it with decode="none"'):
        hrjax.Predictor(portable.onnx).heatmaps(image, BOXES)


def test_settings_that_the_file_does_not_have_are_an_error(portable, heatmaps_file):
    message = (
        r"network.onnx was exported with flip_test False, not True; decode 'quarter', not 'dark'"
    )
    with pytest.raises(ValueError, match=message):
        hrjax.Predictor(portable.onnx, decode="dark", flip_test=True)
    with pytest.raises(ValueError, match="flip_test False, not True; leave"):
        hrjax.Predictor(heatmaps_file, decode="dark", flip_test=True)


def test_padding_of_a_batch_is_not_computed(portable):
    program = source.open(portable.onnx).program
    step = running.make_predict_step(program, running.settings_of(program.card))
    batch = {
        "image": np.full((4, 32, 32, 3), 90, np.uint8),
        "to_original": np.tile(np.eye(2, 3, dtype=np.float32), (4, 1, 1)),
        "index": np.arange(4, dtype=np.int32),
        "mask": np.array([True, False, True, False]),
    }
    outputs = step({}, batch)
    assert outputs["keypoints"].shape == (4, 16, 2)
    assert (outputs["scores"][[1, 3]] == 0).all()
    np.testing.assert_array_equal(outputs["scores"][0], outputs["scores"][2])
    np.testing.assert_array_equal(outputs["mask"], batch["mask"])


def test_evaluation_of_the_file_gives_the_numbers_of_the_checkpoint(portable, micro, tmp_path):
    ours, theirs = (
        evaluate.evaluate(micro, tmp_path / name, checkpoint=str(path)).numbers
        for name, path in (("onnx", portable.onnx), ("jax", portable.weights))
    )
    assert ours == theirs


def test_evaluation_with_other_settings_is_an_error(portable, micro, tmp_path):
    micro.eval.decode = "dark"
    with pytest.raises(ValueError, match=r"decode 'quarter', not 'dark'"):
        evaluate.evaluate(micro, tmp_path, checkpoint=str(portable.onnx))


@pytest.mark.long
def test_real_weights_with_flip_test_and_dark_reach_their_ap(shared, tmp_path, monkeypatch):
    from hrjax import main

    file = tmp_path / "tinypose.onnx"
    weights = shared / "weights" / "tinypose_256x192.npz"
    hrjax.export_onnx(weights, file, decode="dark", flip_test=True)
    arguments = {
        "mode": "eval",
        "checkpoint": file,
        "workdir": tmp_path / "run",
        "config.data.root": shared / "samples" / "coco_people",
    }
    monkeypatch.setattr("sys.argv", ["main", *(f"--{k}={v}" for k, v in arguments.items())])
    assert main.main() == 0
    numbers = (tmp_path / "run" / "eval" / "val" / "metrics.json").read_text()
    import json

    assert json.loads(numbers)["AP"] == pytest.approx(0.6609, abs=0.0005)

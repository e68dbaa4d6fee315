"""The card of a trained model: written, read, and refused if something in it cannot be right."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_pipelines import skeletons
from hrjax import models, recipes
from hrjax.weights import model_card


@pytest.fixture
def card():
    skeleton = dataclasses.replace(skeletons.MPII, names=("Ä", *skeletons.MPII.names[1:]))
    config = recipes.find("widehrnet_18_64x48", "mpii")
    return model_card.from_config(config, skeleton, metric="PCKh@0.5")


def write(card, tmp_path, **changes):
    """A model.json with some entries changed, or removed where they are None."""
    content = {**model_card.to_dict(card), **changes}
    content = {key: value for key, value in content.items() if value is not None}
    file = tmp_path / "model.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_card_is_read_as_it_was_written(card, tmp_path):
    scored = model_card.with_score(card, 81.25)
    file = tmp_path / "model.json"
    file.write_text(model_card.to_text(scored), encoding="utf-8")
    assert model_card.read(file) == scored
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["input_size"] == [64, 48]
    assert content["fields"]["modules"] == list(models.VARIANTS["widehrnet_18"].modules)
    assert content["fields"]["num_joints"] == 16
    assert content["skeleton"]["names"][0] == "Ä"
    assert (content["metric"], content["score"]) == ("PCKh@0.5", 81.25)
    assert (content["stride"], content["box_padding"]) == (4, 1.25)
    assert content["mean"] == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_score_that_is_not_a_number_is_none(card, score):
    assert model_card.with_score(card, score).score is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"format_version is 2, and hrjax .* reads version 1; open it with"),
        ({"format_version": None}, "missing required field `format_version`"),
        ({"sigma": None}, "missing required field `sigma`"),
        ({"sigma": "wide"}, r"Expected `float`, got `str` - at `\$\.sigma`"),
        ({"sigma": 0.0}, r"sigma is 0\.0, expected a positive number"),
        ({"input_size": [64]}, r"\$\.input_size"),
        ({"input_size": [64, 0]}, r"input_size is \(64, 0\), expected two positive numbers"),
        (
            {"input_size": [2**20, 64]},
            r"input_size is .* two positive numbers up to 4096",
        ),
        ({"fields": {"width": "x" * 10**6}}, r"widehrnet_18 cannot take width='x*$"),
        ({"variant": "hrnet"}, "unknown model 'hrnet'; did you mean .* Choose one of: "),
        ({"fields": {}}, "fields lack num_joints; fields lack width"),
        ({"fields": {"depth": 3}}, r"widehrnet_18 cannot take depth=3; its fields are"),
        ({"color": "grey"}, "color is 'grey', expected 'rgb' or 'bgr'"),
        ({"encoding": "dart"}, "encoding is 'dart', expected 'msra' or 'dark' or 'udp'"),
        ({"decode": "best"}, "decode is 'best', expected 'argmax' or "),
        ({"stride": 8}, "stride is 8, expected 4"),
        ({"mean": [0.5, 0.5, 0.5]}, r"mean is \(0\.5, 0\.5, 0\.5\), expected \(0\.485"),
        ({"box_padding": 1.0}, r"box_padding is 1\.0, expected 1\.25"),
    ],
)
def test_what_cannot_be_right_is_one_message(card, tmp_path, changes, message):
    file = write(card, tmp_path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        model_card.read(file)
    assert str(caught.value).startswith(f"{file} is not a usable model card: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flip_pairs": [[0, 16]]}, "flip_pairs names the joint 16 of 16, counted from 0"),
        ({"flip_pairs": [[0, 1], [1, 2]]}, "flip_pairs has a joint twice"),
        ({"limbs": [[0, -1]]}, "limbs names the joint -1"),
        ({"upper_body": [3, 99]}, "upper_body names the joint 99"),
        ({"sigmas": [0.1]}, "sigmas must be 16 positive numbers or none"),
        ({"sigmas": [0.0] * 16}, "sigmas must be 16 positive numbers or none"),
        ({"names": ["nose"]}, "num_joints in fields is 16, expected 1"),
        ({"names": "nose"}, r"Expected `array`, got `str` - at `\$\.skeleton\.names`"),
    ],
)
def test_joints_that_cannot_be_right_are_named(card, tmp_path, changes, message):
    skeleton = {**model_card.to_dict(card)["skeleton"], **changes}
    with pytest.raises(ValueError, match=message):
        model_card.read(write(card, tmp_path, skeleton=skeleton))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": -1}, "width in fields is -1, expected numbers from 0 to 4096"),
        ({"width": 10**12}, "width in fields is 1000000000000, expected numbers"),
        ({"modules": [1, 10**6, 1]}, r"modules in fields is \(1, 1000000, 1\), expected numbers"),
        ({"modules": [1] * 500}, "modules in fields is "),
        (
            {"modules": [30, 30, 30], "blocks": 30},
            "fields ask for 2700 blocks, expected at",
        ),
    ],
)
def test_a_card_cannot_ask_for_a_network_without_end(card, tmp_path, fields, message):
    fields = {**model_card.to_dict(card)["fields"], **fields}
    with pytest.raises(ValueError, match=message):
        model_card.read(write(card, tmp_path, fields=fields))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is not a usable model card: Input data was truncated"),
        (b'{"format_version": 1', "truncated"),
        (b'{"format_version": NaN}', "JSON is malformed"),
        (b'{"format_version": 1, "sigma": 1e999}', "number out of range|Number out of range"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b"\xff", "malformed"),
        (b'{"format_version": 1, "fields": ' + b'{"a":' * 100_000, "is not a usable model card: "),
        (b'{"format_version": 1}' + b" " * 2**20, "is 1048597 characters long, expected at most"),
    ],
)
def test_damaged_text_is_one_message(tmp_path, text, message):
    (tmp_path / "model.json").write_bytes(text)
    with pytest.raises(ValueError, match=message):
        model_card.read(tmp_path / "model.json")


SMALL = {
    "hrnet_tiny": {},
    "pose_resnet_50": {"width": 4, "blocks": (1, 1), "deconvs": 2, "deconv_width": 4},
    "pose_resnet_101": {"width": 4, "blocks": (1,), "deconvs": 0},
    "efenet_small": {"width": 8, "heads": 1, "modules": (1,), "blocks": 1, "stem_width": 8},
    "hrnext_small": {"width": 8, "modules": (1,)},
}


@pytest.mark.parametrize("name", SMALL)
def test_the_stride_is_that_of_the_heatmaps(name):
    fields = SMALL[name]
    graph, params, stats = models.shapes(name, **fields)
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    maps, _ = jax.eval_shape(lambda *xs: models.apply(graph, *xs), params, stats, images)
    assert models.heatmap_stride(models.configure(name, **fields)) == 64 // maps.shape[1]


@pytest.mark.long
@pytest.mark.parametrize("name", models.VARIANTS)
def test_the_stride_is_that_of_the_heatmaps_of_every_variant(name):
    graph, params, stats = models.shapes(name)
    images = jax.ShapeDtypeStruct((1, 256, 192, 3), np.float32)
    maps, _ = jax.eval_shape(lambda *xs: models.apply(graph, *xs), params, stats, images)
    assert models.heatmap_stride(models.VARIANTS[name]) == 256 // maps.shape[1]


CURVE = {"scores": [0.1, 0.5], "values": [0.0, 0.9]}
CURVES = {"joint": CURVE, "person": CURVE, "people": 120, "dataset": "mice"}


def test_a_card_from_before_calibration_is_read(card, tmp_path):
    assert model_card.read(write(card, tmp_path, calibration=None)).calibration is None


def test_curves_are_read_as_they_were_written(card, tmp_path):
    calibrated = model_card.read(write(card, tmp_path, calibration=CURVES))
    assert calibrated.calibration.joint.scores == (0.1, 0.5)
    assert calibrated.calibration.people == 120
    assert model_card.parse(model_card.to_text(calibrated), "text") == calibrated


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint": None}, r"Expected `object`, got `null` - at `\$\.calibration\.joint`"),
        ({"people": "many"}, r"Expected `int`, got `str` - at `\$\.calibration\.people`"),
        ({"joint": {"scores": [0.1, "x"], "values": [0, 1]}}, r"Expected `float`, got `str`"),
        (
            {"joint": {**CURVE, "scores": [0.5, 0.1]}},
            r"joint\.scores are not finite numbers in ris",
        ),
        ({"person": {**CURVE, "values": [0, 7]}}, r"person\.values are not numbers from 0 to 1"),
        ({"person": {"scores": [0] * 10**5, "values": []}}, "person has 100000 scores and 0 val"),
    ],
)
def test_curves_that_cannot_be_right_are_one_message(card, tmp_path, changes, message):
    file = write(card, tmp_path, calibration={**CURVES, **changes})
    with pytest.raises(ValueError, match=message) as caught:
        model_card.read(file)
    assert str(caught.value).startswith(f"{file} is not a usable model card: ")
    assert "\n" not in str(caught.value)

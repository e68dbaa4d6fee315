"""The step from crops to keypoints, and its settings."""

import dataclasses

import jax
import numpy as np
import pytest

import hrjax
from hrjax import experiment, inference
from hrjax.runtime import distributed
from hrjax.training import train


def test_flip_test_makes_a_mirrored_person_the_mirrored_prediction(tiny):
    tiny.eval.flip_test = True
    mesh = distributed.make_mesh(jax.devices()[:1])
    job, state = train.prepare(tiny, mesh)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (1, 32, 32, 3), np.uint8)
    batch = {
        "image": np.concatenate([image, image[:, :, ::-1]]),
        "to_original": np.tile(np.array([[[1, 0, 0], [0, 1, 0]]], np.float32), (2, 1, 1)),
        "index": np.arange(2, dtype=np.int32),
        "mask": np.ones(2, bool),
    }
    weights = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape), state.weights)
    outputs = job.predict_step(jax.tree.map(lambda x: x.astype(np.float32), weights), batch)
    # Up to the one-pixel shift, which moves the second map, both averages hold the same two maps.
    order = list(job.split.skeleton.flip_order)
    expected = outputs["scores"][1][np.array(order)]
    np.testing.assert_allclose(outputs["scores"][0], expected, rtol=0.2)


def test_settings_are_those_of_the_config(tiny):
    settings = experiment.prediction_settings(tiny)
    assert dataclasses.asdict(settings) == {
        "input_size": (32, 32),
        "color": "rgb",
        "encoding": "msra",
        "sigma": 1.5,
        "decode": "quarter",
        "flip_test": False,
        "fold_batch_norm": True,
        "dtype": "float32",
    }
    assert not settings.udp


def test_a_network_in_bfloat16_gives_float32_heatmaps_of_nearly_the_same_values():
    model = hrjax.create("hrnet_tiny", modules=(1,), blocks=1)
    model.eval()
    graph, params, stats = hrjax.split(model)
    rng = np.random.default_rng(0)  # what a fresh network computes is nearly zero
    params = jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape, np.float32), params)
    images = jax.random.normal(jax.random.key(0), (1, 64, 64, 3))

    @jax.jit
    def both(params, images):
        return [inference.apply((graph, params, stats), images, name) for name in inference.DTYPES]

    maps, rounded = both(params, images)
    assert maps.dtype == rounded.dtype == np.float32
    difference = np.std(maps - rounded) / np.std(maps)
    assert 1e-5 < difference < 0.05


def test_an_unknown_encoding_or_decoding_lists_the_choices(tiny):
    settings = experiment.prediction_settings(tiny)
    with pytest.raises(ValueError, match="unknown decode 'taylor'; choose one of: argmax, quart"):
        dataclasses.replace(settings, decode="taylor")
    with pytest.raises(ValueError, match="unknown encoding 'unbiased'; choose one of: msra, dark"):
        dataclasses.replace(settings, encoding="unbiased")
    with pytest.raises(ValueError, match="unknown dtype 'float16'; did you mean bfloat16"):
        dataclasses.replace(settings, dtype="float16")

"""Opening a network for prediction: what its settings are, and how little that takes."""

import dataclasses

import jax
import numpy as np
import pytest

import hrjax
from data_pipelines.skeletons import COCO
from hrjax import models, recipes
from hrjax.prediction import trained_network
from hrjax.prediction.predictor import Predictor
from hrjax.runtime import run_folder
from hrjax.weights import torch_names
from scripts import convert_weights


@pytest.fixture
def file(tmp_path):
    _, params, stats = hrjax.split(hrjax.create("hrnet_tiny", seed=3, num_joints=16))
    path = tmp_path / "weights.npz"
    np.savez(path, **torch_names.to_torch("hrnet_tiny", params, stats))
    return path


def test_settings_are_the_recipes_or_those_of_a_given_config(file):
    opened = trained_network.load(file, model="hrnet_tiny_64x32")
    assert (opened.settings.input_size, opened.settings.decode) == ((64, 32), "quarter")
    assert opened.settings.flip_test
    assert opened.settings.fold_batch_norm
    config = recipes.find("hrnet_tiny_96x96", "mpii")
    config.eval.fold_batch_norm, config.eval.joint_threshold = False, 0.4
    config.heatmap.encoding = "udp"
    opened = trained_network.load(file, config=config)
    assert (opened.settings.input_size, opened.settings.udp) == ((96, 96), True)
    assert not opened.settings.fold_batch_norm
    assert opened.joint_threshold == 0.4


def test_a_network_is_described_in_one_line(file, portable, bright):
    opened = trained_network.load(file, model="hrnet_tiny_64x32")
    assert trained_network.describe(opened, opened.settings) == (
        "hrnet_tiny, 16 joints of mpii, crops of 32x64 pixels (width x height), decoding quarter, "
        "flip test"
    )
    said = Predictor(str(portable.onnx)).describe()
    assert said.startswith("pose_resnet_50 in ONNX, 16 joints of mpii, crops of 32x32 pixels")
    own = dataclasses.replace(bright.network.skeleton, names=("tip", *COCO.names[1:]))
    network = dataclasses.replace(bright.network, skeleton=own, variant="hrnet_w32")
    said = Predictor(network, flip_test=False, decode="dark").describe()
    assert "hrnet_w32, 17 joints (tip, left_eye, right_eye, …), " in said
    assert said.endswith("decoding dark, no flip test")


def count(monkeypatch, module, name):
    """The list that each call of a function is appended to."""
    calls, function = [], getattr(module, name)

    def note(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    monkeypatch.setattr(module, name, note)
    return calls


def test_opening_builds_one_network_and_compiles_none(file, monkeypatch):
    jax.device_put(np.zeros(3)).block_until_ready()  # what JAX itself compiles first
    built = [count(monkeypatch, models, name) for name in ("shapes", "create")]
    traced = count(monkeypatch, models, "apply"), count(monkeypatch, models, "specialize")
    predictor = Predictor(file)
    assert [len(calls) for calls in built] == [1, 0]
    assert [len(calls) for calls in traced] == [0, 0]
    image = np.zeros((120, 160, 3), np.uint8)
    assert predictor(image).keypoints.shape == (1, 16, 2)
    assert len(traced[1]) == 1


def test_opening_a_real_file_builds_one_network(shared, monkeypatch):
    built = count(monkeypatch, models, "shapes")
    predictor = Predictor(shared / "weights" / "tinypose_256x192.npz")
    assert built == [("wider_naive_litehrnet_18",)]
    assert predictor.settings.input_size == (256, 192)


@pytest.mark.parametrize("root", ["made/here", "/dev/zero"])
def test_a_run_without_a_model_card_draws_no_data(file, tmp_path, monkeypatch, root):
    monkeypatch.chdir(tmp_path)
    checkpoints = tmp_path / "run" / "checkpoints"
    convert_weights.convert(str(file), checkpoints, "hrnet_tiny")
    (checkpoints / "0" / "model.json").unlink()
    config = recipes.find("hrnet_tiny", "mpii")
    with config.unlocked():
        config.data.dataset, config.data.root = "custom", root
        config.data.draw.train_images = config.data.draw.val_images = 5
    run_folder.save_config(config, tmp_path / "run")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileNotFoundError, match=f"there is no {root}/annotations/val.json"):
        trained_network.load(tmp_path / "run")
    assert sorted(tmp_path.rglob("*")) == before

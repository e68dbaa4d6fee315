"""What names, folders and files of weights are."""

import importlib
import pathlib

import jax
import numpy as np
import pytest

import hrjax
from hrjax.prediction import pretrained
from hrjax.runtime import run_folder
from hrjax.weights import checkpoints, torch_names


@pytest.fixture(scope="module")
def tiny_weights():
    model = hrjax.create("hrnet_tiny", seed=3, num_joints=16)
    _, params, stats = hrjax.split(model)
    return {"params": params, "stats": stats}


@pytest.fixture
def file(tiny_weights, tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **torch_names.to_torch("hrnet_tiny", *tiny_weights.values()))
    return path


def save_step(folder, weights):
    with checkpoints.open_folder(folder, keep=1) as manager:
        checkpoints.save(manager, 7, {"model": weights}, position={}, score=None)
        checkpoints.wait(manager)


def assert_holds(network, weights):
    found = {"params": network.params, "stats": network.stats}
    jax.tree.map(np.testing.assert_array_equal, found, weights)


def test_a_run_and_its_steps_bring_their_recipe(tiny_weights, tmp_path):
    config = pretrained.recipe("hrnet_tiny", "mpii")
    config.eval.decode, config.data.input_size = "dark", (64, 32)
    run_folder.save_config(config, tmp_path / "run")
    save_step(tmp_path / "run" / "checkpoints", tiny_weights)
    for path in ("run", "run/checkpoints", "run/checkpoints/7"):
        network = pretrained.load(tmp_path / path)
        assert network.config.to_dict() == config.to_dict()
        assert network.skeleton.num_joints == 16
        assert_holds(network, tiny_weights)
    assert pretrained.load(tmp_path / "run", model="hrnet_tiny_96x64").config.data.input_size == (
        *(96, 64),
    )
    with pytest.raises(ValueError, match="7 is a hrnet_tiny and no hrnet_w32, says the config"):
        pretrained.load(tmp_path / "run", model="hrnet_w32")


def test_a_step_without_a_config_says_what_to_do(tiny_weights, tmp_path):
    save_step(tmp_path / "bare", tiny_weights)
    with pytest.raises(ValueError, match=r"has no config\.json .*give its config, or convert"):
        pretrained.load(tmp_path / "bare")
    config = pretrained.recipe("hrnet_tiny", "mpii")
    assert_holds(pretrained.load(tmp_path / "bare", config=config), tiny_weights)


def test_a_file_is_recognised_or_told(file, tiny_weights):
    network = pretrained.load(file)
    assert network.config.model.name == "hrnet_tiny"
    assert network.config.data.dataset == "mpii"  # by its 16 joints
    assert network.config.data.input_size == (256, 256)
    assert_holds(network, tiny_weights)
    assert pretrained.load(file, model="hrnet_tiny_64x64").config.data.input_size == (64, 64)


def test_a_published_name_is_its_file_and_recipe(file, tiny_weights, monkeypatch):
    row = pretrained.Published(str(file), "hrnet_tiny_64x64", "mpii")
    monkeypatch.setitem(pretrained.PUBLISHED, "tiny_mpii", row)
    network = pretrained.load("tiny_mpii")
    assert network.config.data.input_size == (64, 64)
    assert_holds(network, tiny_weights)


@pytest.mark.parametrize("name", pretrained.PUBLISHED)
def test_published_rows_are_whole(name):
    row = pretrained.PUBLISHED[name]
    config = pretrained.recipe(row.model, row.dataset)
    height, width = config.data.input_size
    assert row.model == f"{config.model.name}_{height}x{width}"
    assert row.address.startswith("https://")
    assert config.model.num_joints == {"coco": 17, "mpii": 16}[row.dataset]


def test_every_recipe_is_found_by_its_family_and_dataset():
    files = pathlib.Path(importlib.import_module("configs").__file__).parent.glob("*_*.py")
    names = [file.stem for file in files if file.stem.endswith(("_coco", "_mpii"))]
    assert len(names) >= 13
    for name in names:
        default = importlib.import_module(f"configs.{name}").get_config()
        found = pretrained.recipe(default.model.name, name.rpartition("_")[2])
        assert found.to_dict() == default.to_dict()


def test_recipes_are_read_from_files(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from configs import hrnet_mpii\n\n\n"
        "def get_config(variant=''):\n"
        "    return hrnet_mpii.get_config(variant)\n"
    )
    found = pretrained.read_recipe(f"{file}:hrnet_tiny_64x64")
    assert found.to_dict() == pretrained.recipe("hrnet_tiny_64x64", "mpii").to_dict()
    with pytest.raises(FileNotFoundError, match=r"no config file gone\.py \(from /"):
        pretrained.read_recipe("gone.py:hrnet_w32")


def test_saved_lists_become_the_tuples_that_they_were(tiny_weights, tmp_path):
    config = pretrained.recipe("hrnet_tiny", "mpii")
    config.data.skeleton.flip_pairs = ((0, 1), (2, 3))
    run_folder.save_config(config, tmp_path)
    save_step(tmp_path, tiny_weights)
    assert pretrained.load(tmp_path).config.data.skeleton.flip_pairs == ((0, 1), (2, 3))


def test_what_is_no_checkpoint_is_named(tmp_path, file, tiny_weights):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint resnet: .*one of: hrnet_w32_coco"):
        pretrained.load("resnet")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*absent\.pth"):
        pretrained.load(tmp_path / "absent.pth")
    state = dict(np.load(file))
    del state["final_layer.weight"], state["final_layer.bias"]
    np.savez(tmp_path / "headless.npz", **state)
    with pytest.raises(ValueError, match="has no head for joints; it is to train from"):
        pretrained.load(tmp_path / "headless.npz")


def test_unknown_models_datasets_and_joint_counts_list_the_choices():
    with pytest.raises(
        ValueError, match=r"unknown model 'hrnet'; choose one of: .*hrnet_w32.*_HxW"
    ):
        pretrained.recipe("hrnet_64x64", "coco")
    with pytest.raises(ValueError, match=r"no recipe for hrnet_w32 on ants \(configs/hrnet_ants"):
        pretrained.recipe("hrnet_w32", "ants")
    with pytest.raises(ValueError, match=r"no known dataset has 3 joints; expected one of: .*coco"):
        pretrained.dataset_of(3)

"""Recipes found by name, read from files, and completed from saved configs."""

import importlib
import pathlib

import pytest

from hrjax import recipes


def test_every_recipe_is_found_by_its_family_and_dataset():
    files = pathlib.Path(importlib.import_module("configs").__file__).parent.glob("*_*.py")
    names = [file.stem for file in files if file.stem.endswith(("_coco", "_mpii"))]
    assert len(names) >= 13
    for name in names:
        default = importlib.import_module(f"configs.{name}").get_config()
        recipe = recipes.find(default.model.name, name.rpartition("_")[2])
        assert recipe.to_dict() == default.to_dict()


def test_recipes_are_read_from_files(tmp_path):
    file = tmp_path / "own.py"
    file.write_text(
        "from configs import hrnet_mpii\n\n\n"
        "def get_config(variant=''):\n"
        "    return hrnet_mpii.get_config(variant)\n"
    )
    recipe = recipes.read(f"{file}:hrnet_tiny_64x64")
    assert recipe.to_dict() == recipes.find("hrnet_tiny_64x64", "mpii").to_dict()
    with pytest.raises(FileNotFoundError, match=r"no config file gone\.py \(from /"):
        recipes.read("gone.py:hrnet_w32")


def test_a_saved_config_is_itself_again():
    config = recipes.find("hrnet_tiny_64x32", "mpii")
    assert recipes.complete(config.to_dict()).to_dict() == config.to_dict()


def test_a_config_of_another_version_gets_the_defaults_of_new_fields(caplog):
    saved = recipes.find("hrnet_tiny", "mpii").to_dict()
    expected = {**saved, "eval": {**saved["eval"]}}
    del saved["eval"]["decode"]  # a field that is newer than the run
    saved["eval"]["nights"] = 3  # one that exists no more
    caplog.set_level("INFO")
    assert recipes.complete(saved).to_dict() == expected
    assert "fields of another version are ignored: eval.nights" in caplog.text


def test_unknown_models_and_datasets_list_the_choices():
    with pytest.raises(
        ValueError, match=r"unknown model 'hrnet'; choose one of: .*hrnet_w32.*_HxW"
    ):
        recipes.find("hrnet_64x64", "coco")
    with pytest.raises(ValueError, match=r"no recipe for hrnet_w32 on ants \(configs/hrnet_ants"):
        recipes.find("hrnet_w32", "ants")

"""Recipes found by name, read from files, and completed from saved configs."""

import importlib
import pathlib
import re

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
    known = r"unknown model 'hrnet'; did you mean hrnet_w32.*\? Choose one of: .*hrnet_w32.*_HxW"
    with pytest.raises(ValueError, match=known):
        recipes.find("hrnet_64x64", "coco")
    with pytest.raises(ValueError, match=r"no recipe for hrnet_w32 on ants \(configs/hrnet_ants"):
        recipes.find("hrnet_w32", "ants")


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("seed", "0", "seed is '0', expected a whole number"),
        ("seed", True, "seed is True, expected a whole number"),
        ("seed", 10**30, "seed is 1000000000000000000000000000000, expected a smaller number"),
        ("data", 5, "data.input_size is None, expected a list"),
        ("data.root", ("a",), "data.root is ('a',), expected a text"),
        ("data.input_size", (64, 1.5), "data.input_size is (64, 1.5), expected a height and a"),
        ("data.input_size", (((8,),),), "data.input_size is (((8,),),), expected a height and a"),
        ("data.mix.datasets", ({},), "data.mix.datasets is ({},), expected a list of values"),
        ("eval", 1, "eval is 1, expected a section"),
        ("eval.decode", {"a": 1}, "eval.decode is {'a': 1}, expected a text"),
        ("eval.flip_test", 1, "eval.flip_test is 1, expected true or false"),
        ("optimizer.lr", None, "optimizer.lr is None, expected a number"),
        ("optimizer.lr", 1e300, "optimizer.lr is 1e+300, expected a number"),
        ("model.name", "x" * 9999, "unknown model"),
    ],
)
def test_values_of_a_wrong_type_in_a_saved_config_are_listed(field, value, problem):
    saved = recipes.find("hrnet_tiny", "mpii").to_dict()
    *sections, key = field.split(".")
    inside = saved
    for section in sections:
        inside = inside[section]
    inside[key] = value
    with pytest.raises(ValueError, match=re.escape(problem)):
        recipes.complete(saved)


def test_all_values_of_a_wrong_type_are_listed_together():
    saved = recipes.find("hrnet_tiny", "mpii").to_dict()
    saved |= {"seed": "a", "train": {"epochs": ()}}
    with pytest.raises(
        ValueError, match=r"seed is 'a', .*; train\.epochs is \(\), expected a whole"
    ):
        recipes.complete(saved)


def test_whole_numbers_may_stand_for_others():
    saved = recipes.find("hrnet_tiny", "mpii").to_dict()
    saved["optimizer"]["lr"] = 1
    assert recipes.complete(saved).optimizer.lr == 1.0

"""Recipes, found by variant and dataset, read from a file, or completed from a saved config."""

import importlib
import importlib.util
import logging
import pathlib

from ml_collections import ConfigDict

from hrjax import models

logger = logging.getLogger(__name__)


def find(model: str, dataset: str) -> ConfigDict:
    """The recipe of a variant, with `_HxW` appended or not, on a dataset."""
    name, _ = split_model(model)
    family = models.FAMILIES[name].__name__.rpartition(".")[2]
    module = f"configs.{family}_{dataset}"
    try:
        return importlib.import_module(module).get_config(model)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(
            f"there is no recipe for {name} on {dataset} (configs/{family}_{dataset}.py); "
            "give a config of your own"
        ) from error


def read(argument: str) -> ConfigDict:
    """The recipe in FILE.py or FILE.py:VARIANT[_HxW]."""
    name, _, variant = argument.partition(":")
    if not pathlib.Path(name).is_file():
        raise FileNotFoundError(f"there is no config file {name} (from {pathlib.Path.cwd()})")
    spec = importlib.util.spec_from_file_location(pathlib.Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def base(model: str, dataset: str, input_size: tuple[int, int]) -> ConfigDict:
    """A recipe with the default of every field, for a variant on a dataset; unlocked."""
    common = importlib.import_module("configs.common")
    config = common.recipe(model, default=model, dataset=dataset, input_size=input_size)
    return config.unlock()


def complete(saved: dict) -> ConfigDict:
    """A saved config, which may be older than some fields: those have their defaults."""
    model, data = saved["model"], saved["data"]
    config = base(model["name"], data["dataset"], tuple(data["input_size"]))
    unknown = _update(config, saved)
    if unknown:
        logger.info("fields of another version are ignored: %s", ", ".join(unknown))
    return config.lock()


def split_model(model: str) -> tuple[str, tuple[int, int] | None]:
    """`models.split_size` of an existing variant; ValueError lists the choices."""
    name, size = models.split_size(model)
    if name not in models.VARIANTS:
        raise ValueError(
            f"unknown model {name!r}; choose one of: {', '.join(sorted(models.VARIANTS))} "
            "(add _HxW for another input size, e.g. _384x288)"
        )
    return name, size


def _update(config, saved, prefix=""):
    """Sets the fields of `config` that `saved` has; returns the names of those that are unknown."""
    unknown = []
    for key, value in saved.items():
        if key not in config:
            unknown.append(f"{prefix}{key}")
        elif isinstance(value, dict):
            unknown += _update(config[key], value, f"{prefix}{key}.")
        else:
            config[key] = value
    return unknown

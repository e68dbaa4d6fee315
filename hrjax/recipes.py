"""Recipes, found by variant and dataset, read from a file, or completed from a saved config."""

import importlib
import importlib.util
import logging
import pathlib

from ml_collections import ConfigDict

from data_pipelines.messages import choices
from hrjax import models

logger = logging.getLogger(__name__)

KINDS = {str: "a text", int: "a whole number", bool: "true or false", tuple: "a list"}
FOLDER = "configs"  # whose files a wrong name may mean
LARGEST = 1e15  # of numbers in a config
SHOWN = 60  # characters of a wrong value


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
        raise FileNotFoundError(missing_config(name))
    spec = importlib.util.spec_from_file_location(pathlib.Path(name).stem, name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant)


def missing_config(name: str) -> str:
    """The message that there is no config file of this name, with near ones."""
    meant = choices.proposal(choices.near_files(name, [FOLDER]), after="; ")
    return f"there is no config file {name} (from {pathlib.Path.cwd()}){meant}"


def base(model: str, dataset: str, input_size: tuple[int, int]) -> ConfigDict:
    """A recipe with the default of every field, for a variant on a dataset; unlocked."""
    common = importlib.import_module("configs.common")
    config = common.recipe(model, default=model, dataset=dataset, input_size=input_size)
    return config.unlock()


def complete(saved: dict) -> ConfigDict:
    """A saved config, which may be older than some fields: those have their defaults.

    Raises ValueError that lists the fields whose values are of another type than their defaults.
    """
    model, size = _find(saved, "model.name", str), _find(saved, "data.input_size", tuple)
    dataset = _find(saved, "data.dataset", str)
    split_model(model)
    if len(size) != 2 or not all(type(side) is int for side in size):
        raise ValueError(f"data.input_size is {shown(size)}, expected a height and a width")
    config = base(model, dataset, size)
    unknown, problems = _update(config, saved)
    if problems:
        raise ValueError("; ".join(problems))
    if unknown:
        logger.info(
            "fields of another version are ignored: %s", ", ".join(name[:SHOWN] for name in unknown)
        )
    return config.lock()


def _find(saved, field, kind):
    """The value of a field that every saved config has."""
    section, _, key = field.partition(".")
    value = saved.get(section)
    value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f"{field} is {shown(value)}, expected {KINDS[kind]}")
    return value


def split_model(model: str) -> tuple[str, tuple[int, int] | None]:
    """`models.split_size` of an existing variant; ValueError lists the choices."""
    name, size = models.split_size(model)
    if name not in models.VARIANTS:
        raise ValueError(
            f"{choices.unknown('model', name, sorted(models.VARIANTS))} (add _HxW for another "
            "input size, height x width as in the papers, e.g. _384x288)"
        )
    return name, size


def _update(config, saved, prefix=""):
    """Sets the fields of `config` that `saved` has; returns unknown ones, and wrong values."""
    unknown, problems = [], []
    for key, value in saved.items():
        name = f"{prefix}{key}"
        if key not in config:
            unknown.append(name)
        elif isinstance(value, dict) and isinstance(config[key], ConfigDict):
            inner = _update(config[key], value, f"{name}.")
            unknown, problems = unknown + inner[0], problems + inner[1]
        elif (expected := _expected(config[key], value)) is not None:
            problems.append(f"{name} is {shown(value)}, expected {expected}")
        else:
            config[key] = value
    return unknown, problems


def _expected(default, value):
    """What a value should be to stand in the place of `default`; None if it may."""
    if isinstance(default, ConfigDict):
        return "a section"
    if isinstance(default, tuple):
        return None if isinstance(value, tuple) and _is_flat(value) else "a list of values"
    if isinstance(default, float):
        # JSON has one kind of numbers.
        is_number = type(value) in (int, float) and abs(value) < LARGEST
        return None if is_number else "a number"
    if type(value) is not type(default):
        return KINDS[type(default)]
    return None if type(value) is not int or abs(value) < LARGEST else "a smaller number"


def _is_flat(values):
    """Whether all are strings, numbers, or tuples of such, as flip pairs are."""
    return all(
        (type(x) is tuple and _is_flat(x) and not any(type(y) is tuple for y in x))
        or type(x) in (str, bool)
        or (type(x) in (int, float) and abs(x) < LARGEST)
        for x in values
    )


def shown(value: object) -> str:
    """The value as text that is short enough for a message."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

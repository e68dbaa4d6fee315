"""YAML files of others: plain data without aliases, of a limited size."""

import pathlib

import yaml

from data_pipelines import files

LARGEST_FILE = 2**24  # bytes


def read(path: pathlib.Path) -> dict:
    """The mapping that a YAML file holds.

    Aliases are refused: a few of them within each other describe more than any memory holds, and
    no annotation tool writes them.
    """
    contents = files.read_bytes(path, limit=LARGEST_FILE)
    try:
        events = yaml.parse(contents, Loader=yaml.SafeLoader)
        alias = next((event for event in events if isinstance(event, yaml.AliasEvent)), None)
        if alias is not None:
            line = alias.start_mark.line + 1
            raise ValueError(
                f"{path}: line {line}: it has an alias (*{alias.anchor}); write it out"
            )
        value = yaml.safe_load(contents)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise ValueError(f"{path}:{line} it is not YAML ({error.problem}); correct it") from error
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML ({type(error).__name__}); correct it") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a {type(value).__name__}; expected names with values")
    return value

"""Names of a config's fields, for commands that name one it does not have."""

import difflib
from collections.abc import Iterable

from ml_collections import ConfigDict

from data_pipelines.messages import choices

LIKE = 0.66  # from 0 to 1, how similar the last parts of two names must be
SECTION_COUNTS = 0.5  # how much the sections before it count, against the last part
MARGIN = 0.3  # a field that is so much less similar than the best one is not suggested


def unknown_fields(names: Iterable[str], config: ConfigDict) -> list[str]:
    """A message for each of `names`, dotted and without "config.", that `config` does not have."""
    known = set(_fields(config)) | set(_sections(config))
    return [_unknown(name, config) for name in names if name.partition("[")[0] not in known]


def near_fields(name: str, config: ConfigDict) -> list[str]:
    """Up to three fields of `config` that the unknown `name` may mean, the most similar first."""
    (section, _, last), near = name.rpartition("."), {}
    for field in _fields(config):
        other_section, _, other_last = field.rpartition(".")
        likeness = _ratio(last, other_last)
        if likeness >= LIKE:
            near[field] = likeness + SECTION_COUNTS * _ratio(section, other_section)
    best = [field for field in near if near[field] > max(near.values()) - MARGIN]
    return sorted(best, key=near.get, reverse=True)[:3]


def _unknown(name, config):
    near = [f"config.{field}" for field in near_fields(name, config)]
    if near:
        return f"unknown field config.{name}; {choices.proposal(near)}"
    sections = {"": config, **_sections(config)}
    section = name
    while section not in sections:
        section = section.rpartition(".")[0]
    place = f"config.{section}".rstrip(".")
    return f"unknown field config.{name}; {place} has: {', '.join(sections[section])}"


def _ratio(first, second):
    return difflib.SequenceMatcher(None, first, second).ratio()


def _sections(config, prefix=""):
    """The sections of a config and those inside them by their dotted names."""
    own = {prefix + key: value for key, value in config.items() if isinstance(value, ConfigDict)}
    return own | {k: v for name in own for k, v in _sections(own[name], f"{name}.").items()}


def _fields(config):
    """The dotted names of all fields that hold a value."""
    return [
        f"{section}.{key}".lstrip(".")
        for section, values in {"": config, **_sections(config)}.items()
        for key, value in values.items()
        if not isinstance(value, ConfigDict)
    ]

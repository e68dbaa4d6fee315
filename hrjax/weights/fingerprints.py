"""Recognizes a variant by the names and shapes of its tensors.

fingerprints.json holds one hash per variant, so that no network needs to be built. After adding or
changing a variant, write it anew:

    python -m hrjax.weights.fingerprints
"""

import collections
import functools
import hashlib
import json
import pathlib
from collections.abc import Mapping

import numpy as np

from hrjax import models
from hrjax.weights import foreign_names, torch_names

FILE = pathlib.Path(__file__).with_name("fingerprints.json")
HEAD = "final_layer."  # the prefix that all official networks give the layer that makes heatmaps
ANY = 0  # stands for the number of joints, which is not a variant's


def identify(tensors: Mapping[str, tuple[str, np.ndarray]]) -> str:
    """The variant that `foreign_names.translate`'s tensors fit exactly.

    Raises ValueError, which names the nearest variant, unless there is exactly one.
    """
    names = lookup(tensors)
    if len(names) != 1:
        raise ValueError(f"cannot tell which network these weights are of. {propose(tensors)}")
    return names[0]


def lookup(tensors: Mapping[str, tuple[str, np.ndarray]]) -> list[str]:
    """The variants that have just these tensors, whatever the number of joints."""
    key = fingerprint({name: np.shape(x) for name, (_, x) in tensors.items()})
    return [name for rows in load().values() for name, known in rows.items() if known == key]


def propose(tensors: Mapping[str, tuple[str, np.ndarray]]) -> str:
    """A sentence that says which variant the tensors fit, or which one is nearest."""
    names, joints = lookup(tensors), count_joints(tensors)
    if names:
        return f"These weights fit {' and '.join(names)} with num_joints={joints}."
    if joints is None:
        return (
            "These weights have no head for joints; training can start from them "
            "(config.init_from)."
        )
    name, problems = _nearest({key: np.shape(x) for key, (_, x) in tensors.items()})
    return f"These weights fit no variant; the nearest is {name} (problems: {problems})."


def count_joints(tensors: Mapping[str, tuple[str, np.ndarray]]) -> int | None:
    """How many joints the head of a network has; None where there is no head for joints."""
    bias = tensors.get(f"{HEAD}bias")
    return None if bias is None or np.ndim(bias[1]) != 1 else np.shape(bias[1])[0] or None


def fingerprint(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """A hash of tensors' names and shapes that leaves the number of joints out."""
    lines = [f"{name} {shape}" for name, shape in sorted(_any_joints(shapes).items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


@functools.cache
def load() -> dict[str, dict[str, str]]:
    """The committed table: family → variant → fingerprint."""
    return json.loads(FILE.read_text(encoding="utf-8"))


def compute() -> dict[str, dict[str, str]]:
    """The table of today's networks, all of which it builds."""
    table = collections.defaultdict(dict)
    for name, family in models.FAMILIES.items():
        table[family.__name__.rpartition(".")[2]][name] = fingerprint(tensor_shapes(name))
    return dict(table)


@functools.cache
def tensor_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """The shapes of a variant's official tensors, by name without prefix."""
    _, params, stats = models.shapes(name)
    return {
        foreign_names.strip_prefixes(key): torch_names.torch_shape(leaf.shape, axes)
        for key, axes, _, leaf in torch_names.entries(name, {"params": params, "stats": stats})
    }


def _any_joints(shapes):
    return {
        name: (ANY, *shape[1:]) if name.startswith(HEAD) else tuple(shape)
        for name, shape in shapes.items()
    }


def _nearest(shapes):
    """The variant from which the fewest tensors differ, and how many do."""
    shapes = _any_joints(shapes)
    # One variant shows how much a family resembles the file: building all of them takes a while.
    first = {models.FAMILIES[name]: name for name in reversed(models.VARIANTS)}
    alike = {family: len(shapes.keys() & tensor_shapes(name)) for family, name in first.items()}
    counts = {}
    for name, family in models.FAMILIES.items():
        if 2 * alike[family] >= max(alike.values()):
            expected = _any_joints(tensor_shapes(name))
            keys = expected.keys() | shapes.keys()
            counts[name] = sum(expected.get(key) != shapes.get(key) for key in keys)
    nearest = min(counts, key=counts.get)
    return nearest, counts[nearest]


if __name__ == "__main__":
    FILE.write_text(json.dumps(compute(), indent=1) + "\n", encoding="utf-8")

"""Weights of the reference implementations (PyTorch state dicts) as our params and stats."""

import re
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx

from hrjax import models

# Our leaf's name → PyTorch's, and the order of PyTorch's axes in ours.
LEAVES = {
    "kernel": ("weight", (2, 3, 1, 0)),
    "kernels": ("aggregation.weight", (0, 3, 4, 2, 1)),
    "transposed": ("weight", (2, 3, 0, 1)),
    "scale": ("weight", (0,)),
    "bias": ("bias", (0,)),
    "mean": ("running_mean", (0,)),
    "var": ("running_var", (0,)),
}


def from_torch(
    name: str, state_dict: Mapping[str, np.ndarray], **overrides
) -> tuple[nnx.GraphDef, dict, dict]:
    """The evaluation graph, params and stats of `name` with the weights of an official checkpoint.

    `state_dict` holds arrays under the official code's names. All of them must be used and all of
    ours found, in the right shapes; `num_batches_tracked` alone is ignored.
    """
    graph, params, stats = models.shapes(name, **overrides)
    table = models.FAMILIES[name].TORCH_NAMES
    given = {key: x for key, x in state_dict.items() if not key.endswith("num_batches_tracked")}
    problems, used = [], set()

    def fill(tree, path):
        if isinstance(tree, dict):
            return {key: fill(value, (*path, key)) for key, value in tree.items()}
        key, axes = torch_name(path, table)
        used.add(key)
        return _load(given, key, tree.shape, axes, problems)

    filled = fill(params, ()), fill(stats, ())
    problems += [f"unused {key}" for key in given if key not in used]
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ValueError("\n  ".join([f"{count} loading weights of {name}:", *problems]))
    return graph, *filled


def torch_name(path: Sequence[str], table) -> tuple[str, tuple[int, ...]]:
    """The official name of our leaf at `path`, and the order of its axes in ours.

    Each (pattern, replacement) of `table`, in order, is applied to the module's path.
    """
    *module, leaf = path
    name = ".".join(module)
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    torch_leaf, axes = LEAVES[leaf]
    return f"{name}.{torch_leaf}", axes


def _load(given, key, shape, axes, problems):
    if key not in given:
        problems.append(f"missing {key}")
        return None
    array = np.asarray(given[key])
    expected = tuple(shape[axes.index(axis)] for axis in range(len(axes)))
    if array.shape != expected:
        problems.append(f"misshapen {key}: {array.shape}, expected {expected}")
        return None
    return jnp.asarray(array.transpose(axes))

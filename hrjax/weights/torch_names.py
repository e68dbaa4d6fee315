"""The official PyTorch names of our arrays, and the official state dict of a network."""

import math
import re
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from hrjax import models
from hrjax.models.hrformer import relative_positions

# Our leaf's name → PyTorch's, and the order of PyTorch's axes in ours.
LEAVES = {
    "kernel": ("weight", (2, 3, 1, 0)),
    "kernels": ("aggregation.weight", (0, 3, 4, 2, 1)),
    "matrix": ("weight", (1, 0)),
    "relative_position_bias_table": ("relative_position_bias_table", (0, 1)),
    **{name: (name, (0,)) for name in ("layer_scale_1", "layer_scale_2", "layer_scale_3")},
    "transposed": ("weight", (2, 3, 0, 1)),
    "scale": ("weight", (0,)),
    "bias": ("bias", (0,)),
    "mean": ("running_mean", (0,)),
    "var": ("running_var", (0,)),
    # Of fake quantization, under names of our own: no official network has it.
    **{name: (name, ()) for name in ("alpha", "total", "count")},
}
ROUNDING = ".rounding"  # the end of the paths of modules with these leaves


def to_torch(name: str, params: dict, stats: dict) -> dict[str, np.ndarray]:
    """The official state dict of the network `name`, with PyTorch's buffers."""
    state = {}
    for key, axes, _, leaf in entries(name, {"params": params, "stats": stats}):
        state[key] = np.asarray(leaf).transpose(np.argsort(axes))
    for key, array in tuple(state.items()):
        module, _, leaf = key.rpartition(".")
        if leaf == "running_var":
            state[f"{module}.num_batches_tracked"] = np.zeros((), np.int64)
        if leaf == "relative_position_bias_table":
            window = (math.isqrt(len(array)) + 1) // 2  # the table has (2 window - 1)² rows
            state[f"{module}.relative_position_index"] = relative_positions(window)
    return state


def torch_name(path: Sequence[str], table: Sequence[tuple]) -> tuple[str, tuple[int, ...]]:
    """The official name of our leaf at `path`, and the order of its axes in ours.

    Each (pattern, replacement) of `table`, in order, is applied to the module's path.
    """
    *module, leaf = path
    name = ".".join(module)
    end = ROUNDING if name.endswith(ROUNDING) else ""
    name = name.removesuffix(end)
    for pattern, replacement in table:
        name = re.sub(pattern, replacement, name)
    torch_leaf, axes = LEAVES[leaf]
    return f"{name}{end}.{torch_leaf}", axes


def entries(name: str, weights: dict) -> Iterator[tuple[str, tuple[int, ...], tuple, jax.Array]]:
    """For each leaf of {"params", "stats"}: its official name, its axes, its path and itself."""
    table = models.FAMILIES[name].TORCH_NAMES
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        _, *inside = (entry.key for entry in path)
        yield *torch_name(inside, table), path, leaf


def torch_shape(shape: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """PyTorch's shape of our array."""
    return tuple(shape[axes.index(axis)] for axis in range(len(axes)))

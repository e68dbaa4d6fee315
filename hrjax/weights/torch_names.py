"""Weights of the reference implementations as our params and stats, and back."""

import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from hrjax import models
from hrjax.models.hrformer import relative_positions
from hrjax.weights import foreign_names

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
}
HEAD = "final_layer."  # what every official network calls the layer that makes heatmaps
JOINTS = f"{HEAD}bias"


@dataclasses.dataclass(frozen=True)
class Match:
    """A file beside a network: arrays by our paths, and what does not fit, a line for each."""

    arrays: dict[tuple, jax.Array]
    missing: list[str]
    misshapen: list[str]
    unused: list[str]

    @property
    def problems(self) -> list[str]:
        """All lines."""
        return self.misshapen + self.missing + self.unused


def from_torch(
    name: str, state_dict: Mapping[str, np.ndarray], **overrides
) -> tuple[models.Graph, dict, dict]:
    """The evaluation graph, params and stats of `name` with the weights of a published checkpoint.

    `state_dict` holds arrays under the names of the official code, of mmpose or of Paddle, or is
    the dict that holds such a dict. All of them must be used and all of ours found, in the right
    shapes. Averaged weights are preferred where there are two sets.
    """
    graph, params, stats = models.shapes(name, **overrides)
    given = foreign_names.official(state_dict)
    match = _match(name, {"params": params, "stats": stats}, given)
    if match.problems:
        raise ValueError(_report(name, match, given))
    filled = _fill({"params": params, "stats": stats}, match)
    return graph, filled["params"], filled["stats"]


def start_from(
    name: str, weights: dict, state_dict: Mapping[str, np.ndarray]
) -> tuple[dict, list[str]]:
    """`weights` ({"params", "stats"} of `name`) with what a file has of them, to train on from.

    The file may lack some (the head, in weights of a classifier) and hold others; a head for other
    joints is left as it was. The lines say what was absent, left or surplus. Anything else that
    does not fit, or a file with less than half of the network, raises ValueError.
    """
    given = foreign_names.official(state_dict)
    match = _match(name, weights, given)
    wrong = [line for line in match.misshapen if HEAD not in line]
    if wrong or 2 * len(match.arrays) < len(jax.tree.leaves(weights)):
        raise ValueError(_report(name, match, given))
    return _fill(weights, match), match.problems


def to_torch(name: str, params: dict, stats: dict) -> dict[str, np.ndarray]:
    """The official state dict of the network `name`, with PyTorch's buffers."""
    state = {}
    for key, axes, _, leaf in _entries(name, {"params": params, "stats": stats}):
        state[key] = np.asarray(leaf).transpose(np.argsort(axes))
    for key, array in tuple(state.items()):
        module, _, leaf = key.rpartition(".")
        if leaf == "running_var":
            state[f"{module}.num_batches_tracked"] = np.zeros((), np.int64)
        if leaf == "relative_position_bias_table":
            window = (math.isqrt(len(array)) + 1) // 2  # the table has (2 window - 1)² rows
            state[f"{module}.relative_position_index"] = relative_positions(window)
    return state


def identify(state_dict: Mapping[str, np.ndarray]) -> str:
    """The variant that a file fits to the last tensor; raises ValueError unless there is one."""
    given = foreign_names.official(state_dict)
    fits = [name for name, count in _problem_counts(given).items() if not count]
    if len(fits) != 1:
        raise ValueError(f"cannot tell what network the file is of. {_proposal(given)}")
    return fits[0]


def num_joints(state_dict: Mapping[str, np.ndarray]) -> int | None:
    """How many joints the network of a file has; None where it has no head for joints."""
    return _joints(foreign_names.official(state_dict))


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


def _entries(name, weights):
    """For each of our leaves: official name, axes, path, leaf."""
    table = models.FAMILIES[name].TORCH_NAMES
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        _, *inside = (entry.key for entry in path)
        yield *torch_name(inside, table), path, leaf


def _match(name, weights, given):
    arrays, missing, misshapen, used = {}, [], [], set()
    for key, axes, path, leaf in _entries(name, weights):
        bare = foreign_names.bare(key)
        used.add(bare)
        if bare not in given:
            missing.append(f"missing {key}")
            continue
        array = np.asarray(given[bare][1])
        expected = _turned(leaf.shape, axes)
        if array.shape != expected:
            misshapen.append(f"misshapen {key}: {array.shape}, expected {expected}")
            continue
        arrays[path] = array.transpose(axes)
    unused = [f"unused {key}" for bare, (key, _) in given.items() if bare not in used]
    return Match(arrays, missing, misshapen, unused)


def _fill(weights, match):
    def fill(path, leaf):
        if path not in match.arrays:
            return leaf
        array = match.arrays[path]
        # Files of half precision are for storage; parameters are float32 or better.
        return jnp.asarray(array.astype(np.promote_types(array.dtype, np.float32)))

    return jax.tree_util.tree_map_with_path(fill, weights)


def _report(name, match, given):
    count = f"{len(match.problems)} problem{'s' if len(match.problems) > 1 else ''}"
    lines = [f"{count} loading weights of {name}:", *match.problems]
    return "\n  ".join(lines) + f"\n{_proposal(given)}"


def _proposal(given):
    """What to do about a file that does not fit."""
    joints, counts = _joints(given), _problem_counts(given)
    fits = [variant for variant, count in counts.items() if not count]
    if fits:
        return f"The file fits {' and '.join(fits)} with num_joints={joints}."
    if joints is None:
        return "The file has no head for joints; training can start from it (config.init_from)."
    nearest = min(counts, key=counts.get)
    return f"The file fits no variant; the nearest is {nearest} (problems: {counts[nearest]})."


def _joints(given):
    return given[JOINTS][1].shape[0] if JOINTS in given else None


def _problem_counts(given):
    """In how many tensors a file differs from each variant of the families that it is like."""
    shapes = {key: np.shape(x) for key, (_, x) in given.items()}
    joints = shapes.get(JOINTS, (17,))
    # One variant tells how much a family is like the file: making each of all takes a while.
    first = {models.FAMILIES[name]: name for name in reversed(models.VARIANTS)}
    alike = {family: len(shapes.keys() & _tensors(name).keys()) for family, name in first.items()}
    counts = {}
    for name, family in models.FAMILIES.items():
        if 2 * alike[family] < max(alike.values()):
            continue
        expected = {
            key: joints + shape[1:] if key.startswith(HEAD) else shape
            for key, shape in _tensors(name).items()
        }
        keys = expected.keys() | shapes.keys()
        counts[name] = sum(expected.get(key) != shapes.get(key) for key in keys)
    return counts


@functools.cache
def _tensors(name):
    """The bare names and the shapes of the official tensors of a variant."""
    _, params, stats = models.shapes(name)
    entries = _entries(name, {"params": params, "stats": stats})
    return {foreign_names.bare(key): _turned(leaf.shape, axes) for key, axes, _, leaf in entries}


def _turned(shape, axes):
    """PyTorch's shape of our array."""
    return tuple(shape[axes.index(axis)] for axis in range(len(axes)))

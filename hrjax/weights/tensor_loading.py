"""Fills a network's params and stats with the tensors of a file or of another network."""

import dataclasses
import typing
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from hrjax import models
from hrjax.weights import fingerprints, foreign_names, torch_names

SHOWN = 8  # names in a note
LINES = 30  # problems in a message
MAX_MESSAGE = 1000  # characters
Tensors = Mapping[str, tuple[str, np.ndarray]]  # what `foreign_names.translate` returns


def from_torch(
    name: str, state_dict: Mapping[str, np.ndarray], **overrides: typing.Any
) -> tuple[models.Graph, dict, dict]:
    """The evaluation graph, params and stats of `name` with the weights of a published checkpoint.

    `state_dict` holds arrays under the names of the official code, of mmpose or of Paddle, or is a
    dict that holds such a dict. It must have all tensors of the network, in the right shapes, and
    no others. Where it has averaged weights as well, those are used.
    """
    return fill(name, foreign_names.translate(state_dict), **overrides)


def fill(
    name: str,
    tensors: Tensors,
    *,
    training: bool = False,
    quantization: models.Quantization | None = None,
    **overrides: typing.Any,
) -> tuple[models.Graph, dict, dict]:
    """`from_torch` for translated tensors; `training` and `quantization` as in `models.shapes`."""
    graph, params, stats = shapes(name, training=training, quantization=quantization, **overrides)
    weights = {"params": params, "stats": stats}
    comparison = _compare(name, weights, tensors)
    if comparison.problems:
        raise ValueError(_report(name, comparison, tensors))
    filled = _filled(weights, comparison.arrays)
    return graph, filled["params"], filled["stats"]


def shapes(name: str, **overrides: typing.Any) -> tuple[models.Graph, dict, dict]:
    """`models.shapes` of fields that came with weights; raises ValueError if they cannot be."""
    try:
        return models.shapes(name, **overrides)
    except Exception as error:
        fields = ", ".join(f"{key}={value!r}" for key, value in overrides.items())
        raise ValueError(f"cannot build {name} with {fields}: {error}"[:MAX_MESSAGE]) from error


def start_from(name: str, weights: dict, tensors: Tensors) -> tuple[dict, list[str]]:
    """`weights` ({"params", "stats"} of `name`) with the tensors that it shares with a file.

    A head for other joints, or of a classifier, is left out: ours stays as it is. The notes say so,
    and which tensors are missing or not used. If another tensor has a wrong shape, or less than
    half of the network is there, raises ValueError.
    """
    comparison = _compare(name, weights, tensors)
    wrong = [key for key in comparison.misshapen if not _in_head(key)]
    if wrong or 2 * len(comparison.arrays) < len(jax.tree.leaves(weights)):
        raise ValueError(_report(name, comparison, tensors))
    return _filled(weights, comparison.arrays), _differences(weights, comparison, tensors)


def as_tensors(name: str, weights: dict) -> dict[str, tuple[str, np.ndarray]]:
    """{"params", "stats"} of `name` as `foreign_names.translate` returns tensors of a file."""
    tensors = {}
    for key, axes, path, leaf in torch_names.entries(name, weights):
        label = ".".join(str(entry.key) for entry in path[1:])
        array = np.asarray(leaf).transpose(np.argsort(axes))
        tensors[foreign_names.strip_prefixes(key)] = label, array
    return tensors


@dataclasses.dataclass(frozen=True)
class _Comparison:
    """The tensors of a file beside the arrays of a network.

    `arrays` are those that fit, by our path; `missing` are official names, `misshapen` official
    names with what is wrong, and `unused` names in the file.
    """

    arrays: dict[tuple, np.ndarray]
    missing: list[str]
    misshapen: dict[str, str]
    unused: list[str]

    @property
    def problems(self) -> list[str]:
        """A line for each tensor that does not fit."""
        return [
            *self.misshapen.values(),
            *(f"missing {key}" for key in self.missing),
            *(f"unused {key}" for key in self.unused),
        ]


def _compare(name, weights, tensors):
    arrays, missing, misshapen, used = {}, [], {}, set()
    for key, axes, path, leaf in torch_names.entries(name, weights):
        plain_key = foreign_names.strip_prefixes(key)
        used.add(plain_key)
        if plain_key not in tensors:
            missing.append(key)
            continue
        array = np.asarray(tensors[plain_key][1])
        expected = torch_names.torch_shape(leaf.shape, axes)
        if array.shape != expected:
            shape = foreign_names.shorten(str(array.shape))
            misshapen[key] = f"{key} is {shape}, expected {expected}"
            continue
        if not _is_usable(array):
            misshapen[key] = f"{key} is {array.dtype}, not finite floating-point numbers"
            continue
        arrays[path] = array.transpose(axes)
    unused = [label for key, (label, _) in tensors.items() if key not in used]
    return _Comparison(arrays, missing, misshapen, list(map(foreign_names.shorten, unused)))


def _is_usable(array):
    """Whether an array holds finite floating-point numbers."""
    if not jnp.issubdtype(array.dtype, np.floating):
        return False
    with np.errstate(all="ignore"):
        # Where one number is not finite, neither is the sum; it may overflow by itself, too.
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())


def _filled(weights, arrays):
    def fill_leaf(path, leaf):
        if path not in arrays:
            return leaf
        # Files of half precision are for storage; parameters are float32 or better.
        dtype = np.promote_types(arrays[path].dtype, leaf.dtype)
        return jnp.asarray(arrays[path].astype(dtype))

    return jax.tree_util.tree_map_with_path(fill_leaf, weights)


def _differences(weights, comparison, tensors):
    """What does not come from the tensors, the head first: up to three notes."""
    missing = [key for key in comparison.missing if not _in_head(key)]
    notes = []
    if any(map(_in_head, [*comparison.misshapen, *comparison.missing])):
        notes.append(f"the head starts fresh: {_why_fresh(weights, comparison, tensors)}")
    if missing:
        notes.append(f"not in these weights: {_shortened(missing)}")
    if comparison.unused:
        notes.append(f"not used: {_shortened(comparison.unused)}")
    return notes


def _why_fresh(weights, comparison, tensors):
    theirs, ours = fingerprints.count_joints(tensors), _head_width(weights)
    if theirs is None:
        return "these weights have no head for joints"
    if theirs != ours:
        return f"{ours} joints instead of {theirs}"
    missing = (f"missing {key}" for key in comparison.missing)
    return "; ".join(line for line in (*comparison.misshapen.values(), *missing) if _in_head(line))


def _shortened(names):
    more = f", … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _head_width(weights):
    return jax.tree.leaves(weights["params"]["final"])[0].shape[-1]


def _in_head(text):
    return fingerprints.HEAD in text


def _report(name, comparison, tensors):
    problems = comparison.problems
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    more = [f"… and {len(problems) - LINES} more"] if len(problems) > LINES else []
    lines = [f"{count} loading weights of {name}:", *problems[:LINES], *more]
    return "\n  ".join(lines) + f"\n{fingerprints.propose(tensors)}"

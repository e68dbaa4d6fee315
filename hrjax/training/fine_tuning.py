"""Parts of a network that stay as they are, or that move more slowly than the rest.

A part is named by its path in the nested dicts of params and stats (`models.backbone_parts`).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from hrjax.training.parameter_packing import Packed, pack

Path = tuple[str, ...]


def divide(tree: dict, paths: Sequence[Path]) -> tuple[dict, dict]:
    """The tree without its parts at `paths`, and these parts alone; `join` inverts it."""
    rest, parts = tree, {}
    for path in paths:
        part = _get(tree, path)
        if part is not None:
            rest, parts = _without(rest, path), join(parts, _nested(path, part))
    return rest, parts


def join(first: dict, second: dict) -> dict:
    """One tree with the entries of both, which have no leaf in common."""
    joined = dict(first)
    for key, value in second.items():
        joined[key] = join(first[key], value) if key in first else value
    return joined


def keep(new: dict, old: dict, paths: Sequence[Path]) -> dict:
    """`new` with the parts at `paths` as they were in `old`."""
    return join(divide(new, paths)[0], divide(old, paths)[1])


def slow_down(updates: Packed, params: dict, paths: Sequence[Path], factor: float) -> Packed:
    """Packed updates of `params`, those of the parts at `paths` multiplied by `factor`.

    The result is that of a learning rate which is so much lower there: in Adam, AdamW and SGD an
    update is proportional to it, weight decay included.
    """
    if factor == 1:
        return updates
    rest, slow = divide(params, paths)
    ones = jax.tree.map(jnp.ones_like, rest)
    factors = join(ones, jax.tree.map(lambda x: jnp.full_like(x, factor), slow))
    factors = pack(factors, whole=updates.plan.whole)
    return jax.tree.map(jnp.multiply, updates, factors)


def _get(tree, path):
    for key in path:
        if key not in tree:
            return None
        tree = tree[key]
    return tree


def _nested(path, part):
    for key in reversed(path):
        part = {key: part}
    return part


def _without(tree, path):
    key, *rest = path
    others = {name: value for name, value in tree.items() if name != key}
    inside = _without(tree[key], rest) if rest else {}
    return {**others, key: inside} if inside else others

"""Packs small arrays into one vector, so that an operation on each of them becomes one operation.

A network has a thousand or more parameter arrays, most of them of a few hundred numbers. An
optimizer and a check for NaN that visit them one by one make up nearly half of the operations in
HRNeXt's training step.
"""

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
SMALL = 2**15  # elements; copying larger arrays would cost more than it saves


def pack(tree: PyTree) -> dict:
    """The arrays of a tree as {"small": {name: vector}, "large": {path: array}}.

    A vector holds all small arrays of one name (kernel, bias, scale, …) in the order of the tree.
    Names are kept because optimizers may treat some parameters differently.
    """
    small, large = {}, {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if x.size > SMALL:
            large[jax.tree_util.keystr(path)] = x
        else:
            small.setdefault(_name(path), []).append(x.ravel())
    return {"small": {name: jnp.concatenate(xs) for name, xs in small.items()}, "large": large}


def unpack(packed: dict, like: PyTree) -> PyTree:
    """The tree that was packed, with the structure and shapes of `like`."""
    starts = dict.fromkeys(packed["small"], 0)

    def restore(path, x):
        if x.size > SMALL:
            return packed["large"][jax.tree_util.keystr(path)]
        name = _name(path)
        start = starts[name]
        starts[name] = end = start + x.size
        return packed["small"][name][start:end].reshape(x.shape)

    return jax.tree_util.tree_map_with_path(restore, like)


def _name(path) -> str:
    return str(path[-1].key)

"""Small arrays side by side in one vector, so that what is done to each of them is done once.

A network has a thousand parameters and more, most of them a few hundred numbers. An optimizer
and a check for NaN that go through them one by one are nearly half of the operations of HRNeXt's
training step.
"""

import jax
import jax.numpy as jnp

SMALL = 2**15  # numbers; moving larger arrays about would cost more than it saves


def pack(tree) -> dict:
    """The arrays of a tree: {"small": {name: vector}, "large": {path: array}}.

    A vector holds all small arrays of one name (kernel, bias, scale …), in the tree's order; names
    stay in the paths because optimizers may treat some parameters otherwise than the rest.
    """
    small, large = {}, {}
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        if x.size > SMALL:
            large[jax.tree_util.keystr(path)] = x
        else:
            small.setdefault(_name(path), []).append(x.ravel())
    return {"small": {name: jnp.concatenate(xs) for name, xs in small.items()}, "large": large}


def unpack(packed: dict, like):
    """The tree that `pack` took apart, of the structure and the shapes of `like`."""
    starts = dict.fromkeys(packed["small"], 0)

    def take(path, x):
        if x.size > SMALL:
            return packed["large"][jax.tree_util.keystr(path)]
        name = _name(path)
        start = starts[name]
        starts[name] = end = start + x.size
        return packed["small"][name][start:end].reshape(x.shape)

    return jax.tree_util.tree_map_with_path(take, like)


def _name(path) -> str:
    return str(path[-1].key)

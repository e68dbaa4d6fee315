"""Packs the arrays of a tree into a few vectors, so that an operation on each becomes a few in all.

A network has a thousand or more parameter arrays, most of them of a few hundred numbers. An
optimizer and a check for NaN that visit them one by one make up nearly half of the operations in
HRNeXt's training step on a CPU, and of the kernels in HRNet's on a GPU.
"""

import collections
import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

PyTree = Any
SMALL = 2**15  # elements; on a CPU, copying larger arrays would cost more than it saves
MANY = 384  # arrays that XLA often cuts from a vector in a few kernels
PART = 128  # arrays that it cuts so in the steps of all families


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """How a tree is packed: its structure, and the (name, path, shape) of each array.

    If `whole`, all arrays of a name share a vector, in the order of memory in which a GPU computes
    with them; otherwise large arrays stay apart. There is one plan for each kind of tree, so that
    it takes no time to compare two.
    """

    structure: jax.tree_util.PyTreeDef
    arrays: tuple[tuple[str, str, tuple[int, ...]], ...]
    whole: bool

    def shares(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape shares a vector with others of its name."""
        return self.whole or math.prod(shape) <= SMALL

    @functools.cached_property
    def order(self) -> list[int]:
        """The numbers of the arrays in the order in which they are packed: that of the tree.

        In a vector that `copy_in_parts` copies, the smallest are first: a GPU cuts those of one
        size in one kernel if they are in one part.
        """
        counts = collections.Counter(name for name, _, _ in self.arrays)

        def rank(place):
            name, _, shape = self.arrays[place]
            return math.prod(shape) if self.whole and counts[name] > MANY else 0

        return sorted(range(len(self.arrays)), key=rank)


_plan = functools.cache(Plan)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["small", "large"], meta_fields=["plan"]
)
@dataclasses.dataclass(frozen=True)
class Packed:
    """The arrays of a tree as vectors.

    `small` has a vector of each name (kernel, bias, scale, …) with its arrays in the order of the
    plan, and `large` the arrays that stay apart, by path. Names are kept because optimizers may
    treat some parameters differently.
    """

    small: dict[str, jax.Array]
    large: dict[str, jax.Array]
    plan: Plan

    def unpack(self) -> PyTree:
        """The tree that was packed."""
        starts = dict.fromkeys(self.small, 0)
        arrays = dict.fromkeys(range(len(self.plan.arrays)))
        for place in self.plan.order:
            name, path, shape = self.plan.arrays[place]
            if not self.plan.shares(shape):
                arrays[place] = self.large[path]
                continue
            start = starts[name]
            starts[name] = end = start + math.prod(shape)
            arrays[place] = _from_row(self.small[name][start:end], shape, self.plan.whole)
        return jax.tree.unflatten(self.plan.structure, arrays.values())


def pack(tree: PyTree, *, whole: bool = False) -> Packed:
    """Packs a tree of arrays; `Packed.unpack` inverts it. For `whole` see `Plan`."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    plan = _plan_of(leaves, structure, whole)
    small, large = {}, {}
    for place in plan.order:
        (name, path, shape), (_, x) = plan.arrays[place], leaves[place]
        if plan.shares(shape):
            small.setdefault(name, []).append(_as_row(x, whole))
        else:
            large[path] = x
    return Packed({name: jnp.concatenate(rows) for name, rows in small.items()}, large, plan)


def _plan_of(leaves, structure, whole):
    named = ((str(path[-1].key), jax.tree_util.keystr(path), x.shape) for path, x in leaves)
    return _plan(structure, tuple(named), whole)


def copy_in_parts(tree: PyTree) -> PyTree:
    """The tree with its arrays cut from copies of parts of the vectors they were unpacked from.

    For a GPU, which then cuts and converts the up to `PART` arrays of a part in a few kernels. Of a
    vector that many more arrays are cut from, XLA makes a kernel for each. Parts have equal numbers
    of arrays. Names of up to `MANY` arrays are left as they are.
    """
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    plan = _plan_of(leaves, structure, whole=True)
    arrays, places = [x for _, x in leaves], {}
    for place in plan.order:
        places.setdefault(plan.arrays[place][0], []).append(place)
    many = {name: named for name, named in places.items() if len(named) > MANY}
    for name, named in many.items():
        for part in np.array_split(named, math.ceil(len(named) / PART)):
            packed = pack([{name: arrays[place]} for place in part], whole=True)
            copy = jax.lax.optimization_barrier(packed).unpack()
            for place, entry in zip(part, copy, strict=True):
                arrays[place] = entry[name]
    return jax.tree.unflatten(structure, arrays)


def unpack_all(tree: PyTree) -> PyTree:
    """The tree with every `Packed` in it unpacked."""
    return _map_packed(Packed.unpack, tree)


def repack_all(tree: PyTree, *, whole: bool) -> PyTree:
    """The tree with every `Packed` in it packed as `whole` says."""

    def repack(packed):
        return packed if packed.plan.whole == whole else pack(packed.unpack(), whole=whole)

    return _map_packed(repack, tree)


def holds_packed(tree: PyTree) -> bool:
    """Whether a tree has a `Packed` in it."""
    return any(map(_is_packed, jax.tree.leaves(tree, is_leaf=_is_packed)))


def _map_packed(change, tree):
    return jax.tree.map(lambda x: change(x) if _is_packed(x) else x, tree, is_leaf=_is_packed)


def _is_packed(x):
    return isinstance(x, Packed)


def _as_row(x, whole):
    return (x.transpose(3, 0, 1, 2) if whole and _outputs_first(x.shape) else x).ravel()


def _from_row(row, shape, whole):
    if not (whole and _outputs_first(shape)):
        return row.reshape(shape)
    return row.reshape(shape[3], *shape[:3]).transpose(1, 2, 3, 0)


def _outputs_first(shape):
    """Whether an array of this shape is a kernel that cuDNN reads output by output."""
    return len(shape) == 4 and shape[0] > 1


def _to_dict(packed):
    return {"small": packed.small, "large": packed.large}


def _from_dict(packed, items):
    restored = serialization.from_state_dict(_to_dict(packed), items)
    return dataclasses.replace(packed, **restored)


# In a checkpoint it is two dicts.
serialization.register_serialization_state(Packed, _to_dict, _from_dict)

"""Values of a traced program, and the order in which tensors of the graph store their axes.

JAX computes on NHWC and ONNX on NCHW. So each value knows which of its axes each stored axis is:
transposing relabels axes, and a tensor is transposed only where an operation needs another order.
Stored axes of size 1 broadcast, and an axis that is not stored at all has size 1 or is repeated.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hrjax.export.translation.onnx_graph import Graph

Layout = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Value:
    """An array of `shape` in JAX, stored in `data`: the name of a tensor, or a constant.

    The stored axis i has `sizes[i]` entries and is the array's axis `layout[i]`; None for one of
    size 1 that is none of them. `label` is what the constant is called in the network.
    """

    data: str | np.ndarray
    shape: tuple[int, ...]
    dtype: np.dtype
    layout: Layout
    sizes: tuple[int, ...]
    label: str = ""

    @property
    def is_constant(self) -> bool:
        """Whether the value is known, not a tensor of the graph."""
        return not isinstance(self.data, str)

    @property
    def real(self) -> list[int]:
        """The array's axes that are stored with more than one entry, in the order of storage."""
        return [axis for axis, size in zip(self.layout, self.sizes, strict=True) if size != 1]

    def place(self, axis: int) -> int | None:
        """Where an axis is stored; None where it is not."""
        return self.layout.index(axis) if axis in self.layout else None

    def relabeled(self, new: dict[int, int], shape: Sequence[int]) -> "Value":
        """The same tensor as an array of `shape`, whose axis `new[i]` is what was the axis i."""
        layout = tuple(new.get(axis) for axis in self.layout)
        return dataclasses.replace(self, shape=tuple(shape), layout=layout)


def constant(array: np.ndarray, label: str = "") -> Value:
    """The value of a known array."""
    array = np.asarray(array)
    axes = tuple(range(array.ndim))
    return Value(array, array.shape, array.dtype, axes, array.shape, label)


def stored(name: str, like: Value, layout: Layout, sizes: Sequence[int]) -> Value:
    """The array of `like` in another tensor."""
    return dataclasses.replace(like, data=name, layout=layout, sizes=tuple(sizes))


def full_array(value: Value) -> np.ndarray:
    """The array of a constant, in its own shape."""
    array = arranged_array(value, tuple(range(len(value.shape))))
    return np.broadcast_to(array, value.shape)


def arranged_array(value: Value, layout: Layout) -> np.ndarray:
    """A constant with its axes stored as `layout` says."""
    places = [i for axis in layout for i in [value.place(axis)] if i is not None]
    places = [i for i in places if value.sizes[i] != 1]
    rest = [i for i in range(len(value.sizes)) if i not in places]
    return value.data.transpose(places + rest).reshape(sizes_in(value, layout))


def sizes_in(value: Value, layout: Layout) -> tuple[int, ...]:
    """The stored sizes of the value in another layout, which must have all its real axes."""
    lacking = [axis for axis in value.real if axis not in layout]
    if lacking:
        raise ValueError(f"axes {lacking} of {value.shape} have no place among {layout}")
    places = [None if axis is None else value.place(axis) for axis in layout]
    return tuple(1 if i is None else value.sizes[i] for i in places)


def name_of(graph: Graph, value: Value) -> str:
    """The name of the tensor, as it is stored."""
    return graph.constant(value.data, value.label) if value.is_constant else value.data


def arrange(graph: Graph, value: Value, layout: Layout) -> str:
    """The name of a tensor that stores the axes of the value in the order of `layout`."""
    sizes = sizes_in(value, layout)
    if value.is_constant:
        same = layout == value.layout
        array = value.data if same else arranged_array(value, layout)
        return graph.constant(array, value.label)
    name = value.data
    order = [axis for axis in layout if axis in value.real]
    now = value.sizes
    if order != value.real:
        places = _permutation(value, layout)
        (name,) = graph.add("Transpose", [name], perm=places)
        now = tuple(value.sizes[i] for i in places)
    if now != sizes:
        (name,) = graph.add("Reshape", [name, graph.sizes(sizes)])
    return name


def _permutation(value, layout):
    """The stored axes in the order of `layout`, with spare ones of size 1 where it has them."""
    ones = [i for i, size in enumerate(value.sizes) if size == 1]
    places = []
    for axis in layout:
        place = None if axis is None else value.place(axis)
        if place is not None and value.sizes[place] != 1:
            places.append(place)
        elif ones:
            places.append(ones.pop(0))
    return places + ones


def expand(graph: Graph, value: Value, axes: Sequence[int]) -> Value:
    """The value with these axes stored in full: none of them is broadcast any more."""
    missing = [axis for axis in axes if value.shape[axis] != 1 and axis not in value.real]
    if not missing:
        return value
    if any(graph.is_batch(value.shape[axis]) for axis in missing):
        raise ValueError(f"a constant of shape {value.shape} cannot be repeated for each sample")
    layout = value.layout
    for axis in missing:
        layout = insert(layout, axis)
    sizes = tuple(
        value.shape[axis] if axis in missing else size
        for axis, size in zip(layout, sizes_in(value, layout), strict=True)
    )
    if value.is_constant:
        array = np.broadcast_to(arranged_array(value, layout), sizes)
        return dataclasses.replace(value, data=array, layout=layout, sizes=sizes)
    # Sizes of 1 leave an axis as it is.
    repeat = [value.shape[axis] if axis in missing else 1 for axis in layout]
    (name,) = graph.add("Expand", [arrange(graph, value, layout), graph.integers(repeat)])
    return stored(name, value, layout, sizes)


def insert(layout: Layout, axis: int) -> Layout:
    """`layout` with one more axis, behind the one that precedes it in the array."""
    if axis in layout:
        return layout
    before = [other for other in layout if other is not None and other < axis]
    place = layout.index(max(before)) + 1 if before else 0
    return (*layout[:place], axis, *layout[place:])


def common_layout(values: Sequence[Value]) -> Layout:
    """The order in which to combine values of one shape: that of the largest tensor."""
    tensors = [value for value in values if not value.is_constant] or list(values)

    def rank(value):
        labels = [axis for axis in value.layout if axis is not None]
        return math.prod(value.sizes), labels != sorted(labels)

    layout = max(tensors, key=rank).layout
    for value in values:
        for axis in sorted(value.real):
            layout = insert(layout, axis)
    return layout


def fit(graph: Graph, value: Value, layout: Layout) -> str:
    """The name of a tensor that broadcasts against tensors stored in the order of `layout`."""
    if value.is_constant and value.data.size == 1:
        return graph.constant(value.data.reshape(()), value.label)
    rank = len(value.sizes)
    pairs = zip(value.sizes, value.layout, layout[len(layout) - rank :], strict=True)
    if rank <= len(layout) and all(size == 1 or a == b for size, a, b in pairs):
        return name_of(graph, value)
    return arrange(graph, value, layout)


def combined_sizes(values: Sequence[Value], layout: Layout) -> tuple[int, ...]:
    """The stored sizes of what values that broadcast against each other are combined to."""
    columns = zip(*(sizes_in(value, layout) for value in values), strict=True)
    return tuple(max(column) for column in columns)

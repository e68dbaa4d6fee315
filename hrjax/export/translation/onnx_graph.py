"""An ONNX graph under construction: nodes, constants and names."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass
class Node:
    """An operation: the names of its inputs and outputs, and its attributes.

    `summed` is how many entries a sum adds, by which a division makes it a mean.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    summed: int = 0


@dataclasses.dataclass
class Body:
    """What is done for each sample: an operation, and the shapes and the dtype of its tensors."""

    node: Node
    shapes: dict[str, list[int]]
    dtype: np.dtype


@dataclasses.dataclass
class Graph:
    """Nodes in order and constants by name.

    `batch` is the size that stands for the number of samples in shapes, a large prime whose
    multiples occur nowhere else, and `samples` that number, 0 for any.
    """

    batch: int
    samples: int = 0
    nodes: list[Node] = dataclasses.field(default_factory=list)
    constants: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    outputs: list[str] = dataclasses.field(default_factory=list)
    _known: dict = dataclasses.field(default_factory=dict)
    _counts: dict = dataclasses.field(default_factory=dict)

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        *,
        count: int = 1,
        label: str = "",
        summed: int = 0,
        **attributes: Any,
    ) -> list[str]:
        """The outputs of an operation; of the one that is there already if it is the same."""
        key = (op, tuple(inputs), count, repr(sorted(attributes.items())))
        if key not in self._known:
            name = self._name(label or op)
            outputs = [name] if count == 1 else [f"{name}_{i}" for i in range(count)]
            self.nodes.append(Node(op, list(inputs), outputs, attributes, summed))
            self._known[key] = outputs
        return self._known[key]

    def for_each_sample(
        self,
        op: str,
        inputs: Sequence[str],
        shapes: Sequence[tuple[int, ...]],
        dtype: np.dtype,
        *,
        label: str = "",
        **attributes: Any,
    ) -> list[str]:
        """The outputs of an operation on each entry of the first axis of the inputs.

        `shapes` are those of an entry of each input, and of the output.
        """
        shapes = {f"{label or op}.{i}": [*map(int, shape)] for i, shape in enumerate(shapes)}
        *names, result = shapes
        body = Body(Node(op, names, [result], attributes), shapes, np.dtype(dtype))
        return self.add("Scan", inputs, label=label, num_scan_inputs=len(inputs), body=body)

    def constant(self, array: np.ndarray, label: str = "", *, owner: str = "") -> str:
        """The name of a constant; equal ones are stored once, or once for each `owner`."""
        array = np.array(array, order="C")
        key = (str(array.dtype), array.shape, hashlib.blake2b(array).digest(), owner)
        if key not in self._known:
            self._known[key] = self._name(label or "constant")
            self.constants[self._known[key]] = array
        return self._known[key]

    def sizes(self, sizes: Iterable[int]) -> str:
        """A constant with the sizes for a Reshape."""
        numbers = [self.number(size, -1) for size in sizes]
        if numbers.count(-1) > 1:
            raise ValueError("two axes of one array depend on the number of samples")
        return self.integers(numbers)

    def integers(self, numbers: Iterable[int]) -> str:
        """A constant of 64-bit integers, as shapes, axes and bounds are."""
        return self.constant(np.array([*numbers], np.int64), "integers")

    def number(self, size: int, unknown: Any) -> Any:
        """A size in the graph; `unknown` for one that grows with any number of samples."""
        if not self.is_batch(size):
            return size
        return size // self.batch * self.samples if self.samples else unknown

    def is_batch(self, size: int) -> bool:
        """Whether an axis of this size grows with the number of samples."""
        return size % self.batch == 0 and size > 0

    def _name(self, label):
        number = self._counts[label] = self._counts.get(label, 0) + 1
        return label if number == 1 else f"{label}_{number}"

"""Rewrites a graph into fewer operations that compute the same."""

import math

import numpy as np

from hrjax.export.translation.onnx_graph import Graph, Node

NEUTRAL = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1, "Max": -math.inf, "Min": math.inf}
WEIGHTED = ("Conv", "ConvTranspose", "Gemm")  # operations with weights and a bias


def simplify(graph: Graph) -> None:
    """Rewrites the graph in place, until nothing changes."""
    view = _View(graph)
    rules = (_neutral, _reshapes, _mean, _softmax, _affine_pair, _into_weights)
    while sum(rule(view, node) for node in [*graph.nodes] for rule in rules if node.op):
        view.refresh()
    used = {name for node in graph.nodes for name in node.inputs}
    graph.constants = {name: x for name, x in graph.constants.items() if name in used}


class _View:
    """A graph with the node that makes each tensor and the number of its readers."""

    def __init__(self, graph):
        self.graph = graph
        self.refresh()

    def refresh(self):
        """Drops what nothing reads, and counts anew."""
        nodes, needed = [], set(self.graph.outputs)
        for node in reversed(self.graph.nodes):
            if node.op and needed & {*node.outputs}:
                nodes.append(node)
                needed |= {*node.inputs}
        self.graph.nodes = nodes[::-1]
        self.maker = {name: node for node in nodes for name in node.outputs}
        self.readers = {}
        for node in nodes:
            for name in node.inputs:
                self.readers[name] = self.readers.get(name, 0) + 1
        for name in self.graph.outputs:
            self.readers[name] = self.readers.get(name, 0) + 1

    def constant(self, name):
        """A constant, or None."""
        return self.graph.constants.get(name)

    def made_by(self, name, *ops):
        """The node that makes a tensor for one reader alone, if it is one of these operations."""
        node = self.maker.get(name)
        return node if node and node.op in ops and self.readers[name] == 1 else None

    def replace(self, node, name):
        """Lets everything that reads the output of a node read another tensor."""
        (old,) = node.outputs
        if old in self.graph.outputs:
            return False
        for other in self.graph.nodes:
            other.inputs = [name if entry == old else entry for entry in other.inputs]
        self.readers[name] = self.readers.get(name, 0) + self.readers.get(old, 0) - 1
        node.op = ""
        return True


def _operands(view, node):
    """The tensor and the constant of an operation on both, and whether the constant is second."""
    first, second = (view.constant(name) for name in node.inputs)
    if (first is None) == (second is None):
        return None, None, False
    return (node.inputs[0], second, True) if first is None else (node.inputs[1], first, False)


def _neutral(view, node):
    """x + 0, x * 1, max(x, -inf)."""
    if node.op not in NEUTRAL or len(node.inputs) != 2:
        return False
    name, number, second = _operands(view, node)
    if number is None or number.size != 1 or number.flat[0] != NEUTRAL[node.op]:
        return False
    return (second or node.op not in ("Sub", "Div")) and view.replace(node, name)


def _reshapes(view, node):
    """A reshape of a reshape."""
    before = view.maker.get(node.inputs[0]) if node.op == "Reshape" else None
    if before is None or before.op != "Reshape":
        return False
    node.inputs[0] = before.inputs[0]
    return True


def _mean(view, node):
    """A sum that is divided by the number of what it sums."""
    if node.op not in ("Div", "Mul"):
        return False
    name, number, second = _operands(view, node)
    total = number is not None and second and view.made_by(name, "ReduceSum")
    if not total or number.size != 1:
        return False
    count = float(number.flat[0]) if node.op == "Div" else 1 / float(number.flat[0])
    if not math.isclose(count, total.summed, rel_tol=1e-6):
        return False
    total.op = "ReduceMean"
    return view.replace(node, name)


def _softmax(view, node):
    """exp(x - max x) / sum exp(x - max x) along one axis."""
    if node.op != "Div":
        return False
    top, total = (view.maker.get(name) for name in node.inputs)
    if not top or not total or top.op != "Exp" or total.op != "ReduceSum":
        return False
    shifted, axes = view.maker[top.inputs[0]], view.constant(total.inputs[1])
    if shifted.op != "Sub" or total.inputs[0] != top.outputs[0] or len(axes) != 1:
        return False
    highest = view.maker.get(shifted.inputs[1])
    if not highest or highest.op != "ReduceMax" or highest.inputs[0] != shifted.inputs[0]:
        return False
    if [*view.constant(highest.inputs[1])] != [*axes]:
        return False
    node.op, node.inputs, node.attributes = "Softmax", [shifted.inputs[0]], {"axis": int(axes[0])}
    return True


def _affine(view, node):
    """The tensor of an operation with a constant, and the factor and the shift it amounts to."""
    if node.op not in ("Add", "Sub", "Mul", "Div"):
        return None
    name, number, second = _operands(view, node)
    if number is None or number.dtype.kind != "f" or (node.op == "Div" and not second):
        return None
    number = number.astype(np.float64)
    if node.op in ("Mul", "Div"):
        return name, number if node.op == "Mul" else 1 / number, np.zeros(())
    if node.op == "Add":
        return name, np.ones(()), number
    return (name, np.ones(()), -number) if second else (name, -np.ones(()), number)


def _affine_pair(view, node):
    """Two operations with constants in a row, of which the second or both become redundant."""
    outer = _affine(view, node)
    before = outer and view.made_by(outer[0], "Add", "Sub", "Mul", "Div")
    inner = before and _affine(view, before)
    if not inner or _is_pair(node, before):
        return False
    name, factor, shift = inner
    factor, shift = factor * outer[1], shift * outer[1] + outer[2]
    dtype = view.constant(next(n for n in node.inputs if n != outer[0])).dtype
    names = [view.graph.constant(x.astype(dtype)) for x in (factor, shift)]
    if not shift.any():
        before.op, before.inputs = "Mul", [name, names[0]]
        return view.replace(node, before.outputs[0])
    before.op, before.inputs = "Mul", [name, names[0]]
    node.op, node.inputs = "Add", [before.outputs[0], names[1]]
    return True


def _is_pair(node, before):
    return before.op == "Mul" and node.op in ("Add", "Sub")


def _into_weights(view, node):
    """A factor and a shift of each channel after a convolution or a product."""
    affine = _affine(view, node)
    conv = affine and view.made_by(affine[0], *WEIGHTED)
    kernel = conv and view.constant(conv.inputs[1])
    if kernel is None:
        return bool(conv) and _bias_of_rounded(view, node, affine, conv)
    outputs = kernel.shape[0] if conv.op == "Conv" else kernel.shape[1]
    factor, shift = (_by_channel(x, outputs, kernel.ndim) for x in affine[1:])
    if factor is None or shift is None:
        return False
    bias = view.constant(conv.inputs[2]).astype(np.float64) if len(conv.inputs) > 2 else 0.0
    ones = [1] * (kernel.ndim - 2)
    shape = (-1, 1, *ones) if conv.op == "Conv" else (1, -1, *ones)
    scaled = (kernel * factor.reshape(shape)).astype(kernel.dtype)
    moved = (bias * factor + shift).astype(kernel.dtype)
    weights = view.graph.constant(scaled, conv.inputs[1])
    conv.inputs[1:] = [weights, view.graph.constant(moved, f"{conv.outputs[0]}.bias")]
    return view.replace(node, conv.outputs[0])


def _bias_of_rounded(view, node, affine, conv):
    """A shift of each channel after a convolution in eight bits and without bias.

    It becomes the bias if it is a whole number of the steps that the convolution adds in. Runtimes
    would round others to these steps.
    """
    makers = [view.maker.get(name) for name in conv.inputs]
    if conv.op != "Conv" or len(makers) != 2:
        return False
    if not all(maker and maker.op == "DequantizeLinear" for maker in makers):
        return False
    of_input, of_weights = (view.constant(maker.inputs[1]) for maker in makers)
    kernel, (_, factor, shift) = view.constant(makers[1].inputs[0]), affine
    shift = _by_channel(shift, kernel.shape[0], kernel.ndim)
    if shift is None or np.any(factor != 1):
        return False
    steps = of_input * of_weights
    levels = np.rint(np.divide(shift, steps, out=np.zeros(len(steps)), where=steps > 0))
    if np.any(np.abs(levels) >= 2**31) or not np.allclose(levels * steps, shift, rtol=1e-6, atol=0):
        return False
    name = f"{conv.outputs[0]}.bias"
    numbers = {
        name: levels.astype(np.int32),
        f"{name}.step": steps,
        "zeros": np.zeros_like(levels, np.int32),
    }
    inputs = [view.graph.constant(x, label) for label, x in numbers.items()]
    bias = Node("DequantizeLinear", inputs, [f"{name}.rounded"], {"axis": 0})
    view.graph.nodes.insert(view.graph.nodes.index(conv), bias)
    conv.inputs += bias.outputs
    return view.replace(node, conv.outputs[0])


def _by_channel(number, outputs, rank):
    """A constant as one number for each channel of a tensor of this rank; None if it is not one."""
    shape = (1,) * (rank - number.ndim) + number.shape
    if number.ndim > rank or any(size != 1 for i, size in enumerate(shape) if i != 1):
        return None
    return np.broadcast_to(number.reshape(-1), outputs) if shape[1] in (1, outputs) else None

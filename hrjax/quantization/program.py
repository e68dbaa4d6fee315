"""The parts of an exported program that can be computed in eight bits."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

try:
    import onnx
    from onnx import numpy_helper
except ImportError as error:
    raise ImportError(
        "quantization needs the packages onnx and onnxruntime: pip install 'hrjax[export]'"
    ) from error

# Operations with weights, and the axis of the weights with the output channels.
CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
UNNAMED = "constant"  # what the names of constants begin with that are not a network's weights


@dataclasses.dataclass(frozen=True)
class Layer:
    """A node with weights, and the positive part that follows it if it does.

    `weights` is the name of its constant, and `size` the number of entries. `tensors` are what is
    rounded where the layer is in eight bits: what it reads, and what it or the positive part gives.
    `output` is what the node itself gives.
    """

    nodes: tuple[str, ...]
    op: str
    weights: str
    size: int
    tensors: tuple[str, str]
    output: str

    @property
    def name(self) -> str:
        """The name in the network, such as stem.conv1.conv."""
        return self.nodes[0]


def layers(model: onnx.ModelProto) -> list[Layer]:
    """The layers with weights in the order of computation; decoding has none.

    Raises ValueError where the program has none in float32, or is quantized already.
    """
    kinds = {node.op_type for node in model.graph.node}
    if "QuantizeLinear" in kinds:
        raise ValueError("the program is in eight bits already; start from one in float32")
    sizes = {
        tensor.name: math.prod(tensor.dims)
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and not tensor.name.startswith(UNNAMED)
    }
    readers = _readers(model.graph)
    found = [
        _layer(node, sizes[node.input[1]], readers)
        for node in model.graph.node
        if node.op_type in CHANNEL_AXIS and node.input[1] in sizes
    ]
    if not found:
        raise ValueError(
            "the program has no layers with weights in float32 to quantize; start from one that "
            "was exported in float32"
        )
    return found


def _readers(graph):
    """The nodes that read each tensor; None stands for a result of the program."""
    readers = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return readers


def _layer(node, size, readers):
    nodes, output = [node.name], node.output[0]
    following = readers.get(output, [])
    if len(following) == 1 and following[0] is not None and following[0].op_type == "Relu":
        nodes.append(following[0].name)
        (output,) = following[0].output
    tensors = node.input[0], output
    return Layer(tuple(nodes), node.op_type, node.input[1], size, tensors, node.output[0])


def arrays(model: onnx.ModelProto, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Constants of the program by name."""
    wanted = set(names)
    return {x.name: numpy_helper.to_array(x) for x in model.graph.initializer if x.name in wanted}


def rounded_weights(weights: np.ndarray, op: str) -> np.ndarray:
    """Weights as eight bits hold them: 127 steps to the largest of each output channel."""
    axis = CHANNEL_AXIS[op] % weights.ndim
    others = tuple(i for i in range(weights.ndim) if i != axis)
    scale = np.abs(weights).max(others, keepdims=True) / 127
    return np.where(scale > 0, np.rint(weights / np.where(scale > 0, scale, 1)) * scale, 0.0)

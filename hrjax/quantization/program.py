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
CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1, "Gemm": -1}
UNNAMED = "constant"  # what the names of constants begin with that are not a network's weights


@dataclasses.dataclass(frozen=True)
class Layer:
    """A node with weights: its name, its weights' name and number, and the tensor that it reads."""

    name: str
    op: str
    weights: str
    size: int
    input: str


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
    found = [
        Layer(node.name, node.op_type, node.input[1], sizes[node.input[1]], node.input[0])
        for node in model.graph.node
        if node.op_type in CHANNEL_AXIS and node.input[1] in sizes
    ]
    if not found:
        raise ValueError(
            "the program has no layers with weights in float32 to quantize; start from one that "
            "was exported in float32"
        )
    return found


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

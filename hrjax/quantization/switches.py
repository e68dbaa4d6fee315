"""A program whose layers can be switched between float32 and eight bits, to try combinations.

Writing and loading a quantized program takes seconds. Here one session holds both versions of what
each layer reads and of its weights, and each call says which layers use which, over which ranges.
"""

import copy
from collections.abc import Collection

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import calibrate

from hrjax.quantization import calibration, program
from hrjax.quantization.program import Layer

LEVELS = (-128, 127)
# More inputs of the program, vectors: the steps and levels of zero of what layers read, and which
# layers are in eight bits.
KINDS = {
    "switches/scales": TensorProto.FLOAT,
    "switches/zeros": TensorProto.INT8,
    "switches/layers": TensorProto.BOOL,
}


class Switches:
    """A program with a switch for each layer, and its results in float32 on `crops`."""

    def __init__(self, model: onnx.ModelProto, crops: np.ndarray):
        self.layers = program.layers(model)
        self._tensors = [*dict.fromkeys(layer.input for layer in self.layers)]
        self._input, self._crops = model.graph.input[0].name, crops
        switched = _with_switches(model, self.layers, self._tensors)
        options = onnxruntime.SessionOptions()
        # Thousands of small operations: threads would wait for each other most of the time.
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(switched.SerializeToString(), options)
        self._exact = self._run((), None)

    def error(self, layers: Collection[Layer], ranges: calibrate.TensorsData) -> float:
        """How far off the results are with these layers in eight bits.

        The root mean square of the differences, as a fraction of that of the results in float32.
        """
        pairs = zip(self._run(layers, ranges), self._exact, strict=True)
        return float(np.mean([relative_error(ours, exact) for ours, exact in pairs]))

    def _run(self, layers, ranges):
        read = {layer.input for layer in layers}
        scales = np.ones(len(self._tensors), np.float32)
        zeros = np.zeros(len(self._tensors), np.int8)
        for i, tensor in enumerate(self._tensors):
            if tensor in read:
                scales[i], zeros[i] = scale_and_zero(*calibration.bounds(ranges, tensor))
        rounded = np.array([layer in layers for layer in self.layers])
        feeds = dict(zip(KINDS, (scales, zeros, rounded), strict=True))
        # Crop by crop, so that the memory needed does not grow with their number.
        outputs = [
            self._session.run(None, {self._input: crop[None], **feeds}) for crop in self._crops
        ]
        return [np.concatenate(column) for column in zip(*outputs, strict=True)]


def scale_and_zero(low: float, high: float) -> tuple[np.float32, int]:
    """The step and the level of zero of eight bits over a range, which is widened to hold zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / (LEVELS[1] - LEVELS[0]) or 1.0
    return np.float32(step), round(LEVELS[0] - low / step)


def relative_error(ours: np.ndarray, exact: np.ndarray) -> float:
    """The root mean square of the differences, as a fraction of that of the exact values."""
    return float(np.sqrt(np.mean(np.square(ours - exact)) / np.mean(np.square(exact))))


def _with_switches(model, layers, tensors):
    """The program with the inputs `KINDS`."""
    model = copy.deepcopy(model)
    graph = model.graph
    nodes, entries = [], []
    for name, kind in KINDS.items():
        size = len(layers if name == "switches/layers" else tensors)
        graph.input.append(helper.make_tensor_value_info(name, kind, [size]))
        names, added = _apart(graph, name, size)
        entries.append(names)
        nodes += added
    scales, zeros, switches = entries
    around = dict(zip(tensors, zip(scales, zeros, strict=True), strict=True))
    switch = dict(zip((layer.name for layer in layers), switches, strict=True))
    rounded = _rounded_weights(graph, model, layers)
    done = set()
    for node in graph.node:
        if node.name in switch:
            if node.input[0] not in done:
                nodes += _rounding(node.input[0], *around[node.input[0]])
                done.add(node.input[0])
            versions = (f"{node.input[0]}/rounded", rounded[node.name])
            for place, version in enumerate(versions):
                chosen = f"{node.name}/chosen/{place}"
                both = [switch[node.name], version, node.input[place]]
                nodes.append(helper.make_node("Where", both, [chosen]))
                node.input[place] = chosen
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _apart(graph, name, size):
    """The names of the entries of a vector as scalars, and the nodes that make them."""
    constants = {"sizes": np.ones(size, np.int64), "shape": np.zeros(0, np.int64)}
    for key, x in constants.items():
        graph.initializer.append(numpy_helper.from_array(x, f"{name}/{key}"))
    pieces, entries = ([f"{name}/{kind}/{i}" for i in range(size)] for kind in ("piece", "entry"))
    nodes = [helper.make_node("Split", [name, f"{name}/sizes"], pieces, axis=0)]
    for piece, entry in zip(pieces, entries, strict=True):
        nodes.append(helper.make_node("Reshape", [piece, f"{name}/shape"], [entry]))
    return entries, nodes


def _rounded_weights(graph, model, layers):
    """Adds the weights in eight bits; their names by layer."""
    names = {}
    exact = program.arrays(model, [layer.weights for layer in layers])
    for layer in layers:
        names[layer.name] = f"{layer.name}/rounded_weights"
        x = program.rounded_weights(exact[layer.weights], layer.op).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(x, names[layer.name]))
    return names


def _rounding(tensor, scale, zero):
    """Nodes that compute a tensor in eight bits."""
    levels = f"{tensor}/levels"
    return [
        helper.make_node("QuantizeLinear", [tensor, scale, zero], [levels]),
        helper.make_node("DequantizeLinear", [levels, scale, zero], [f"{tensor}/rounded"]),
    ]

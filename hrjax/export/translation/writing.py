"""Writes a graph as an ONNX model."""

from collections.abc import Mapping

import numpy as np

try:
    import onnx
    from onnx import helper, numpy_helper
except ImportError as error:
    raise ImportError(
        "the export to ONNX needs the package onnx: pip install 'hrjax[export]'"
    ) from error

import hrjax
from hrjax.export.translation import values
from hrjax.export.translation.onnx_graph import Body, Graph
from hrjax.export.translation.simplify import simplify
from hrjax.export.translation.values import Value

OPSET = 18  # the oldest with all that is used here, for old runtimes, browsers and TensorRT
IR_VERSION = 8  # that of the first ONNX with this opset


def to_model(
    graph: Graph,
    inputs: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    results: Mapping[str, Value],
    axes: Mapping[str, tuple[str, ...]],
) -> onnx.ModelProto:
    """The model of a graph, simplified and checked.

    `inputs` are shapes and dtypes by name, `results` the values that it returns, and `axes` says
    what the axes of both mean.
    """
    names = {}
    for name, value in results.items():
        value = values.expand(graph, value, range(len(value.shape)))
        tensor = values.arrange(graph, value, tuple(range(len(value.shape))))
        names[name] = tensor
        graph.outputs.append(tensor)
    simplify(graph)
    for name, tensor in names.items():
        _rename(graph, tensor, name)
    specs = {name: (value.shape, value.dtype) for name, value in results.items()}
    nodes = [_node(node) for node in graph.nodes]
    constants = [numpy_helper.from_array(x, name) for name, x in graph.constants.items()]
    described = [
        [_described(graph, name, *spec, axes[name]) for name, spec in each.items()]
        for each in (inputs, specs)
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "hrjax", *described, constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="hrjax",
        producer_version=hrjax.__version__,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _node(node):
    options = {name: _option(value) for name, value in node.attributes.items()}
    return helper.make_node(node.op, node.inputs, node.outputs, name=node.outputs[0], **options)


def _option(value):
    """The value of an attribute as ONNX holds it."""
    if isinstance(value, Body):
        inputs, outputs = (
            [helper.make_tensor_value_info(x, _kind(value.dtype), value.shapes[x]) for x in names]
            for names in (value.node.inputs, value.node.outputs)
        )
        return helper.make_graph([_node(value.node)], "sample", inputs, outputs)
    return _kind(value) if isinstance(value, np.dtype) else value


def _kind(dtype):
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def _rename(graph, old, new):
    """Gives the tensor of a result the result's name."""
    made = [node for node in graph.nodes if old in node.outputs]
    if not made or graph.outputs.count(old) > 1:
        graph.add("Identity", [old], label=new)
        return
    for node in graph.nodes:
        node.inputs = [new if name == old else name for name in node.inputs]
        node.outputs = [new if name == old else name for name in node.outputs]


def _described(graph, name, shape, dtype, axes):
    sizes = [graph.number(size, "batch") for size in shape]
    return helper.make_tensor_value_info(name, _kind(dtype), sizes, shape_denotation=axes)

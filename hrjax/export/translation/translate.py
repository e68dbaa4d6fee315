"""Translates a function that JAX traced into an ONNX graph, equation by equation."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from hrjax import models
from hrjax.export.translation import functions, primitives, values
from hrjax.export.translation.onnx_graph import Graph
from hrjax.export.translation.values import Value

BATCH = 1009  # a prime of which no size of a network is a multiple: any number of samples


def trace(
    graph: Graph, function: Callable, weights: Any, inputs: Sequence[Value]
) -> dict[str, Value]:
    """Adds `function(weights, *inputs)` to the graph; the values that it returns, by name."""
    specs = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in inputs]
    with models.lowering_for("onnx"):
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(weights, *specs)
    leaves = jax.tree_util.tree_leaves_with_path(weights)
    known = [values.constant(np.asarray(leaf), _label(path)) for path, leaf in leaves]
    results = run(graph, closed, [*known, *inputs])
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


def _label(path):
    """The name of an array in a tree of weights, without its first level: params or stats."""
    return ".".join(str(key.key) for key in path[1:])


def run(graph: Graph, closed: core.ClosedJaxpr, arguments: list[Value]) -> list[Value]:
    """Translates the equations of a program; the values of its results."""
    environment = dict(zip(closed.jaxpr.invars, arguments, strict=True))
    consts = map(values.constant, map(np.asarray, closed.consts))
    environment.update(zip(closed.jaxpr.constvars, consts, strict=True))

    def read(variable):
        if isinstance(variable, core.Literal):
            return values.constant(np.asarray(variable.val, variable.aval.dtype))
        return environment[variable]

    for equation in closed.jaxpr.eqns:
        inputs = [read(variable) for variable in equation.invars]
        results = translate(graph, equation, inputs)
        environment.update(zip(equation.outvars, results, strict=True))
    return [read(variable) for variable in closed.jaxpr.outvars]


def translate(graph: Graph, equation: Any, inputs: list[Value]) -> list[Value]:
    """Translates one equation: as a known function, as a program of its own, or as a primitive."""
    name, outputs = equation.primitive.name, [variable.aval for variable in equation.outvars]
    inner = next((x for x in equation.params.values() if isinstance(x, core.ClosedJaxpr)), None)
    if inner is not None:
        known = functions.KNOWN.get(equation.params.get("name"))
        result = known(graph, inputs, outputs[0]) if known else None
        return run(graph, inner, inputs) if result is None else [result]
    if name not in primitives.KNOWN:
        raise ValueError(
            f"the primitive {name!r} of JAX has no translation to ONNX yet; known are: "
            f"{', '.join(sorted(primitives.KNOWN))}"
        )
    if name not in primitives.LAZY and all(value.is_constant for value in inputs):
        return primitives.compute(equation, inputs)
    result = primitives.KNOWN[name](graph, inputs, outputs[0], equation.params)
    return result if isinstance(result, list) else [result]

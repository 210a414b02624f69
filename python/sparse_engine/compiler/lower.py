"""From a graph to the program that runs."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _core
from .graph import Graph, Value


def lower(graph: Graph, about: Mapping[str, Any]) -> _core.Program:
    """The program of a graph that all passes went over.

    Weights that are one array are stored once. `about` is kept beside them, as JSON, and what inputs and outputs are not
    float32.
    Raises:
        ValueError: the graph is none that can run.
    """
    builder = _core.ProgramBuilder()
    ids: dict[int, int] = {}
    weights: dict[int, int] = {}

    def value_of(value: Value) -> int:
        if id(value) not in ids:
            if value.constant is not None:
                array = np.ascontiguousarray(value.constant, np.float32).reshape(value.constant.shape)
                ids[id(value)] = builder.add_constant_value(value.name, array)
            else:
                ids[id(value)] = builder.add_value(value.name, [(s.fixed, s.per_item) for s in value.shape])
        return ids[id(value)]

    inputs = [value_of(value) for value in graph.inputs]
    for node in graph:
        weight = bias = residual = -1
        if node.weight is not None:
            if id(node.weight) not in weights:
                weights[id(node.weight)] = builder.add_weight(np.ascontiguousarray(node.weight, np.float32))
            weight = weights[id(node.weight)]
        if node.bias is not None:
            bias = builder.add_constant(node.bias.astype(np.float32))
        if node.residual is not None:
            residual = value_of(node.residual)
        builder.add_node(
            node.op,
            node.path,
            [value_of(value) for value in node.inputs],
            value_of(node.output),
            weight,
            bias,
            residual,
            getattr(_core.Activation, node.activation),
            node.slope,
            list(node.numbers),
        )
    dtypes = {value.name: value.dtype for value in (*graph.inputs, *graph.outputs) if value.dtype != "float32"}
    kept = json.dumps({**about, **({"dtypes": dtypes} if dtypes else {})})
    return builder.build(inputs, [value_of(value) for value in graph.outputs], kept)

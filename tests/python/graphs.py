"""Small graphs by hand, and what they compute in float64."""

import numpy as np

from sparse_engine.compiler.graph import Graph, Node, Size, Value

BATCH = Size(0, 1)


def value(name, *sizes):
    """A value whose first axis is the batch."""
    return Value(name, (BATCH, *(Size(n) for n in sizes)))


def linear(x, out, rows, seed=0, **attributes):
    """A product with a weight of {-2..2}."""
    cols = x.shape[-1].fixed
    weight = np.random.default_rng(seed).integers(-2, 3, (rows, cols)).astype(np.float32)
    return Node("linear", out.name, [x], out, weight=weight, **attributes)


def activated(array, activation):
    """relu, relu6, sigmoid, or nothing."""
    assert activation in ("none", "relu", "relu6", "sigmoid")
    if activation == "sigmoid":
        return 1 / (1 + np.exp(-array))
    return array if activation == "none" else np.clip(array, 0, 6 if activation == "relu6" else None)


def computed(graph, *arrays):
    """The outputs of a graph of linear layers and elementwise operations, in float64."""
    known = dict(zip(graph.inputs, (a.astype(np.float64) for a in arrays), strict=True))

    def of(v):
        return known[v] if v.constant is None else v.constant.astype(np.float64)

    for node in graph:
        x = of(node.inputs[0])
        if node.op == "linear":
            y = x @ node.weight.astype(np.float64).T + (0 if node.bias is None else node.bias)
        elif node.op == "batch_norm":
            y = x * node.scale + node.shift
        elif node.op == "reshape":
            y = x.reshape([s.at(len(x)) for s in node.output.shape])
        elif node.op == "activation":
            y = x
        else:
            y = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}[node.op](
                x, of(node.inputs[1])
            )
        if node.residual is not None:
            y = y + of(node.residual)
        known[node.output] = activated(y, node.activation)
    return [of(v) for v in graph.outputs]


def same_after(graph, rewrite, *arrays):
    """Run a pass, check the graph, and that it computes what it did; returns the operations that are left."""
    graph.check()
    before = computed(graph, *arrays)
    rewrite(graph)
    graph.check()
    for a, b in zip(computed(graph, *arrays), before, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5)
    return [node.op for node in graph]


def graph(inputs, outputs, *nodes):
    """A graph of these nodes."""
    return Graph(list(inputs), list(outputs), list(nodes))


X = np.random.default_rng(1).integers(-3, 4, (5, 6)).astype(np.float32)

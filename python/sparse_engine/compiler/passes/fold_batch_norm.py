"""Batch norm becomes part of the product before it, or a product and a sum per channel.

y = scale · (W · x + b) + shift is (scale · W) · x + (scale · b + shift): exact up to rounding, in float64 here, also across
zero padding of the convolution, which lies before the product. A channel that is pruned stays pruned, as its row is scaled.
"""

import numpy as np

from ..graph import CONVOLUTIONS, Graph, Node, Size, Value


def fold_batch_norm(graph: Graph) -> None:
    """Fold into a product whose result nothing else reads; elsewhere scale and shift what is there."""
    readers, makers = graph.readers(), graph.makers()
    for node in list(graph.nodes):
        if node.op != "batch_norm":
            continue
        assert node.scale is not None
        assert node.shift is not None
        product = makers.get(node.inputs[0])
        alone = len(readers[node.inputs[0]]) == 1 and node.inputs[0] not in graph.outputs
        if product is not None and alone and _scales_rows(product) and _ends_plainly(product):
            assert product.weight is not None
            bias = 0.0 if product.bias is None else product.bias.astype(np.float64)
            product.weight = (product.weight * node.scale[:, None]).astype(np.float32)
            product.bias = bias * node.scale + node.shift
            product.output = node.output
            makers[node.output] = product
            graph.remove([node])
        else:
            _scale_and_shift(graph, node)


def _scales_rows(product: Node) -> bool:
    """Whether the axis that is normalised, the second one, is that of the weight's rows."""
    return product.op in CONVOLUTIONS or (product.op == "linear" and len(product.output.shape) == 2)


def _ends_plainly(product: Node) -> bool:
    return product.residual is None and product.activation == "none"


def _scale_and_shift(graph: Graph, node: Node) -> None:
    assert node.scale is not None
    assert node.shift is not None
    x = node.inputs[0]
    trailing = (1,) * (len(x.shape) - 2)
    scale, shift = (part.astype(np.float32).reshape(-1, *trailing) for part in (node.scale, node.shift))
    scaled = Value(f"{node.output.name}_scaled", x.shape)
    at = graph.nodes.index(node)
    graph.nodes[at : at + 1] = [
        Node("multiply", node.path, [x, _constant(f"{node.output.name}_scale", scale)], scaled),
        Node("add", node.path, [scaled, _constant(f"{node.output.name}_shift", shift)], node.output),
    ]


def _constant(name: str, array: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> Value:
    return Value(name, tuple(Size(n) for n in array.shape), array)

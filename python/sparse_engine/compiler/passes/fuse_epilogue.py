"""Bias, residual and activation become part of the product, or of the sum, before them.

Each intermediate result must be read by nothing else. A residual goes to the product that is computed last, where its other
operand is there already.
"""

from ..graph import CONVOLUTIONS, ELEMENTWISE, PRODUCTS, Graph, Node, Value

CARRIES_ACTIVATION = (*PRODUCTS, *ELEMENTWISE)


def fuse_epilogue(graph: Graph) -> None:
    """One walk in the order of computation: what was fused is there for the next one."""
    for node in list(graph.nodes):
        if node.op == "add":
            _fuse_sum(graph, node)
        elif node.op == "activation":
            _fuse_activation(graph, node)


def _only_reader(graph: Graph, value: Value, node: Node) -> bool:
    return graph.only_reader(value, graph.readers()) is node


def _fuse_sum(graph: Graph, node: Node) -> None:
    makers = graph.makers()
    order = {id(n): i for i, n in enumerate(graph.nodes)}
    left, right = node.inputs
    product = makers.get(left)
    if right.constant is not None:
        if product is None or not product.is_product or product.residual is not None or product.activation != "none":
            return
        if _only_reader(graph, left, node) and _is_bias(right, left, product.op):
            bias = 0.0 if product.bias is None else product.bias
            product.bias = bias + right.constant.reshape(-1)
            _end_with(graph, product, node)
        return
    if left.shape != right.shape:
        return
    candidates = [(makers.get(a), a, b) for a, b in ((left, right), (right, left))]
    fitting = [
        (made, b)
        for made, a, b in candidates
        if made is not None
        and made.is_product
        and made.residual is None
        and made.activation == "none"
        and _only_reader(graph, a, node)
        and (b not in makers or order[id(makers[b])] < order[id(made)])
    ]
    if not fitting:
        return
    product, residual = max(fitting, key=lambda found: order[id(found[0])])
    product.residual = residual
    _end_with(graph, product, node)


def _is_bias(constant: Value, x: Value, op: str) -> bool:
    """Whether it has one number for each row of the weight."""
    axis = 1 if op in CONVOLUTIONS else len(x.shape) - 1
    aligned = (1,) * (len(x.shape) - len(constant.shape)) + tuple(s.fixed for s in constant.shape)
    return all(n == (x.shape[i].fixed if i == axis else 1) for i, n in enumerate(aligned))


def _fuse_activation(graph: Graph, node: Node) -> None:
    made = graph.makers().get(node.inputs[0])
    if made is None or made.op not in CARRIES_ACTIVATION or made.activation != "none":
        return
    if _only_reader(graph, node.inputs[0], node):
        made.activation, made.slope = node.activation, node.slope
        _end_with(graph, made, node)


def _end_with(graph: Graph, product: Node, node: Node) -> None:
    """The product makes the node's result."""
    product.output = node.output
    graph.remove([node])

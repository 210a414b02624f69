"""x / sqrt(mean of squares + eps) · weight (Zhang and Sennrich, 2019), as models write RMS norm out, is one operation again."""

from ..graph import Graph, Makers, Node, Readers, Value
from .fuse_layer_norm import following, number, stays_within


def fuse_rms_norm(graph: Graph) -> None:
    """First the normalisation, by a quotient or by a product with the reciprocal, then a weight that follows any RMS norm."""
    for node in list(graph):
        if node.op in ("divide", "multiply") and node.activation == "none":
            _normalisation(node, graph)
    for node in list(graph):
        if node.op == "rms_norm" and len(node.inputs) == 2:
            _weight(node, graph)


def _normalisation(last: Node, graph: Graph) -> None:
    makers, readers = graph.makers(), graph.readers()
    for x, factor in (last.inputs, last.inputs[::-1]):
        root, within = makers.get(factor), [last]
        if last.op == "multiply":
            if root is None or root.op != "divide" or root.activation != "none" or not _is_one(root.inputs[0], makers):
                continue
            within.append(root)
            root = makers.get(root.inputs[1])
        found = None if root is None else _root_of_mean_square(root, x, makers)
        if found is not None:
            axes, eps, parts = found
            within += parts
            if all(stays_within(node, within, readers, graph) for node in within[1:]):
                last.op, last.inputs, last.numbers = "rms_norm", [x, number(eps)], (axes,)
                graph.remove(within[1:])
            return
        if last.op == "divide":
            return


def _root_of_mean_square(root: Node, x: Value, makers: Makers) -> tuple[int, Value, list[Node]] | None:
    """Over how many axes, eps, and the nodes, where it is sqrt(mean of x² + eps)."""
    if root.op != "activation" or root.activation != "sqrt":
        return None
    plus = makers.get(root.inputs[0])
    if plus is None or plus.op != "add" or plus.activation != "none" or plus.inputs[1].number is None:
        return None
    mean = makers.get(plus.inputs[0])
    if mean is None or mean.op != "mean" or mean.numbers[1] != 1 or not 1 <= mean.numbers[0] < len(x.shape):
        return None
    square = makers.get(mean.inputs[0])
    if square is None or square.op != "multiply" or square.activation != "none" or square.inputs != [x, x]:
        return None
    return mean.numbers[0], plus.inputs[1], [root, plus, mean, square]


def _is_one(value: Value, makers: Makers) -> bool:
    made = makers.get(value)
    return (made.inputs[0] if made is not None and made.op == "expand" else value).number == 1


def _weight(norm: Node, graph: Graph) -> None:
    readers: Readers = graph.readers()
    scale = following(norm.output, "multiply", readers, graph)
    if scale is None or scale.activation != "none":
        return
    weight = scale.inputs[1]
    if weight.constant is not None and weight.shape == norm.output.shape[-norm.numbers[0] :]:
        norm.inputs.append(weight)
        norm.output = scale.output
        graph.remove([scale])

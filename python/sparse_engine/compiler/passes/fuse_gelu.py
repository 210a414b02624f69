"""x / 2 · (1 + erf(x / √2)), as exporters take gelu apart, is one activation again."""

from math import isclose, sqrt

from ..graph import Graph, Makers, Node, Readers, Value


def fuse_gelu(graph: Graph) -> None:
    """Every erf that is read by such a product alone."""
    makers, readers = graph.makers(), graph.readers()
    for node in list(graph):
        if node.op == "activation" and node.activation == "erf":
            found = _whole(node, makers, readers, graph)
            if found is not None:
                last, x, gone = found
                last.op, last.inputs, last.activation = "activation", [x], "gelu"
                graph.remove(gone)


def _whole(erf: Node, makers: Makers, readers: Readers, graph: Graph) -> tuple[Node, Value, list[Node]] | None:
    """The last node, x, and what goes; None where it is something else."""
    below = makers.get(erf.inputs[0])
    if below is None or below.activation != "none":
        return None
    x, factor = _scaled(below)
    if x is None or not isclose(factor, sqrt(0.5), rel_tol=1e-5):
        return None
    plus = graph.only_reader(erf.output, readers)
    if plus is None or plus.op != "add" or plus.activation != "none" or plus.inputs[1].number != 1:
        return None
    gone, node, left, has_x = [erf, plus], plus, 0.5, False
    while True:  # two products in either order: with x, and with one half
        following = graph.only_reader(node.output, readers)
        if following is None or following.op not in ("multiply", "divide"):
            return None
        scaled, factor = _scaled(following)
        if scaled is node.output:
            left /= factor
        elif following.op == "multiply":
            other = following.inputs[1] if following.inputs[0] is node.output else following.inputs[0]
            made = makers.get(other)
            if other is not x:
                if made is None or made.activation != "none":
                    return None
                source, factor = _scaled(made)
                if source is not x:
                    return None
                left /= factor
            if has_x:
                return None
            has_x = True
        else:
            return None
        if has_x and isclose(left, 1.0, rel_tol=1e-6):
            return None if following.activation != "none" else (following, x, gone)
        if following.activation != "none" or len(gone) == 3:
            return None
        gone.append(following)
        node = following


def _scaled(node: Node) -> tuple[Value | None, float]:
    """What a node multiplies by a number, and the number."""
    if node.op not in ("multiply", "divide"):
        return None, 0.0
    number = node.inputs[1].number
    if not number:
        return None, 0.0
    return node.inputs[0], number if node.op == "multiply" else 1 / number

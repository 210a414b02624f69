"""x / 2 · (1 + erf(x / √2)), as exporters take gelu apart, is one activation again, and so is its approximation by tanh."""

from collections.abc import Iterator
from math import isclose, pi, sqrt

from ..graph import Graph, Makers, Node, Readers, Value

Polynomial = tuple[float, float, float, float]  # coefficients of 1, x, x², x³
_K = sqrt(2 / pi)
# What the gate's function is taken of (Hendrycks and Gimpel, 2016), and the whole.
_GATES: dict[str, tuple[Polynomial, str]] = {
    "erf": ((0.0, sqrt(0.5), 0.0, 0.0), "gelu"),
    "tanh": ((0.0, _K, 0.0, 0.044715 * _K), "gelu_tanh"),
}


def fuse_gelu(graph: Graph) -> None:
    """Every erf and tanh that is read by such a product alone."""
    makers, readers = graph.makers(), graph.readers()
    for node in list(graph):
        if node.op == "activation" and node.activation in _GATES:
            polynomial, name = _GATES[node.activation]
            x = _argument(node.inputs[0], polynomial, makers)
            found = None if x is None else _whole(node, x, makers, readers, graph)
            if x is not None and found is not None:
                last, gone = found
                last.op, last.inputs, last.activation = "activation", [x], name
                graph.remove(gone)


def _argument(value: Value, polynomial: Polynomial, makers: Makers) -> Value | None:
    """The x of which a value is this polynomial."""
    for x in _leaves(value, makers, 5):
        found = _polynomial(value, x, makers, 5)
        if found is not None and all(isclose(a, b, rel_tol=1e-5) for a, b in zip(found, polynomial, strict=True)):
            return x
    return None


def _leaves(value: Value, makers: Makers, depth: int) -> Iterator[Value]:
    """What a value is computed of, at most `depth` nodes before it."""
    made = makers.get(value)
    if depth == 0 or made is None or made.op not in ("add", "multiply", "divide") or made.activation != "none":
        return
    for one in made.inputs:
        if one.constant is None:
            yield one
            yield from _leaves(one, makers, depth - 1)


def _polynomial(value: Value, x: Value, makers: Makers, depth: int) -> Polynomial | None:
    """The coefficients of a value as a polynomial in x; None where it is none of degree 3, or `depth` nodes do not make it."""
    if value is x:
        return (0.0, 1.0, 0.0, 0.0)
    if value.number is not None:
        return (value.number, 0.0, 0.0, 0.0)
    made = makers.get(value)
    if depth == 0 or made is None or made.op not in ("add", "multiply", "divide") or made.activation != "none":
        return None
    left, right = (_polynomial(one, x, makers, depth - 1) for one in made.inputs)
    if left is None or right is None:
        return None
    if made.op == "add":
        a, b, c, d = (m + n for m, n in zip(left, right, strict=True))
        return (a, b, c, d)
    if made.op == "divide":
        if not right[0] or any(right[1:]):
            return None
        right = (1 / right[0], 0.0, 0.0, 0.0)
    product = [0.0] * 7
    for i, m in enumerate(left):
        for j, n in enumerate(right):
            product[i + j] += m * n
    return None if any(product[4:]) else (product[0], product[1], product[2], product[3])


def _whole(gate: Node, x: Value, makers: Makers, readers: Readers, graph: Graph) -> tuple[Node, list[Node]] | None:
    """The last node and what goes, where the gate plus 1 is multiplied by x and by one half."""
    plus = graph.only_reader(gate.output, readers)
    if plus is None or plus.op != "add" or plus.activation != "none" or plus.inputs[1].number != 1:
        return None
    gone, node, left, has_x = [gate, plus], plus, 0.5, False
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
            return None if following.activation != "none" else (following, gone)
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

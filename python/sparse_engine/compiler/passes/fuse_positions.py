"""A mask that shows each query the keys up to its position becomes the position: keys behind it are not read."""

import numpy as np

from ..graph import Array, Graph, Makers, Node, Size, Value


def fuse_positions(graph: Graph) -> None:
    """Masks of −∞ where the number of a key is above the position of a query, which is computed."""
    makers = graph.makers()
    for node in list(graph):
        if node.op == "attention" and len(node.inputs) == 4 and node.numbers[4] == 0:
            position = _position(node, makers)
            if position is not None:
                seen = Value(f"{node.output.name}/position", (Size(1), position.shape[-1]))
                graph.nodes.insert(graph.nodes.index(node), Node("reshape", node.path, [position], seen))
                node.inputs[3], node.numbers = seen, (*node.numbers[:4], 2)


def _position(attention: Node, makers: Makers) -> "Value | None":
    mask = attention.inputs[3]
    queries, keys = mask.shape[2:]
    if mask.shape[:2] != (Size(1), Size(1)) or queries.per_item == 0 or keys.per_item:
        return None
    hides = _through_views(mask, makers)
    if hides is None or hides.op != "keep":
        return None
    fill = _constant(hides.inputs[0], makers)
    hidden = _through_views(hides.inputs[1], makers)
    if fill is None or not np.all(fill == -np.inf) or hidden is None or hidden.op != "equal":
        return None
    shown = _through_views(hidden.inputs[0], makers)
    if hidden.inputs[1].number != 0 or shown is None or shown.op != "less_equal" or shown.activation != "none":
        return None
    numbers, position = _constant(shown.inputs[0], makers), shown.inputs[1]
    if [size for size in shown.output.shape if size != Size(1)] != [queries, keys]:
        return None  # where both are of length 1 nothing says which is which
    if (
        numbers is None
        or numbers.shape[-1:] != (keys.fixed,)
        or numbers.size != keys.fixed
        or not np.array_equal(np.ravel(numbers), np.arange(keys.fixed))
    ):
        return None
    if len(position.shape) < 2 or position.shape[-2:] != (queries, Size(1)):
        return None
    source = position
    while (made := makers.get(source)) is not None and made.op == "reshape":
        source = made.inputs[0]
    return source if source.shape in ((queries,), (Size(1), queries)) else None


def _through_views(value: Value, makers: Makers) -> "Node | None":
    """The node that computes what a value shows in another shape; axes of length 1 alone come and go."""
    node = makers.get(value)
    while node is not None and node.op == "reshape":
        before, after = ([size for size in v.shape if size != Size(1)] for v in (node.inputs[0], node.output))
        if before != after:
            return None
        node = makers.get(node.inputs[0])
    return None if node is None or node.activation != "none" else node


def _constant(value: Value, makers: Makers) -> "Array | None":
    """What a value repeats."""
    while value.constant is None:
        node = makers.get(value)
        if node is None or node.op != "expand":
            return None
        value = node.inputs[0]
    return value.constant

"""softmax(q · kᵀ · scale + mask) · v, as exporters take attention apart, is one operation again."""

from math import isclose, sqrt

import numpy as np

from ..graph import Graph, Makers, Node, Readers, Size, Value


def fuse_attention(graph: Graph) -> None:
    """Every softmax between two products of values of four axes that nothing else reads."""
    makers, readers = graph.makers(), graph.readers()
    for last in list(graph):
        if last.op == "matmul" and last.numbers == (0,) and len(last.output.shape) == 4:
            _fuse(last, makers, readers, graph)


def _fuse(last: Node, makers: Makers, readers: Readers, graph: Graph) -> None:
    softmax = _made_for(last, last.inputs[0], "softmax", makers, readers, graph)
    if softmax is None:
        return
    gone, scale = [softmax], 1.0
    mask: Value | None = None
    node, value = softmax, softmax.inputs[0]
    add = _made_for(node, value, "add", makers, readers, graph)
    if add is not None:
        mask, node, value = add.inputs[1], add, add.inputs[0]
        gone.append(add)
    for op in ("multiply", "divide"):
        scaled = _made_for(node, value, op, makers, readers, graph)
        if scaled is not None and (factor := scaled.inputs[1].number):
            scale *= factor if op == "multiply" else 1 / factor
            node, value = scaled, scaled.inputs[0]
            gone.append(scaled)
            break
    first = _made_for(node, value, "matmul", makers, readers, graph)
    if first is None:
        return
    gone.append(first)
    if mask is not None and not _is_broadcast(mask, first.output):
        return
    q, k = first.inputs
    at = graph.nodes.index(last)
    added: list[Node] = []
    if first.numbers == (0,):  # k is (N, heads, features, tokens) there
        turned = Value(f"{last.output.name}/k", (*k.shape[:2], k.shape[3], k.shape[2]))
        added.append(Node("permute", last.path, [k], turned, numbers=(0, 1, 3, 2)))
        k = turned
    factor = scale * sqrt(q.shape[-1].fixed)
    if not isclose(factor, 1.0, rel_tol=1e-6):
        scaled_q = Value(f"{last.output.name}/q", q.shape)
        times = Value(repr(factor), (), np.array(factor, np.float32))
        added.append(Node("multiply", last.path, [q, times], scaled_q))
        q = scaled_q
    inputs = [q, k, last.inputs[1]]
    if mask is not None:
        inputs.append(_of_four_axes(mask, last, added))
    last.op, last.inputs, last.numbers = "attention", inputs, (1, 1, 1, 1, 0)
    graph.nodes[at:at] = added
    graph.remove(gone)


def _made_for(reader: Node, value: Value, op: str, makers: Makers, readers: Readers, graph: Graph) -> Node | None:
    """The node that makes a value, where it is of that kind, ends with no activation, and `reader` alone reads it."""
    made = makers.get(value)
    if made is None or made.op != op or made.activation != "none":
        return None
    return made if graph.only_reader(value, readers) is reader else None


def _is_broadcast(mask: Value, scores: Value) -> bool:
    sizes = (Size(1),) * (4 - len(mask.shape)) + mask.shape
    return len(mask.shape) <= 4 and all(a in (b, Size(1)) for a, b in zip(sizes, scores.shape, strict=True))


def _of_four_axes(mask: Value, last: Node, added: list[Node]) -> Value:
    shape = (Size(1),) * (4 - len(mask.shape)) + mask.shape
    if shape == mask.shape:
        return mask
    if mask.constant is not None:
        return Value(mask.name, shape, mask.constant.reshape([n.fixed for n in shape]))
    made = Value(f"{last.output.name}/mask", shape)
    added.append(Node("reshape", last.path, [mask], made))
    return made

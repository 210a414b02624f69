"""Weights that cannot matter go: those that read a channel which is the same for every input, and those that make one unread.

A row without weights makes act(bias) of everything. Where that is 0 its readers' weights for the channel go; another constant
becomes part of their bias, unless a convolution's padding, which is 0, lies beside it. And a channel that no reader has a
weight for needs none of its own. One leads to the next, so it is repeated until nothing changes.
"""

from math import prod

import numpy as np
from numpy.typing import NDArray

from ..graph import CONVOLUTIONS, Graph, Node, Value

CHANNELWISE = ("max_pool", "average_pool")  # a channel of zeros stays one
ENDS = ("none", "relu", "relu6")  # activations whose value is known exactly


def drop_dead_channels(graph: Graph) -> None:
    """Set weights to 0 that change nothing; shapes stay, as weights of 0 are not stored."""
    users: dict[int, int] = {}
    for node in graph:
        if node.weight is not None:
            users[id(node.weight)] = users.get(id(node.weight), 0) + 1
    products = {node for node in graph if _has_channels(node) and users[id(node.weight)] == 1}
    readers = graph.readers()
    pairs = []
    for node in graph:
        found = _products_reading(node.output, graph, readers) if node in products else []
        if found and all(reader in products and reader.op == node.op for reader, _ in found):
            pairs.append((node, found))
    changed = True
    while changed:
        changed = False
        for node, found in pairs:
            changed |= _forward(node, found) | _backward(node, found)


def _has_channels(node: Node) -> bool:
    """Whether a product's rows are channels that the next one has columns for."""
    return node.op == "linear" or (node.op in CONVOLUTIONS and node.numbers[-1] == 1)


def _products_reading(value: Value, graph: Graph, readers: dict[Value, list[Node]]) -> "list[tuple[Node, bool]]":
    """Products that read a value, and whether a pool lies between; none where anything else reads it."""
    if value in graph.outputs:
        return []
    found: list[tuple[Node, bool]] = []
    for reader in readers.get(value, []):
        if reader.op in CHANNELWISE:
            behind = _products_reading(reader.output, graph, readers)
            if not behind:
                return []
            found += [(product, True) for product, _ in behind]
        elif _has_channels(reader) and reader.inputs[0] is value and reader.residual is not value:
            found.append((reader, False))
        else:
            return []
    return found


def _columns(node: Node) -> NDArray[np.float32]:
    """A view of a weight, (rows, channels read, weights for each)."""
    assert node.weight is not None
    plane, depth = _numbers(node)
    cells = 1 if node.op == "linear" else prod((*plane[:2], *depth[:1]))
    return node.weight.reshape(node.weight.shape[0], -1, cells)


def _is_padded(node: Node) -> bool:
    plane, depth = _numbers(node)
    return any((*plane[4:8], *depth[2:4]))


def _numbers(node: Node) -> "tuple[tuple[int, ...], tuple[int, ...]]":
    """Those of a convolution along height and width, and along depth where it has one."""
    return (node.numbers[5:], node.numbers[:5]) if node.op == "conv3d" else (node.numbers, ())


def _forward(node: Node, found: "list[tuple[Node, bool]]") -> bool:
    assert node.weight is not None
    if node.residual is not None or node.activation not in ENDS:
        return False
    bias = np.zeros(node.weight.shape[0]) if node.bias is None else node.bias.astype(np.float64)
    constant = bias if node.activation == "none" else np.clip(bias, 0, 6 if node.activation == "relu6" else None)
    changed = False
    for row in np.flatnonzero(~node.weight.any(axis=1)):
        for reader, pooled in found:
            columns = _columns(reader)[:, row]
            if not columns.any():
                continue
            if constant[row] != 0:
                if pooled or not np.isfinite(constant[row]) or _is_padded(reader):
                    continue
                given = 0.0 if reader.bias is None else reader.bias.astype(np.float64)
                reader.bias = given + columns.astype(np.float64).sum(axis=1) * constant[row]
            columns[:] = 0
            changed = True
    return changed


def _backward(node: Node, found: "list[tuple[Node, bool]]") -> bool:
    assert node.weight is not None
    read = np.zeros(node.weight.shape[0], bool)
    for reader, _ in found:
        read |= _columns(reader).any(axis=(0, 2))
    dead = ~read & node.weight.any(axis=1)
    if not dead.any():
        return False
    node.weight[dead] = 0
    if node.bias is not None:
        node.bias = np.where(read, node.bias, 0)
    return True

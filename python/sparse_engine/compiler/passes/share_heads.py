"""Heads of keys and values that are repeated for groups of queries (Ainslie et al., 2023) are read where they lie."""

from ..graph import Graph, Makers, Size, Value


def share_heads(graph: Graph) -> None:
    """Attention reads the heads before they were repeated: keys and values together, or neither."""
    makers = graph.makers()
    for node in graph:
        if node.op == "attention" and node.numbers[1:3] == (1, 1):
            k, v = (_before(value, makers) for value in node.inputs[1:3])
            if k is not None and v is not None and k.shape[1] == v.shape[1]:
                node.inputs[1:3] = [k, v]


def _before(value: Value, makers: Makers) -> "Value | None":
    """x of (N, H, T, D), where the value is (N, H, 1, T, D) as (N, H, G, T, D) as (N, H·G, T, D)."""
    joined = makers.get(value)
    repeated = None if joined is None or joined.op != "reshape" else makers.get(joined.inputs[0])
    apart = None if repeated is None or repeated.op != "expand" else makers.get(repeated.inputs[0])
    if repeated is None or apart is None or apart.op != "reshape":
        return None
    x = apart.inputs[0]
    if len(x.shape) != 4 or len(value.shape) != 4 or (x.shape[0], *x.shape[2:]) != (value.shape[0], *value.shape[2:]):
        return None
    n, heads, tokens, features = x.shape
    groups = value.shape[1].fixed // max(1, heads.fixed)
    fits = apart.output.shape == (n, heads, Size(1), tokens, features)
    return x if fits and repeated.output.shape == (n, heads, Size(groups), tokens, features) else None

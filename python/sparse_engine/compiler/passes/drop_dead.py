"""Nodes whose results nothing reads go."""

from ..graph import Graph


def drop_dead(graph: Graph) -> None:
    """From the last node to the first, so that what only a dead node read is dead as well."""
    needed = set(map(id, graph.outputs))
    kept = []
    for node in reversed(graph.nodes):
        if id(node.output) in needed:
            kept.append(node)
            needed.update(id(value) for value in node.reads)
    graph.nodes = kept[::-1]

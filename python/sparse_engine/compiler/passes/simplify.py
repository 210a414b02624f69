"""Reshapes of reshapes become one; what changes nothing goes."""

from ..graph import Graph


def simplify(graph: Graph) -> None:
    """Follow each reshape to where its elements come from, and drop those that keep the shape."""
    makers = graph.makers()
    for node in list(graph.nodes):
        if node.op != "reshape":
            continue
        source = makers.get(node.inputs[0])
        while source is not None and source.op == "reshape":
            node.inputs = list(source.inputs)
            source = makers.get(node.inputs[0])
        if node.inputs[0].shape == node.output.shape and node.output not in graph.outputs:
            graph.replace(node.output, node.inputs[0])
            graph.remove([node])

"""Models cut out of an ONNX model."""

from collections.abc import Iterable, Sequence
from typing import Any


def reads_of(node: Any) -> list[str]:
    """The values that a node reads, those that only its branches or bodies read among them."""
    found = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            own = {value.name for value in (*graph.input, *graph.initializer)}
            for inner in graph.node:
                found += [name for name in reads_of(inner) if name not in own]
                own.update(inner.output)
            found += [value.name for value in graph.output if value.name not in own]
    return list(dict.fromkeys(found))


def extracted(model: Any, numbers: Iterable[int], inputs: Sequence[Any], outputs: Sequence[Any]) -> Any:
    """A model of some nodes of another, with the initialisers that they read.

    Args:
        model: an onnx.ModelProto with all of its tensors inside.
        numbers: of nodes, in any order.
        inputs, outputs: onnx.ValueInfoProto of values.
    """
    from onnx import helper

    nodes = [model.graph.node[number] for number in sorted(set(numbers))]
    read = {name for node in nodes for name in reads_of(node)} | {value.name for value in outputs}
    held = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = helper.make_graph(nodes, "segment", list(inputs), list(outputs), held)
    sparse = [tensor for tensor in model.graph.sparse_initializer if tensor.values.name in read]
    graph.sparse_initializer.extend(sparse)
    return helper.make_model(graph, opset_imports=list(model.opset_import), ir_version=model.ir_version)

"""Which node of a program is the first to compute something else than torch."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..channels.export import Arguments, exported, held_tensors, plain_copy
from ..measure.difference import difference
from .compiled import CompiledModel
from .graph import Graph, Node
from .lower import lower


class Divergence(NamedTuple):
    """A node, its number in the graph from 0, and how far it is off, relative to the largest value expected of it."""

    node: Node
    number: int
    error: float


def first_divergence(
    graph: Graph, model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], tolerance: float
) -> Divergence | None:
    """The first node in the order of computation whose value on these inputs is further off than `tolerance`.

    The graph runs once more with the value of every node as an output, and each is compared with what torch computes at the
    operation of its name in the model's exported graph. What passes added, or gave another shape, is not compared.

    Returns:
        None where every value that can be compared is right: what is wrong then depends on which values are kept.
    """
    expected = values_in_torch(model, args, kwargs)
    every = Graph(graph.inputs, [node.output for node in graph], graph.nodes)
    arrays = [a.detach().contiguous().numpy() for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
    found = CompiledModel(lower(every, {}))(*arrays)
    for index, (node, value) in enumerate(zip(graph, found if isinstance(found, tuple) else (found,), strict=True)):
        right = expected.get(node.output.name)
        if right is None or right.shape != value.shape:
            continue
        if (error := difference(value, right)) > tolerance:
            return Divergence(node, index, error)
    return None


def values_in_torch(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, NDArray[np.float32]]:
    """What each operation of the model's exported graph computes on these inputs, by the operation's name."""
    program = exported(plain_copy(model), Arguments(tuple(args), dict(kwargs)), training=False)
    held = held_tensors(program)
    given = iter(pytree.tree_leaves((tuple(args), dict(kwargs))))
    # Operations in place may change what they are given.
    inputs = [
        _copied(held[node.name] if node.name in held else next(given))
        for node in program.graph.nodes
        if node.op == "placeholder"
    ]
    recorder = _Recorder(program.graph_module)
    with torch.no_grad():
        recorder.run(*inputs)
    return recorder.values


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


class _Recorder(fx.Interpreter):
    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.values: dict[str, NDArray[np.float32]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op == "call_function" and isinstance(result, Tensor) and result.dtype == torch.float32:
            self.values[n.name] = result.detach().clone().contiguous().numpy()  # as it is now: a later one may change it
        return result

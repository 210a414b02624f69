"""A segment that runs in torch."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from ..exporting import BatchError
from ..rules.registry import name_of
from ..rules.translation import BATCHES
from .segment import Contents, Segment


class TorchSegment(Segment):
    """Runs operations of an exported program in inference mode, on as many threads as torch is set to."""

    runtime = "torch"

    def __init__(self, contents: Contents, module: fx.GraphModule) -> None:
        super().__init__(contents)
        self._module: Any = module
        self._held = {tensor.untyped_storage().data_ptr() for tensor in module.buffers()}

    def enter(self, values: Sequence[Any]) -> list[Any]:
        """Tensors on the same memory; what is neither array nor tensor as it is."""
        return [_tensor(value) for value in values]

    def run(self, batch: int, given: list[Any]) -> list[Any]:
        """Tensors; none of them is memory of a constant."""
        with torch.inference_mode():
            made = self._module.forward(batch, *given)
            return [
                value.clone() if isinstance(value, Tensor) and value.untyped_storage().data_ptr() in self._held else value
                for value in made
            ]

    def with_threads(self, threads: int) -> "TorchSegment":
        """The same: torch has one number of threads for all."""
        return self


def _tensor(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return torch.from_numpy(value if value.flags.writeable else value.copy())


def module_of(
    inputs: Sequence[fx.Node],
    members: Sequence[fx.Node],
    outputs: Sequence[fx.Node],
    constants: Mapping[fx.Node, Any],
    others: Mapping[fx.Node, fx.Node],
    source: Any,
) -> fx.GraphModule:
    """Some operations of an exported program as a module of the batch size and `inputs`, which returns `outputs`.

    Numbers that differ between the two batch sizes of the export are computed from the batch.

    Args:
        constants: tensors and numbers that are known.
        others: each operation at the other batch size.
        source: the module that holds what the program names, such as the branches of a condition.
    Raises:
        BatchError: something but a whole number differs.
    """
    root, graph = nn.Module(), fx.Graph()
    batch = graph.placeholder("batch")
    made: dict[fx.Node, Any] = {node: graph.placeholder(f"given_{node.name}") for node in inputs}
    grown: dict[tuple[int, int], fx.Node] = {}

    def value_of(node: fx.Node) -> Any:
        if node not in made:
            name = f"held_{len(made)}"
            if node in constants and not isinstance(constants[node], Tensor):
                return constants[node]
            if node in constants:
                root.register_buffer(name, constants[node].detach())
            elif node.op == "get_attr":
                setattr(root, name, _attribute(source, str(node.target)))
            else:
                return node.meta.get("val")  # None, or a number that was given
            made[node] = graph.get_attr(name)
        return made[node]

    def size(first: int, second: int) -> fx.Node:
        per_item = (second - first) // (BATCHES[1] - BATCHES[0])
        fixed = first - per_item * BATCHES[0]
        if (fixed, per_item) not in grown:
            scaled = batch if per_item == 1 else graph.call_function(operator.mul, (batch, per_item))
            grown[fixed, per_item] = scaled if fixed == 0 else graph.call_function(operator.add, (scaled, fixed))
        return grown[fixed, per_item]

    def argument(node: fx.Node, first: Any, second: Any) -> Any:
        if isinstance(first, fx.Node):
            return value_of(first)
        if isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
            return type(first)([argument(node, a, b) for a, b in zip(first, second, strict=True)])
        if isinstance(first, int) and not isinstance(first, bool) and isinstance(second, int) and first != second:
            return size(first, second)
        if str(first) != str(second):
            raise BatchError(
                f"{name_of(node)} is given {first} for a batch of {BATCHES[0]} and {second} for one of {BATCHES[1]}"
            )
        return first

    for node in members:
        other = others[node]
        args = tuple(argument(node, a, b) for a, b in zip(node.args, other.args, strict=True))
        kwargs = {key: argument(node, value, other.kwargs.get(key)) for key, value in node.kwargs.items()}
        target: Any = node.target
        made[node] = graph.call_function(target, args, kwargs)
    graph.output(tuple(value_of(node) for node in outputs))
    return fx.GraphModule(root, graph)


def _attribute(source: Any, name: str) -> Any:
    for part in name.split("."):
        source = getattr(source, part)
    return source

"""Which operations of an exported program are covered, and the graph of any part of it."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from ...channels.export import held_tensors
from ..capture_torch import IGNORED, Capture
from ..graph import Graph, Value
from ..multiply_adds import multiply_adds
from ..rules.registry import name_of
from ..rules.translation import path_of
from ..unsupported import Refused, UnsupportedModel

ENTERS = (torch.float32, torch.bool)  # dtypes that programs have values of; a truth value is 1 or 0


class Survey(Capture):
    """One walk over an exported program that refuses nothing.

    Attributes:
        uncovered: why each operation that cannot be compiled cannot.
        arguments: what a caller gives.
        returned: the outputs.
    """

    def __init__(self, program: Any, other: Any) -> None:
        """`other`: the same program, exported at the other batch size."""
        super().__init__(program, list(program.graph.nodes), list(other.graph.nodes))
        self.module: Any = program.graph_module
        self.uncovered: dict[fx.Node, Refused] = {}
        self.arguments: list[fx.Node] = []
        held = held_tensors(program)
        for node in self._exported:
            if node.op == "placeholder" and node.name in held:
                self.hold(node, held[node.name])
            elif node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor):
                self.arguments.append(node)
                self.values[node] = Value(node.name, self.shape(node))
            elif node.op == "call_function":
                self._call(node)
        made: Any = self._exported[-1].args[0]
        kinds = [spec.kind.name for spec in program.graph_signature.output_specs]
        self.returned: list[fx.Node] = [
            node for node, kind in zip(made, kinds, strict=True) if kind == "USER_OUTPUT" and isinstance(node, fx.Node)
        ]

    def live(self) -> list[fx.Node]:
        """Operations that an output depends on and that are no constants, in order."""
        waiting, found = list(self.returned), set()
        while waiting:
            node = waiting.pop()
            if node not in found and not self.is_known(node):
                found.add(node)
                waiting += node.all_input_nodes
        return [node for node in self._exported if node in found and node.op == "call_function"]

    def multiply_adds(self) -> int:
        """Of the whole program."""
        return sum(map(multiply_adds, self._exported))

    def _call(self, node: fx.Node) -> None:
        if name_of(node) in IGNORED:
            return
        before = len(self._refused)
        super()._call(node)
        if len(self._refused) > before:
            self.uncovered[node] = self._refused[before]
        elif not self.is_known(node) and (strange := self._strange(node)) is not None:
            self.uncovered[node] = Refused(name_of(node), path_of(node), f"of {strange}", multiply_adds(node))

    def _strange(self, node: fx.Node) -> "torch.dtype | None":
        """The first dtype among what is read and made that programs do not have."""
        for one in (node, *(source for source in node.all_input_nodes if not self.is_known(source))):
            known = one.meta.get("val")
            for tensor in known if isinstance(known, (list, tuple)) else [known]:
                if isinstance(tensor, Tensor) and tensor.dtype not in ENTERS:
                    return tensor.dtype
        return None

    def graph_of(self, inputs: Sequence[fx.Node], members: Iterable[fx.Node], outputs: Sequence[fx.Node]) -> Graph:
        """The graph of some of the operations, in order.

        Its outputs are the values of `outputs`, of which several may be one value, an input or a constant.
        """
        return _Part(self._program, self._exported, list(self._other.values())).cut(self, inputs, members, outputs)


class _Part(Capture):
    def cut(self, of: Survey, inputs: Sequence[fx.Node], members: Iterable[fx.Node], outputs: Sequence[fx.Node]) -> Graph:
        self.tensors, self.constant_lists, self.numbers = dict(of.tensors), of.constant_lists, of.numbers
        for node in inputs:
            self.values[node] = Value(node.name, self.shape(node))
        for node in members:
            self._call(node)
        if self._refused:
            raise UnsupportedModel(self._refused)
        return Graph([self.values[node] for node in inputs], [self.value(node) for node in outputs], self.nodes)

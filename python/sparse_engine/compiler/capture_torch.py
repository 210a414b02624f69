"""The graph of a torch module, by `torch.export`.

The model is exported at two batch sizes and the shapes compared: what grows with the batch is known from that, not from
symbols.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..channels.export import held_tensors, plain_copy
from .beforehand import Beforehand
from .exporting import BatchError, exports, exports_at, resized_arguments
from .graph import Graph, Value
from .multiply_adds import multiply_adds
from .open_axis import BATCH, OpenAxis, differ_in_what_they_hold, held_at_every_length
from .rules import RefusedError
from .rules.integers import Bounds, is_integer
from .rules.registry import Bound, is_in_place, name_of, rule_for
from .rules.translation import BATCHES, INTEGERS, Grown, is_open, path_of
from .unsupported import Refused, UnsupportedModel

IGNORED = ("_assert_tensor_metadata",)  # checks of torch's exporter, which make nothing
# Arguments that are sizes of the result, which may grow with the batch.
SIZES = ("size", "shape", "sizes", "end", "length", "split_size", "split_sizes", "repeats", "dims")


def capture(
    model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], any_batch: bool = True, opened: OpenAxis = BATCH
) -> Graph:
    """The graph of `model` as it computes in eval mode, its masks applied.

    Args:
        model: on the CPU, in eval mode.
        args, kwargs: an example of its inputs. The first axis of each tensor is the batch.
        any_batch: whether the graph is for every batch size, or for that of the example alone.
        opened: the axis that is open instead of the batch.
    Raises:
        UnsupportedModel: operations that are not covered, all of them.
        BatchError, a ValueError: what is computed depends on the batch size. ValueError: on values.
    """
    programs = exports(model, args, kwargs, any_batch, opened)
    first, second = (list(programs[i].graph.nodes) for i in (0, -1))
    grown: dict[str, Grown] = {}
    if opened.longest and differ_in_what_they_hold(programs[0], programs[1]):  # what was computed before the exporter saw it
        longest = resized_arguments(args, kwargs, opened.longest, opened)
        grown = held_at_every_length(programs[0], programs[1], exports_at(plain_copy(model), [longest])[0])
    return Capture(programs[0], first, second, grown, opened.longest).graph()


class Capture(Beforehand):
    """One walk over an exported program."""

    def __init__(
        self,
        program: Any,
        nodes: list[fx.Node],
        others: list[fx.Node],
        held_grown: "Mapping[str, Grown] | None" = None,
        longest: "int | None" = None,
    ) -> None:
        """`held_grown`: what the program holds that differs with the length of an open axis, by the names of placeholders."""
        super().__init__(nodes, others, longest)
        self._held_grown = held_grown or {}
        self._program, self._exported = program, nodes
        self._refused: list[Refused] = []
        self._bounds = Bounds(longest or 1)

    def graph(self) -> Graph:
        """Everything, or UnsupportedModel."""
        held = held_tensors(self._program)
        inputs: list[Value] = []
        outputs: list[Value] = []
        for node in self._exported:
            if node.op == "placeholder":
                if node.name in held:
                    self._hold(node, held[node.name])
                elif isinstance(node.meta.get("val"), Tensor):
                    dtype = node.meta["val"].dtype
                    if dtype not in (torch.float32, torch.bool, *INTEGERS):
                        self._refuse(f"an input of {dtype}", node.name, "inputs are float32, integers or truth values")
                    named_dtype = str(dtype).removeprefix("torch.")
                    inputs.append(self.values.setdefault(node, Value(node.name, self.shape(node), None, named_dtype)))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                returned: Any = node.args[0]
                theirs: Any = self.other(node).args[0]
                if len(returned) != len(theirs) or not all(map(self._are_alike, returned, theirs)):
                    raise BatchError("what is returned depends on the batch size; a compiled model serves every one")
                for made in returned:
                    kept = made.meta.get("val") if isinstance(made, fx.Node) else None
                    if isinstance(kept, Tensor) and kept.dtype != torch.float32 and not self._refused:
                        self._refuse(f"an output of {kept.dtype}", path_of(made), "outputs are float32")
                outputs = [self.value(v) for v in returned if isinstance(v, fx.Node)]
        self._check_item_numbers(outputs)
        if self._refused:
            raise UnsupportedModel(self._refused, sum(map(multiply_adds, self._exported)))
        return Graph(inputs, outputs, self.nodes)

    def _hold(self, node: fx.Node, tensor: Tensor) -> None:
        """A parameter, a buffer or a constant, which may differ with the length of an open axis."""
        grown = self._held_grown.get(node.name)
        if grown is None:
            self.hold(node, tensor)
        elif not self.note_grown(node, grown):
            self._refuse("a constant", path_of(node), "it differs with the length of the open axis")
            self._pretend(node)

    def _check_item_numbers(self, outputs: list[Value]) -> None:
        """Nothing that outputs are made of may read the numbers of items, which only indexing knows what to do with."""
        if not self.item_numbers:
            return
        read = set(outputs)
        for made in reversed(self.nodes):
            if made.output in read:
                read.update(made.reads)
        for value, node in self.item_numbers.items():
            if value in read:
                self._refuse(name_of(node), path_of(node), "over the batch, and not to index by it", node)

    def _refuse(self, operation: str, path: str, reason: str = "", node: "fx.Node | None" = None) -> None:
        self._refused.append(Refused(operation, path, reason, 0 if node is None else multiply_adds(node)))

    def _call(self, node: fx.Node) -> None:
        name = name_of(node)
        if name in IGNORED:
            return
        if name == "detach_" and self.is_parameter(node.args[0]):  # a tensor made in the model's code
            self.tensors[node] = self.parameter(node.args[0], "argument")
            return
        if self._take_apart(node) or self.known_beforehand(node):
            return
        if any(map(is_open, (node, *(source for source in node.all_input_nodes if not self.is_known(source))))):
            self._refuse(name, path_of(node), "its size depends on values", node)
            self._pretend(node)
            return
        found = rule_for(node)
        if found is None:
            self._refuse(name, path_of(node), node=node)
            self._pretend(node)
            return
        try:
            self._check_alike(node)
            bound = fx.map_arg(_bound(node), lambda source: self.numbers.get(source, source))
            self._follow_integers(node, bound)
            made = found(self, node, bound)
        except RefusedError as refusal:
            self._refuse(name, path_of(node), str(refusal), node)
            self._pretend(node)
            return
        if isinstance(made, list):
            self.lists[node] = made
            return
        self.values[node] = made
        if is_in_place(node) and not self._refused:
            self._overwrite(node, made)

    def _follow_integers(self, node: fx.Node, bound: Bound) -> None:
        known = node.meta.get("val")
        results = known if isinstance(known, (list, tuple)) else [known]
        if results and all(map(is_integer, results)):  # a pool's second result are places, which nothing may read
            self._bounds.note(node, bound, self._held)
        elif isinstance(known, Tensor) and known.is_floating_point():
            self._bounds.note_floats(node, bound, self._held)

    def _check_alike(self, node: fx.Node) -> None:
        """Refuse arguments that are not the same at both batch sizes, but for numbers that are sizes of the result."""
        others = _bound(self.other(node))
        for name, argument in _bound(node).items():
            first, second = (pytree.tree_leaves(given) for given in (argument, others[name]))
            if name in SIZES:
                continue
            if len(first) != len(second):
                raise RefusedError(
                    f"with {len(first)} {name} for a batch of {BATCHES[0]} and {len(second)} for one of {BATCHES[1]}"
                )
            for a, b in zip(first, second, strict=True):
                if not self._are_alike(a, b):
                    raise RefusedError(f"with {name} {a} for a batch of {BATCHES[0]} and {b} for one of {BATCHES[1]}")

    def _are_alike(self, a: object, b: object) -> bool:
        return self.other(a) is b if isinstance(a, fx.Node) else bool(a == b)

    def _held(self, argument: object) -> "Tensor | None":
        if not isinstance(argument, fx.Node):
            return None
        grown = self.grown.get(argument)
        return self.tensors.get(argument) if grown is None else grown.longest

    def _pretend(self, node: fx.Node) -> None:
        """Results of a refused operation, so that what follows is looked at too."""
        if isinstance(node.meta.get("val"), (list, tuple)):
            self.lists[node] = [Value(node.name, shape) for shape in self.shapes(node)]
        else:
            self.values[node] = Value(node.name, self.shape(node))

    def _take_apart(self, node: fx.Node) -> bool:
        """One of several results."""
        source = node.args[0] if node.args else None
        if "getitem" not in str(node.target) or not isinstance(source, fx.Node) or source not in self.lists:
            return False
        results, index = self.lists[source], node.args[1]
        assert isinstance(index, int)
        if self.other(node).args[1] != index:
            self._refuse(name_of(source), path_of(source), "of whose results the batch size says which one is taken")
        if index < len(results):
            self.values[node] = results[index]
        else:
            if node.users:
                self._refuse(name_of(source), path_of(source), f"its result number {index + 1} is read")
            self._pretend(node)
        return True

    def _overwrite(self, node: fx.Node, value: Value) -> None:
        """An operation in place: whoever reads what it changed reads the result from now on."""
        target = node.args[0]
        assert isinstance(target, fx.Node)
        if target not in self.values:
            self.overwrite_constant(node, target, value)
            return
        old = self.values[target]
        known = list(self.values.items())
        known += [(other, one) for other, several in self.lists.items() for one in several]
        for other, one in known:
            if one is old and other in self.values:
                self.values[other] = value
            elif self.same_memory(one, old) and any(self.is_ahead(user) for user in other.users):
                raise UnsupportedModel([Refused(str(node.target), path_of(node), "in place on memory that a view is read of")])


def _bound(node: fx.Node) -> Bound:
    """The arguments by name, defaults filled in."""
    target: Any = node.target
    schema = target._schema.arguments
    given = dict(zip((a.name for a in schema), node.args, strict=False)) | dict(node.kwargs)
    return {a.name: given.get(a.name, a.default_value if a.has_default_value() else None) for a in schema}

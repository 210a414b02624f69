"""What a rule is given: the values known so far, and the nodes made of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..graph import Array, Node, Shape, Size, Value

BATCHES = (2, 3)  # that a model is exported at
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
MOST_EXACT = 2**24  # up to which float32 holds every whole number


class RefusedError(Exception):
    """Why one operation is not covered as it stands."""


@dataclass(frozen=True)
class Grown:
    """A constant at the lengths of `BATCHES` and at the longest."""

    first: Tensor
    second: Tensor
    longest: Tensor

    @property
    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """From the shortest on."""
        return self.first, self.second, self.longest

    def is_beginning(self) -> bool:
        """Whether the longest begins, along every axis, as the shorter ones are."""
        for shorter in (self.first, self.second):
            if self.longest.ndim != shorter.ndim:
                return False
            beginning = self.longest[tuple(slice(n) for n in shorter.shape)]
            if beginning.shape != shorter.shape or not torch.equal(beginning, shorter):
                return False
        return True


class Translation:
    """Values and nodes of the graph that is made of an exported program.

    Attributes:
        nodes: made so far, in order.
        values: the result of each exported node.
        lists: those of nodes with several results.
        tensors: parameters, buffers, and what is computed of them alone.
        constant_lists, numbers: the same, where it is several tensors, and where it is a number.
        grown: what is computed of them and of the length of the open axis.
        longest: how long that may become; None where it is the batch, which no constant depends on.
    """

    def __init__(self, nodes: Sequence[fx.Node], others: Sequence[fx.Node], longest: "int | None" = None) -> None:
        """`others`: the same nodes, exported at the other batch size, or at the other length of another open axis."""
        self.longest = longest
        self._other = dict(zip(nodes, others, strict=True))
        self.nodes: list[Node] = []
        self.values: dict[fx.Node, Value] = {}
        self.lists: dict[fx.Node, list[Value]] = {}
        self.tensors: dict[fx.Node, Tensor] = {}
        self.constant_lists: dict[fx.Node, list[Tensor]] = {}
        self.numbers: dict[fx.Node, Any] = {}
        self.grown: dict[fx.Node, Grown] = {}
        self._arrays: dict[Any, Array] = {}  # by what they are made of, so that shared weights stay shared
        self._base: dict[Value, Value] = {}  # of a view: what it views
        self.item_numbers: dict[Value, fx.Node] = {}  # 0, 1, … over the batch, by what makes them: no program computes them

    def other(self, node: fx.Node) -> fx.Node:
        """The node at the other batch size."""
        return self._other[node]

    def shape(self, node: fx.Node) -> Shape:
        """The shape of a result, from both batch sizes; () where it is no tensor."""
        return shape_of(node.meta.get("val"), self._other[node].meta.get("val"))

    def shapes(self, node: fx.Node) -> list[Shape]:
        """Those of all results of a node that has several."""
        first, second = node.meta["val"], self._other[node].meta["val"]
        return [shape_of(a, b) for a, b in zip(first, second, strict=True)]

    def value(self, argument: Any) -> Value:
        """The value of an argument; a parameter, a buffer or a number becomes a constant."""
        if isinstance(argument, fx.Node):
            if argument in self.values:
                return self.values[argument]
            if argument in self.grown:
                whole = constant(f"{argument.name}_whole", array_of(self.grown[argument].longest))
                self.values[argument] = self.emit("prefix", argument, [whole])
                return self.values[argument]
            tensor = self.tensors.get(argument)
            if tensor is None:
                raise RefusedError(f"{argument} is no tensor")
            return constant(argument.name, array_of(tensor))
        if isinstance(argument, (int, float)):
            return constant(repr(argument), np.array(argument, np.float32))
        raise RefusedError(f"{argument!r} is no tensor")

    def is_parameter(self, argument: Any) -> bool:
        """Whether an argument depends on parameters and constants alone."""
        return isinstance(argument, fx.Node) and argument in self.tensors

    def is_known(self, node: fx.Node) -> bool:
        """Whether a result, or all of several, depends on parameters, constants and sizes alone."""
        return node in self.tensors or node in self.constant_lists or node in self.numbers

    def parameter(self, argument: Any, what: str) -> Tensor:
        """A parameter or buffer, which a product's weight has to be."""
        if isinstance(argument, fx.Node) and argument in self.tensors:
            return self.tensors[argument]
        raise RefusedError(f"its {what} is computed, not a parameter")

    def weight(self, argument: Any, transposed: bool = False) -> Array:
        """A parameter as (rows, columns); the same array for the same parameter."""
        tensor = self.parameter(argument, "weight")
        tensor = tensor.t() if transposed else tensor
        key = (tensor.data_ptr(), tensor._version, tuple(tensor.shape), tensor.stride())
        if key not in self._arrays:
            self._arrays[key] = array_of(tensor).reshape(tensor.shape[0], -1)
        return self._arrays[key]

    def joined(self, arguments: Sequence[Any]) -> Array:
        """Parameters as `weight` gives each, one below another; the same array for the same ones."""
        parts = [self.weight(argument) for argument in arguments]
        key = tuple(map(id, parts))
        if len(parts) == 1:
            return parts[0]
        if key not in self._arrays:
            self._arrays[key] = np.concatenate(parts)
        return self._arrays[key]

    def bias(self, argument: Any) -> Array | None:
        """A parameter, or None."""
        return None if argument is None else array_of(self.parameter(argument, "bias"))

    def emit(self, op: str, node: fx.Node, inputs: list[Value], shape: Shape | None = None, **attributes: Any) -> Value:
        """A node whose result is that of the exported one, or with `shape` one on the way there."""
        name = node.name if shape is None else f"{node.name}/{len(self.nodes)}"  # the name of no exported node
        output = Value(name, self.shape(node) if shape is None else shape)
        self.nodes.append(Node(op, path_of(node), inputs, output, **attributes))
        return output

    def view(self, node: fx.Node, x: Value, shape: Shape | None = None) -> Value:
        """The same elements in another shape."""
        if (self.shape(node) if shape is None else shape) == x.shape:
            return x
        return self.seen(x, self.emit("reshape", node, [x], shape))

    def copied(self, node: fx.Node, x: Value) -> Value:
        """The same once more, which operations in place may change."""
        return self.emit("reshape", node, [x])

    def seen(self, x: Value, output: Value) -> Value:
        """Notes that torch's `output` is memory of `x`."""
        self._base[output] = self._base.get(x, x)
        return output

    def base_of(self, x: Value) -> Value:
        """What a view views, or x itself."""
        return self._base.get(x, x)

    def maker(self, x: Value) -> Node | None:
        """The node that makes a value."""
        return next((node for node in reversed(self.nodes) if node.output is x), None)

    def same_memory(self, a: Value, b: Value) -> bool:
        """Whether torch keeps both in one piece of memory."""
        return self._base.get(a, a) is self._base.get(b, b)


def shape_of(first: Any, second: Any) -> Shape:
    """Sizes that grow with the batch, from one tensor at both batch sizes; () for anything else."""
    if not isinstance(first, Tensor) or not isinstance(second, Tensor) or _is_open(first):
        return ()
    sizes = []
    for a, b in zip(first.shape, second.shape, strict=True):
        per_item = (int(b) - int(a)) // (BATCHES[1] - BATCHES[0])
        sizes.append(Size(int(a) - per_item * BATCHES[0], per_item))
    return tuple(sizes)


def is_open(node: fx.Node) -> bool:
    """Whether a result has a size that depends on values, or is such a size."""
    known = node.meta.get("val")
    return any(map(_is_open, known if isinstance(known, (list, tuple)) else [known]))


def _is_open(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not all(isinstance(size, int) for size in value.shape)
    return isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def constant(name: str, array: Array) -> Value:
    """A value that is known."""
    return Value(name, tuple(Size(n) for n in array.shape), array)


def array_of(tensor: Tensor) -> Array:
    """A float32 copy of a parameter or buffer. Raises RefusedError for integers that float32 does not hold."""
    if tensor.dtype in INTEGERS and tensor.numel() and tensor.abs().max() > MOST_EXACT:
        raise RefusedError(f"of integers up to {int(tensor.abs().max())}; they are computed in float32, up to 2^24")
    found: Array = tensor.detach().to(torch.float32).cpu().numpy().copy()
    return found


def path_of(node: fx.Node) -> str:
    """The module that a node stands in, as `named_modules` calls it."""
    stack = node.meta.get("nn_module_stack") or {}
    return str(next(reversed(stack.values()))[0]) if stack else ""

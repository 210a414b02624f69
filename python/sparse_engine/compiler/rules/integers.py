"""Integers in a program of floats: how large they may become, and the operations that are the same for both."""

from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..tensors import MOST_WHOLE
from .registry import RefusedError, name_of
from .translation import INTEGERS, MOST_EXACT

# Operations that float32 carries out on whole numbers as torch does on integers, by what becomes of the largest magnitude.
_SUMS = ("add", "sub", "rsub")
_PRODUCTS = ("mul",)
_SAME = (
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as", "reshape_as", "permute",
    "transpose", "t", "movedim", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack",
    "expand", "expand_as", "broadcast_to", "repeat", "tile", "flip", "index_select", "clone", "contiguous", "detach", "alias",
    "lift_fresh_copy", "dropout", "to", "_to_copy", "type_as", "where", "masked_fill", "neg", "abs", "clamp", "clamp_min",
    "clamp_max", "maximum", "minimum", "pad", "constant_pad_nd", "embedding", "index", "roll", "gather",
)  # fmt: skip
_MADE: dict[str, "int | None"] = {
    f"{before}{kind}{after}": number
    for before, after in (("", ""), ("", "_like"), ("new_", ""))
    for kind, number in (("zeros", 0), ("ones", 1), ("full", None))
}
# Arguments that elements of the result come from: others are sizes, axes, places and conditions.
OPERANDS = ("self", "input", "other", "tensors", "value", "min", "max", "fill_value", "weight", "prepend", "append")


def is_integer(value: object) -> bool:
    """Whether an exported value is a tensor of integers."""
    return isinstance(value, Tensor) and value.dtype in INTEGERS


class Bounds:
    """The largest magnitude that integers of an exported graph can have, and floats that are computed from known ones."""

    def __init__(self, longest: int = 1) -> None:
        """`longest`: how long an open axis may become that is not the batch."""
        self._known: dict[fx.Node, int] = {}
        self._longest = longest

    def of(self, argument: object, held: "Tensor | None") -> int:
        """Of an argument; `held` is its value where it is a parameter or a constant."""
        if isinstance(argument, (int, float)):
            return ceil(abs(argument)) if abs(argument) < MOST_EXACT else MOST_EXACT + 1
        if isinstance(argument, fx.Node):
            if argument in self._known:
                return self._known[argument]
            if held is not None and held.is_floating_point():
                return MOST_EXACT + 1  # it may be infinite, and large to look through
            if held is not None:
                return int(held.abs().max()) if held.numel() and held.dtype != torch.bool else 1
            known = argument.meta.get("val")
            if isinstance(known, Tensor) and known.is_floating_point():
                return MOST_EXACT + 1  # may be anything
            return MOST_WHOLE if is_integer(known) else 1
        return 1

    def note(self, node: fx.Node, arguments: Mapping[str, object], held: "Callable[[object], Tensor | None]") -> None:
        """Follow an operation whose result is of integers, given its arguments by name.

        Args:
            held: the value of an argument that is a parameter or a constant.
        Raises:
            RefusedError: results may pass what float32 holds.
        """
        bound = self._bound(node, arguments, self._operands(arguments, held))
        if bound > MOST_EXACT:
            raise RefusedError(f"of integers that may reach {bound}; float32 holds whole numbers up to 2^24")
        self._known[node] = bound

    def note_floats(self, node: fx.Node, arguments: Mapping[str, object], held: "Callable[[object], Tensor | None]") -> None:
        """Follow an operation whose result is of floats, as far as it can be: integers may be made of it."""
        try:
            bound = self._bound(node, arguments, self._operands(arguments, held))
        except (RefusedError, KeyError):
            return
        if bound <= MOST_EXACT:
            self._known[node] = bound

    def _operands(self, arguments: Mapping[str, object], held: "Callable[[object], Tensor | None]") -> dict[str, int]:
        return {
            name: max((self.of(one, held(one)) for one in pytree.tree_leaves(arguments[name])), default=0)
            for name in OPERANDS
            if arguments.get(name) is not None
        }

    def _bound(self, node: fx.Node, arguments: Mapping[str, Any], operands: Mapping[str, int]) -> int:
        name = name_of(node).rstrip("_")
        if name in _SUMS:
            own, other = operands["self"], operands.get("other", 0)
            factor = self.of(arguments.get("alpha", 1), None)
            return factor * own + other if name == "rsub" else own + factor * other
        if name == "diff":
            return 2 * max(operands.values())
        if name in ("cumsum", "sum"):
            return operands["self"] * prod(self._reduced(arguments))
        if name == "argmax":
            return max(1, *self._sizes(arguments["self"]))
        if name in _PRODUCTS:
            return operands["self"] * operands["other"]
        if name in _MADE:
            number = _MADE[name]
            return operands["fill_value"] if number is None else number
        if name == "arange":
            return max(self.of(arguments.get(end, 0), None) for end in ("start", "end"))
        if name == "clamp" and {"min", "max"} <= operands.keys():
            return max(operands["min"], operands["max"])
        if name in _SAME:
            return max(operands.values(), default=MOST_WHOLE)
        raise RefusedError("of integers; programs compute in float32")

    def _sizes(self, argument: object) -> list[int]:
        known = argument.meta.get("val") if isinstance(argument, fx.Node) else None
        return [max(int(size), self._longest) for size in known.shape] if isinstance(known, Tensor) else []

    def _reduced(self, arguments: Mapping[str, Any]) -> list[int]:
        """Lengths of the axes that are summed over."""
        sizes, axes = self._sizes(arguments["self"]), arguments.get("dim")
        if axes is None or axes == [] or not sizes:
            return sizes
        return [sizes[axis] for axis in (axes if isinstance(axes, (list, tuple)) else [axes])]

"""Integers in a program of floats: how large they may become, and the operations that are the same for both."""

from collections.abc import Sequence

import torch
from torch import Tensor, fx

from ..compiled import MOST_WHOLE
from .registry import RefusedError, name_of
from .translation import INTEGERS, MOST_EXACT

# Operations that float32 carries out on whole numbers as torch does on integers, by what becomes of the largest magnitude.
_SUMS = ("add", "sub", "rsub", "diff", "cumsum", "sum")
_PRODUCTS = ("mul",)
_SAME = (
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as", "reshape_as", "permute",
    "transpose", "t", "movedim", "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "unbind", "cat", "stack",
    "expand", "expand_as", "broadcast_to", "repeat", "tile", "flip", "index_select", "clone", "contiguous", "detach", "alias",
    "lift_fresh_copy", "dropout", "to", "_to_copy", "type_as", "where", "masked_fill", "neg", "abs", "clamp", "clamp_min",
    "clamp_max", "maximum", "minimum", "pad", "constant_pad_nd", "embedding", "index", "zeros", "ones", "full", "zeros_like",
    "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "roll",
    "arange", "gather",
)  # fmt: skip


def is_integer(value: object) -> bool:
    """Whether an exported value is a tensor of integers."""
    return isinstance(value, Tensor) and value.dtype in INTEGERS


class Bounds:
    """The largest magnitude that each integer of an exported graph can have."""

    def __init__(self) -> None:
        self._known: dict[fx.Node, int] = {}

    def of(self, argument: object, held: "Tensor | None") -> int:
        """Of an argument; `held` is its value where it is a parameter or a constant."""
        if isinstance(argument, bool) or argument is None:
            return 1
        if isinstance(argument, (int, float)):
            return int(abs(argument)) + 1 if abs(argument) < MOST_EXACT else MOST_EXACT
        if isinstance(argument, fx.Node):
            if argument in self._known:
                return self._known[argument]
            if held is not None:
                return int(held.abs().max()) if held.numel() and held.dtype != torch.bool else 1
            known = argument.meta.get("val")
            return MOST_WHOLE if is_integer(known) else 1
        return 1

    def note(self, node: fx.Node, operands: Sequence[int]) -> None:
        """Follow an operation whose result is of integers. Raises RefusedError where they may pass what float32 holds."""
        name = name_of(node).rstrip("_")
        if name in _SUMS:
            bound = sum(operands)
            if name == "diff":
                bound = 2 * max(operands)
            elif name in ("cumsum", "sum"):
                source = node.args[0]
                known = source.meta["val"].shape if isinstance(source, fx.Node) else ()
                bound = operands[0] * max(1, *known)
        elif name == "argmax":
            source = node.args[0]
            bound = max(1, *source.meta["val"].shape) if isinstance(source, fx.Node) else MOST_EXACT
        elif name in _PRODUCTS:
            bound = operands[0] * operands[1]
        elif name in _SAME:
            bound = max(operands, default=MOST_WHOLE)
        else:
            raise RefusedError("of integers; programs compute in float32")
        if bound > MOST_EXACT:
            raise RefusedError(f"of integers that may reach {bound}; float32 holds whole numbers up to 2^24")
        self._known[node] = bound

"""The axis of inputs whose length may change from call to call, and constants that are as long as it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from ..channels.export import held_tensors
from .rules.translation import BATCHES, Grown


@dataclass(frozen=True)
class OpenAxis:
    """The batch, 0, or another axis, of up to `longest`: of every input that has it, or of each of the positional ones its own.

    Attributes:
        axes: of each positional input, the axis that is open; None where nothing is.
    """

    axis: int = 0
    longest: int | None = None
    axes: "tuple[int | None, ...] | None" = None

    def of(self, input_number: int) -> "int | None":
        """The open axis of a positional input."""
        return self.axis if self.axes is None else self.axes[input_number]


BATCH = OpenAxis()


def differ_in_what_they_hold(first: Any, second: Any) -> bool:
    """Whether two exported programs of the same operations have other parameters, buffers or constants."""
    return any(not _are_same(a, b) for a, b in zip(_held(first).values(), _held(second).values(), strict=True))


def held_at_every_length(first: Any, second: Any, longest: Any) -> dict[str, Grown]:
    """What exported programs at the lengths of `BATCHES` and at the longest hold differently, by placeholders of the first."""
    found = zip(_held(first).items(), _held(second).values(), _held(longest).values(), strict=True)
    return {name: Grown(a, b, last) for (name, a), b, last in found if not _are_same(a, b)}


def _held(program: Any) -> dict[str, Tensor]:
    """In the order of placeholders, whose names may differ from program to program."""
    held = held_tensors(program)
    return {node.name: held[node.name] for node in program.graph.nodes if node.op == "placeholder" and node.name in held}


def _are_same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and torch.equal(a, b))


def at_every_length(
    node: fx.Node, other: fx.Node, longest: int, tensors: Mapping[fx.Node, Tensor], grown: Mapping[fx.Node, Grown]
) -> "Grown | None":
    """What an operation on constants makes at the lengths of `BATCHES` and at the longest.

    Args:
        node, other: the operation at both of `BATCHES`; whole numbers in its arguments that differ grow with the length.
        tensors, grown: constants that are the same at every length, and those that are not.
    Returns:
        None where its arguments differ in anything else.
    Raises:
        IndexError, RuntimeError: the operation fails at the longest.
    """
    given, spec = pytree.tree_flatten((node.args, node.kwargs))
    pairs = list(zip(given, pytree.tree_leaves((other.args, other.kwargs)), strict=True))
    made = []
    for i, length in enumerate((*BATCHES, longest)):
        leaves: list[Any] = []
        for a, b in pairs:
            if isinstance(a, fx.Node):
                leaves.append(grown[a].all[i] if a in grown else tensors[a].detach())
            elif a != b and isinstance(a, int) and isinstance(b, int):
                leaves.append(a + (b - a) // (BATCHES[1] - BATCHES[0]) * (length - BATCHES[0]))
            elif a == b:
                leaves.append(a)
            else:
                return None
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        target: Any = node.target
        made.append(target(*args, **kwargs))
    return Grown(*made)

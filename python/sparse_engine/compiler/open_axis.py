"""The axis of inputs whose length may change from call to call, and constants that are as long as it."""

from collections.abc import Mapping, Sequence
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


def held_in_order(program: Any) -> dict[str, Tensor]:
    """Parameters, buffers and constants of an exported program, by the names of its placeholders."""
    held = held_tensors(program)
    return {node.name: held[node.name] for node in program.graph.nodes if node.op == "placeholder" and node.name in held}


def are_same(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Whether two lists hold the same tensors, or equal ones."""
    return all(a is b or (a.shape == b.shape and torch.equal(a, b)) for a, b in zip(first, second, strict=True))


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

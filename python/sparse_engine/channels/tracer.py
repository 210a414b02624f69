"""What is known while channels are followed through a graph, and what rules do with it.

Every tensor of the graph has at most one dimension whose indices are slots (groups.py). Operations that only move data are
carried out on the slots themselves; what would make two dimensions of a tensor depend on slots joins them until one does.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .groups import Doubt, Slots, Slotting


@dataclass(frozen=True)
class Axis:
    """The slots of a tensor, along one of its dimensions."""

    dim: int
    slots: Slots


@dataclass(frozen=True)
class Held:
    """A parameter or buffer, its dimensions perhaps permuted: which of its own each is, None for new ones of size 1."""

    name: str
    dims: tuple[int | None, ...]


Value = Axis | Held | list[Any] | None  # None: no channel that could be removed


class Tracer:
    """The state of following one graph; rules read and write through it."""

    def __init__(self, model: nn.Module) -> None:
        self.slotting = Slotting()
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.uses: dict[str, int] = {}
        self.made_by: dict[tuple[str, int], str] = {}
        self.doubts: list[Doubt] = []
        self.values: dict[Any, Value] = {}
        self.modules = dict(model.named_modules())
        self.parameters = {name for name, _ in model.named_parameters()}
        self.node: Any = None

        self.training_only: list[str] = []  # layers that evaluation does not run
        self.never_run: list[str] = []  # layers that neither evaluation nor training ran on the given inputs

    def value(self, node: Any) -> Value:
        """What is known of an argument; None for numbers."""
        return self.values.get(node) if isinstance(node, torch.fx.Node) else None

    def where(self) -> str:
        """The operation being followed and the module it stands in, for messages."""
        stack = list(self.node.meta.get("nn_module_stack", {}).values())
        name, kind = stack[-1] if stack else ("", "the model")
        kind = kind.rpartition(".")[2] if isinstance(kind, str) else kind.__name__
        return f"{operation(self.node)} in {name or 'the model'} ({kind})"

    def fix(self, *values: Value, reason: str | None = None) -> None:
        """Keep whole whatever these are made of."""
        for value in values:
            if isinstance(value, Axis):
                self.slotting.fix(value.slots, reason or self.where())
            elif isinstance(value, Held):
                for dim, size in enumerate(self.shapes[value.name]):
                    self.slotting.fix(self.slotting.at((value.name, dim), size), reason or self.where())
            elif isinstance(value, list):
                self.fix(*value, reason=reason)

    def join(self, a: Slots, b: Slots, reason: str | None = None) -> None:
        """Slots that go together from here on."""
        self.slotting.join(a, b, reason or self.where())

    def at(self, held: Held, dim: int) -> Slots:
        """The slots of a dimension of a parameter as it is used here."""
        own = held.dims[dim]
        assert own is not None
        return self.slotting.at((held.name, own), self.shapes[held.name][own])

    def tie(self, held: Value, dim: int, slots: Slots) -> None:
        """An index of a parameter's dimension belongs to each slot."""
        if isinstance(held, Held):
            self.join(self.at(held, dim), slots)

    def makes(self, held: Held, dim: int) -> Slots:
        """The slots of the dimension along which a layer makes its channels; inner widths of attention are fixed."""
        owner = held.name.rpartition(".")[0]
        own = held.dims[dim]
        assert own is not None
        self.made_by[held.name, own] = owner
        if isinstance(self.modules.get(owner), nn.MultiheadAttention):
            self.slotting.fix(self.at(held, dim), 'nn.MultiheadAttention keeps its inner width; granularity="head" prunes it')
        return self.at(held, dim)

    def used(self, held: Value, times: int) -> None:
        """A call multiplies by each weight of a parameter so often."""
        if isinstance(held, Held):
            self.uses[held.name] = self.uses.get(held.name, 0) + times

    def spread(self, value: Value, shape: Sequence[int], hint: int) -> Tensor:
        """A tensor of `shape` holding the slot at every position; a parameter's are those along dimension `hint`."""
        if isinstance(value, Held):
            value = Axis(hint, self.at(value, hint)) if value.dims[hint] is not None and shape[hint] > 1 else None
        if not isinstance(value, Axis):
            return torch.zeros((1,) * len(shape), dtype=torch.int64).expand(*shape)
        along = [1] * len(shape)
        along[value.dim] = -1
        return torch.from_numpy(value.slots).view(*along).expand(*shape)

    def gather(self, slots: Tensor, keep: int | None = None) -> Value:
        """The inverse of `spread`: joins slots until one dimension tells them all; `keep` says which, else the one that tells
        most of them apart."""
        varying = [d for d in range(slots.dim()) if slots.shape[d] > 1 and bool((slots != slots.narrow(d, 0, 1)).any())]
        if not varying:
            self.slotting.fix(slots.reshape(-1)[:1].numpy(), self.where())
            return None
        told = slots
        for dim in range(slots.dim()):  # what does not vary is looked at once
            told = told if dim in varying else told.narrow(dim, 0, 1)
        told = told.reshape([slots.shape[d] for d in varying])
        if keep not in varying:
            keep = max(varying, key=lambda d: (_told_apart(told, varying.index(d)), d)) if len(varying) > 1 else varying[0]
        rows = _rows(told, varying.index(keep))
        self.join(*_pairs(rows))
        return Axis(keep, rows[:, 0].copy())


def _rows(slots: Tensor, dim: int) -> Slots:
    """What stands at each index of a dimension."""
    rows: Slots = slots.movedim(dim, 0).reshape(slots.shape[dim], -1).numpy()
    return rows


def _pairs(rows: Slots) -> tuple[Slots, Slots]:
    """The first slot of each row with every other one."""
    return np.repeat(rows[:, :1], rows.shape[1] - 1, axis=1), rows[:, 1:]


def _told_apart(slots: Tensor, dim: int) -> int:
    """Classes of slots that are left when only dimension `dim` may tell them apart."""
    rows = _rows(slots, dim)
    numbers, dense = np.unique(rows, return_inverse=True)
    trial = Slotting()
    trial.at(("", 0), len(numbers))
    trial.join(*_pairs(dense.reshape(rows.shape) + 1), "")
    return len(set(trial.resolved()[0]["", 0].tolist()))


def operation(node: Any) -> str:
    """Name of a node's operation, such as "conv2d"."""
    if node.target is operator.getitem:
        return "getitem"
    name: str = getattr(getattr(node.target, "_schema", None), "name", str(node.target))
    return name.rpartition("::")[2].rstrip("_") or name


def size_of(node: Any) -> tuple[int, ...]:
    """Shape of what a node gives."""
    return tuple(int(side) for side in node.meta["val"].shape)

"""Follow channels through a model: its graph from `torch.export`, and what operations do to them (channel_*.py).

Every tensor of the graph has at most one dimension whose indices are slots (coupling.py). Operations that only move data are
carried out on the slots themselves; what would make two dimensions of a tensor depend on slots joins them until one does.
"""

import copy
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .attachment import remove_masks
from .coupling import Doubt, Slots, Slotting


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
        """The same slots, along which a layer makes channels of its own; inner widths of attention are fixed."""
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
        if len(varying) == 1:
            keep = varying[0]
        elif keep not in varying:
            keep = max(varying, key=lambda d: (_told_apart(slots, d), d))
        rows = slots.movedim(keep, 0).reshape(slots.shape[keep], -1).numpy()
        for other in range(1, rows.shape[1]) if len(varying) > 1 else ():
            self.join(rows[:, 0], rows[:, other])
        return Axis(keep, rows[:, 0].copy())


def _told_apart(slots: Tensor, dim: int) -> int:
    """Classes of slots that are left when only dimension `dim` may tell them apart."""
    rows = np.unique(slots.movedim(dim, 0).reshape(slots.shape[dim], -1).numpy(), axis=1)
    trial = Slotting()
    trial._parent = list(range(int(rows.max()) + 1))
    for other in range(1, rows.shape[1]):
        trial.join(rows[:, 0] + 0, rows[:, other] + 0, "")
    return len({trial._root(int(slot)) for slot in rows[:, 0]})


def operation(node: Any) -> str:
    """Name of a node's operation, such as "conv2d"."""
    if node.target is operator.getitem:
        return "getitem"
    name: str = getattr(getattr(node.target, "_schema", None), "name", str(node.target))
    return name.rpartition("::")[2].rstrip("_") or name


def size_of(node: Any) -> tuple[int, ...]:
    """Shape of what a node gives."""
    return tuple(int(side) for side in node.meta["val"].shape)


def follow(model: nn.Module, inputs: tuple[Any, ...]) -> Tracer:
    """The channels of `model` that must go together; it stays as it is.

    Args:
        model: in eval mode, without masks (`plain_copy`), anything `torch.export` can follow.
        inputs: positional arguments. A batch of one is enough.
    Raises:
        ValueError: `torch.export` cannot follow the model, with what it says.
    """
    from . import channel_moves, channel_products  # noqa: F401 -- they register rules
    from .channel_rules import RULES, fallback

    fast = torch.backends.mha.get_fastpath_enabled()  # torch's fused encoder would be one operation
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(model, inputs, strict=False)
    except Exception as error:
        raise ValueError(
            f"the graph of this model cannot be followed: torch.export says {type(error).__name__}: "
            f'{(str(error).strip() or "no more").splitlines()[0]}; granularity="filter" and "row" need no graph'
        ) from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    tracer = Tracer(model)
    _begin(tracer, program, model)
    for node in program.graph.nodes:
        tracer.node = node
        if node.op == "call_function":
            tracer.values[node] = RULES.get(operation(node), fallback)(tracer, node)
        elif node.op == "output":
            for argument in node.all_input_nodes:
                tracer.fix(tracer.value(argument), reason="it is part of the model's output")
    return tracer


def _begin(tracer: Tracer, program: Any, model: nn.Module) -> None:
    """Parameters and buffers by the names that `named_parameters` gives; inputs and constants have no channels."""
    names: dict[int, str] = {}
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        names.setdefault(id(tensor), name)
        tracer.shapes[name] = tuple(tensor.shape)
    own = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target in own}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in targets:
            tensor = own[targets[node.name]]
            tracer.values[node] = Held(names[id(tensor)], tuple(range(tensor.dim())))


def plain_copy(model: nn.Module) -> nn.Module:
    """A copy in eval mode without masks."""
    return remove_masks(copy.deepcopy(model)).eval()

"""Which channels must go together: slots of tensors joined into units, and what removing units saves.

A slot is one index of one dimension of a parameter, such as row 5 of a weight. Slots that stand for the same channel belong to
one unit: the row of the convolution that makes it, its batch norm's scale, the columns of every layer that reads it. A unit is
removed whole or not at all; slot 0 stands for all that cannot be removed.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.int64]
TensorDim = tuple[str, int]  # a parameter or buffer by its name in state_dict, and a dimension of it
FIXED = 0


class Slotting:
    """Slots while a graph is followed: made, joined and fixed."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self.of: dict[TensorDim, Slots] = {}
        self._fixed: list[tuple[Slots, str]] = []

    def at(self, dim: TensorDim, size: int) -> Slots:
        """The slots of a dimension, one per index."""
        if dim not in self.of:
            first = len(self._parent)
            self._parent.extend(range(first, first + size))
            self.of[dim] = np.arange(first, first + size)
        return self.of[dim]

    def join(self, a: Slots, b: Slots, reason: str) -> None:
        """Join slot by slot; what meets a fixed slot is fixed, for `reason`."""
        pairs = np.unique(np.stack([a.reshape(-1), b.reshape(-1)], 1), axis=0)
        fixed = (pairs == FIXED).any(axis=1)
        self.fix(pairs[fixed].max(axis=1, initial=FIXED), reason)
        for one, other in pairs[~fixed].tolist():
            self._parent[self._root(one)] = self._root(other)

    def fix(self, slots: Slots, reason: str) -> None:
        """None of `slots` can be removed."""
        slots = np.unique(slots[slots != FIXED])
        if len(slots):
            self._fixed.append((slots, reason))

    def resolved(self) -> tuple[dict[TensorDim, Slots], dict[int, str]]:
        """For every dimension what stands for each slot and those joined with it, and why some of these are fixed."""
        roots = {dim: np.array([self._root(slot) for slot in slots.tolist()], np.int64) for dim, slots in self.of.items()}
        reasons: dict[int, str] = {}
        for slots, reason in self._fixed:
            for slot in slots.tolist():
                reasons.setdefault(self._root(slot), reason)
        return roots, reasons

    def every(self, number: dict[int, int]) -> NDArray[np.int64]:
        """For each slot there is the number of its root, -1 for those without."""
        return np.array([number.get(self._root(slot), -1) for slot in range(len(self._parent))], np.int64)

    def _root(self, slot: int) -> int:
        while self._parent[slot] != slot:
            self._parent[slot] = slot = self._parent[self._parent[slot]]
        return slot


@dataclass(frozen=True)
class Doubt:
    """Sizes that may stand in the model's code or be worked out from shapes, which a trial decides."""

    slots: Slots
    where: str


@dataclass(frozen=True)
class ChannelGroup:
    """Units that belong to the same dimensions of the same parameters: what a layer, or several that are added, makes."""

    names: tuple[str, ...]  # of the layers that make these channels
    dims: tuple[TensorDim, ...]
    units: NDArray[np.int64]


@dataclass
class ChannelCost:
    """What is left of a model by how many channels of each layer go, as plain values."""

    channels: dict[str, int]  # by the first layer that makes them
    # Of each tensor: whether it is a parameter, how often a call multiplies by it, and by dimension its size and what a channel
    # of each layer takes of it.
    tensors: list[tuple[bool, int, list[tuple[int, dict[str, float]]]]]

    def left(self, gone: Mapping[str, int]) -> tuple[int, int]:
        """Parameters and multiply-accumulates."""
        parameters = macs = 0
        for counted, uses, dims in self.tensors:
            size = 1
            for whole, each in dims:
                size *= whole - round(sum(slots * gone.get(name, 0) for name, slots in each.items()))
            parameters += size * counted
            macs += size * uses
        return parameters, macs


@dataclass
class Dependencies:
    """What a followed graph says: every dimension's units, and how often a call multiplies by each weight."""

    shapes: dict[str, tuple[int, ...]]
    parameters: set[str]
    uses: dict[str, int]
    units: dict[TensorDim, Slots]  # unit of every index, -1 where it is fixed
    groups: list[ChannelGroup]
    made_by: dict[TensorDim, str]  # dimension along which a layer makes channels -> layer
    kept_whole: dict[str, str]  # layer -> why some of its channels cannot go
    by_slot: NDArray[np.int64]  # unit of every slot, -1 where it is fixed
    training_only: list[str] = field(default_factory=list)  # layers that evaluation does not run
    never_run: list[str] = field(default_factory=list)  # layers that ran in no graph that was followed

    @property
    def count(self) -> int:
        """Units in all."""
        return sum(len(group.units) for group in self.groups)

    def units_of(self, slots: Slots) -> NDArray[np.int64]:
        """The units that some slots belong to, but for those that are alone in their group: the last one always stays."""
        alone = [group.units[0] for group in self.groups if len(group.units) == 1]
        found = np.setdiff1d(self.by_slot[slots], alone)
        return found[found >= 0]

    def none_removed(self) -> NDArray[np.bool_]:
        """A mark for every unit, to be set where it goes."""
        return np.zeros(self.count, np.bool_)

    def by_layer(self, groups: Iterable[ChannelGroup]) -> dict[str, list[ChannelGroup]]:
        """Groups by the first layer that makes them."""
        found: dict[str, list[ChannelGroup]] = {}
        for group in groups:
            found.setdefault(group.names[0], []).append(group)
        return found

    def costs(self, groups: Iterable[ChannelGroup]) -> ChannelCost:
        """`cost` as a function of how many channels each layer loses, without the graph."""
        layers = {name: np.concatenate([g.units for g in found]) for name, found in self.by_layer(groups).items()}
        tensors = []
        for tensor, shape in self.shapes.items():
            dims: list[tuple[int, dict[str, float]]] = [(side, {}) for side in shape]
            for (name, dim), units in self.units.items():
                if name == tensor:
                    slots = {layer: int(np.isin(units, own).sum()) / len(own) for layer, own in layers.items()}
                    dims[dim] = (shape[dim], {layer: each for layer, each in slots.items() if each})
            tensors.append((tensor in self.parameters, self.uses.get(tensor, 0), dims))
        return ChannelCost({name: len(units) for name, units in layers.items()}, tensors)

    def indices(self, removed: NDArray[np.bool_]) -> dict[str, dict[int, NDArray[np.int64]]]:
        """Of each tensor that shrinks: by dimension the indices that stay when the units marked in `removed` go."""
        found: dict[str, dict[int, NDArray[np.int64]]] = {}
        for (name, dim), units in self.units.items():
            gone = (units >= 0) & removed[units]
            if gone.any():
                found.setdefault(name, {})[dim] = np.flatnonzero(~gone)
        return found

    def sizes(self, removed: NDArray[np.bool_]) -> tuple[dict[str, int], dict[str, int]]:
        """Of each parameter what is left, and the multiply-accumulates with it."""
        left = {name: list(shape) for name, shape in self.shapes.items()}
        for (name, dim), units in self.units.items():
            left[name][dim] -= int(np.count_nonzero((units >= 0) & removed[units]))
        sizes = {name: math.prod(shape) for name, shape in left.items()}
        return {name: sizes[name] for name in self.parameters}, {name: sizes[name] * uses for name, uses in self.uses.items()}

    def cost(self, removed: NDArray[np.bool_]) -> tuple[int, int]:
        """Parameters and multiply-accumulates that are left."""
        parameters, macs = self.sizes(removed)
        return sum(parameters.values()), sum(macs.values())

    def group_of(self, unit: int) -> int:
        """Number of the group of a unit."""
        return int(np.searchsorted([group.units[0] for group in self.groups], unit, side="right")) - 1

    def multiple(self, group: ChannelGroup, channels: int) -> int:
        """Units of which a multiple makes a multiple of `channels` in every layer that makes them."""
        each = {
            int(np.isin(self.units[dim], group.units).sum()) // len(group.units) for dim in group.dims if dim in self.made_by
        }
        return max(channels // math.gcd(channels, channels_each) for channels_each in each)


def resolve(
    slotting: Slotting,
    shapes: dict[str, tuple[int, ...]],
    parameters: set[str],
    uses: dict[str, int],
    made_by: dict[TensorDim, str],
) -> Dependencies:
    """Units and groups from joined slots. Groups come in the order in which the graph reaches them."""
    roots, reasons = slotting.resolved()
    touched: dict[int, list[TensorDim]] = {}
    for dim, found in roots.items():
        for root in dict.fromkeys(found.tolist()):
            if root not in reasons:
                touched.setdefault(root, []).append(dim)
    together: dict[tuple[TensorDim, ...], list[int]] = {}
    for root, there in touched.items():
        together.setdefault(tuple(there), []).append(root)
    number: dict[int, int] = {}
    groups: list[ChannelGroup] = []
    for where, members in together.items():
        first = len(number)
        number |= {root: first + i for i, root in enumerate(members)}
        makers = dict.fromkeys(made_by[dim] for dim in where if dim in made_by)
        groups.append(ChannelGroup(tuple(makers), where, np.arange(first, first + len(members))))
    units = {dim: np.array([number.get(root, -1) for root in found.tolist()], np.int64) for dim, found in roots.items()}
    whole: dict[str, str] = {}
    for dim, name in made_by.items():
        why = next((reasons[root] for root in roots[dim].tolist() if root in reasons), None)
        if why is not None:
            whole.setdefault(name, why)
    return Dependencies(shapes, parameters, uses, units, groups, made_by, whole, slotting.every(number))

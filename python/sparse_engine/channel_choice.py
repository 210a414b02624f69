"""Which channels go: units scored by what makes them, put in order, and taken until an amount is met."""

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import _core
from .coupling import ChannelGroup, Coupling
from .criteria import Criterion, criterion_of
from .evidence import Evidence, Loss
from .latency import share_within
from .ranked import WEIGHTED, as_stored
from .removal import shrink
from .spec import Spec, matches, of_layer

RESTORED = 64  # removed units that are tried whether they fit into the budget after all
Removed = NDArray[np.bool_]


def selected_groups(spec: Spec, coupling: Coupling) -> list[ChannelGroup]:
    """Groups that the spec names: by any layer that makes their channels, and no excluded one."""

    def chosen(group: ChannelGroup) -> bool:
        names = group.names
        included = any(matches(name, spec.include) for name in names)
        mapped = not isinstance(spec.sparsity, Mapping) or _of_group(spec.sparsity, group, None) is not None
        return included and mapped and not any(matches(name, spec.exclude) for name in names)

    groups = [group for group in coupling.groups if group.names and chosen(group)]
    if not groups:
        there = "; ".join(", ".join(group.names) for group in coupling.groups if group.names) or "none"
        why = "; ".join(f"{name}: {reason}" for name, reason in coupling.kept_whole.items())
        raise ValueError(
            f"include={spec.include}, exclude={spec.exclude} select no channels that can go; removable: {there}; kept "
            f"whole: {why}"
        )
    if isinstance(spec.sparsity, Mapping):
        known = [name for group in coupling.groups for name in group.names] + list(coupling.kept_whole)
        for pattern in spec.sparsity:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; layers with channels: {', '.join(known)}")
    return groups


def _of_group(value: Any, group: ChannelGroup, default: Any) -> Any:
    """What a mapping from glob pattern gives for a group, by the first of its layers that matches."""
    missing = object()
    found = (of_layer(value, name, missing) for name in group.names)
    return next((share for share in found if share is not missing), default)


class _Tensor:
    """A weight without a layer that criteria know, scored like one."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight


def unit_scores(
    spec: Spec,
    model: nn.Module,
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    data: Iterable[Any] | None,
    loss: Loss | None,
    inputs: tuple[Any, ...],
) -> NDArray[np.float64]:
    """A score for every unit: of its slice of each weight that makes it the mean, or the root of the mean square; over several
    weights the mean."""
    criterion, modules, parameters = criterion_of(spec.criterion), dict(model.named_modules()), dict(model.named_parameters())
    places = {place for group in groups for place in group.places}
    wanted = [place for place in coupling.made_by if place in places]  # in the order of the graph: sums round alike
    layers: dict[str, Any] = {}
    for name, _ in wanted:
        owner = modules[name.rpartition(".")[0]]
        known = isinstance(owner, WEIGHTED) and name.endswith("weight")
        layers[name] = owner if known else _Tensor(parameters[name])
    evidence = Evidence(list(layers.values()), spec.seed)
    if criterion.needs is not None:
        unknown = [name for name, layer in layers.items() if isinstance(layer, _Tensor)]
        if unknown:
            raise ValueError(
                f"criterion = {spec.criterion!r} knows nothing of {unknown[0]}; exclude it or use the weights alone"
            )
        batches = [inputs[0] if len(inputs) == 1 else (inputs, None)] if criterion.needs == "scales" else data
        if batches is None:
            raise ValueError(f"criterion = {spec.criterion!r} looks at data; pass data=, an iterable of batches")
        evidence.gather(criterion.needs, model, batches, loss)
    total, count = np.zeros(coupling.count), np.zeros(coupling.count)
    for name, dim in wanted:
        rows, units = _rows(criterion, layers[name], evidence, name, dim), coupling.units[name, dim]
        here = units >= 0
        np.add.at(total, units[here], rows[here])
        np.add.at(count, units[here], 1)
    return total / np.maximum(count, 1)


def _rows(criterion: Criterion, layer: Any, evidence: Evidence, name: str, dim: int) -> NDArray[np.float64]:
    """A score for every index of a weight's dimension."""
    with torch.no_grad():
        stored = as_stored(layer, criterion.score(layer, evidence)).detach()
        scores = stored.to("cpu", torch.float32).movedim(dim, 0).flatten(1).contiguous()
    size, width = scores.shape
    rows = _core.score_groups(scores.reshape(-1).numpy(), (size, width), (1, width), criterion.norm)
    if np.isnan(rows).any():
        raise ValueError(f"{name!r} has NaN at index {int(np.isnan(rows).argmax())} of dimension {dim}; repair the weights")
    return rows.astype(np.float64)


def choose_units(
    spec: Spec,
    coupling: Coupling,
    groups: Sequence[ChannelGroup],
    scores: NDArray[np.float64],
    model: nn.Module,
    inputs: tuple[Any, ...],
) -> Removed:
    """The units that go."""
    removed = coupling.none_removed()
    if isinstance(spec.sparsity, Mapping):
        for group in groups:
            removed[smallest(group, scores, _of_group(spec.sparsity, group, 0.0))] = True
        return removed
    order, forced = _order(spec, groups, scores)

    def first(count: int) -> Removed:
        marks = coupling.none_removed()
        marks[order[:count]] = True
        return marks

    if spec.latency_ms is not None:

        def smaller(copied: nn.Module, share: float) -> nn.Module:
            shrink(copied, coupling.indices(first(round(share * len(order)))))
            return copied

        refusal = "without all channels that can go"
        lowest = forced / max(1, len(order))
        share = share_within(model, spec.latency_ms, inputs, smaller, lowest, 1.0, refusal)
        return first(round(share * len(order)))
    what, budget = _budget(spec, coupling, next(model.parameters()).element_size())
    least = coupling.cost(first(len(order)))[what]
    if least > budget:
        raise ValueError(
            f"{('parameters', 'multiply-accumulates')[what]} cannot come down to {budget:,} by removing channels: {least:,} "
            f"are left when all that can go are gone (engine.channel_groups tells what keeps the others)"
        )
    low, high = forced, len(order)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if coupling.cost(first(middle))[what] <= budget else (middle + 1, high)
    removed = first(low)
    for unit in order[max(forced, low - RESTORED) : low][::-1]:  # the last step may have taken more than was needed
        removed[unit] = False
        removed[unit] = coupling.cost(removed)[what] > budget
    return removed


def smallest(group: ChannelGroup, scores: NDArray[np.float64], share: float) -> NDArray[np.int64]:
    """The units of a group that go first, a share of them; one always stays."""
    count = min(round(share * len(group.units)), len(group.units) - 1)
    return group.units[np.argsort(scores[group.units], kind="stable")[:count]]


def _budget(spec: Spec, coupling: Coupling, item_bytes: int) -> tuple[int, int]:
    """Which part of `Coupling.cost` the amount bounds, and the bound."""
    if spec.macs is not None:
        return 1, spec.macs
    if spec.bytes is not None:
        return 0, spec.bytes // item_bytes
    if spec.nonzeros is not None:
        return 0, spec.nonzeros
    assert isinstance(spec.sparsity, float)
    parameters = coupling.cost(coupling.none_removed())[0]
    return 0, parameters - round(spec.sparsity * parameters)


def _order(spec: Spec, groups: Sequence[ChannelGroup], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Units in the order in which they go, and how many go in any case.

    Those that are ranked together go by score; of several such sets each loses the same share at any time. Floors are never
    reached, and what is beyond a ceiling goes first.
    """
    keys: list[tuple[float, float, int]] = []
    for together in _ranked_together(spec, groups):
        protected: set[int] = set()
        forced: set[int] = set()
        for group in together:
            ranked, count = group.units[np.argsort(scores[group.units], kind="stable")], len(group.units)
            least = max(1, math.ceil(_of_group(spec.min_density, group, 0.0) * count))
            most = math.floor(_of_group(spec.max_density, group, 1.0) * count)
            if least > max(most, 1):
                raise ValueError(f"min_density exceeds max_density for {', '.join(group.names)}")
            protected |= set(ranked[count - least :].tolist())
            forced |= set(ranked[: count - max(most, 1)].tolist())
        units = sorted((unit for group in together for unit in group.units.tolist()), key=lambda u: (scores[u], u))
        for place, unit in enumerate(units):
            if unit not in protected:
                keys.append((-1.0 if unit in forced else (place + 0.5) / len(units), float(scores[unit]), unit))
    return np.array([unit for _, _, unit in sorted(keys)], np.int64), sum(key < 0 for key, _, _ in keys)


def _ranked_together(spec: Spec, groups: Sequence[ChannelGroup]) -> list[list[ChannelGroup]]:
    if spec.scope == "global":
        return [list(groups)]
    if spec.scope is None or spec.scope == "layer":
        return [[group] for group in groups]
    sets: dict[Any, list[ChannelGroup]] = {}
    for place, group in enumerate(groups):
        pattern = next((p for p in spec.scope if any(fnmatchcase(name, p) for name in group.names)), None)
        sets.setdefault(place if pattern is None else pattern, []).append(group)
    for pattern in spec.scope:
        if pattern not in sets:
            known = ", ".join(name for group in groups for name in group.names)
            raise ValueError(f"scope: pattern {pattern!r} matches no selected layer; they are: {known}")
    return list(sets.values())

"""Which channels go: units put in order by their scores, and taken until a budget is met."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ..measure.latency import share_within
from ..pruning.criteria import criterion_of
from ..pruning.spec import Spec, matches, of_layer
from .groups import ChannelGroup, Dependencies
from .surgery import shrink

RESTORED = 64  # removed bundles that are tried whether they fit into the budget after all
FLOOR = 0.1  # of the units of a group that is ranked with others: they go after everything else
OWN = 2.0  # what a unit's rank in its group counts beside that among all it is ranked with, if scores do not estimate the loss
LISTED = 4  # tensors named by an error
Removed = NDArray[np.bool_]


def selected_groups(spec: Spec, dependencies: Dependencies) -> list[ChannelGroup]:
    """Groups that the spec names: by any layer that makes their channels, and no excluded one."""

    def chosen(group: ChannelGroup) -> bool:
        names = group.names
        included = any(matches(name, spec.include) for name in names)
        mapped = not isinstance(spec.sparsity, Mapping) or _of_group(spec.sparsity, group, None) is not None
        runs = any(name not in dependencies.training_only for name in names)  # nothing is known of what the others are worth
        return included and mapped and runs and not any(matches(name, spec.exclude) for name in names)

    groups = [group for group in dependencies.groups if group.names and chosen(group)]
    if not groups:
        there = "; ".join(", ".join(group.names) for group in dependencies.groups if group.names) or "none"
        why = "; ".join(f"{name}: {reason}" for name, reason in dependencies.kept_whole.items())
        raise ValueError(
            f"include={spec.include}, exclude={spec.exclude} select no channels that can go; removable: {there}; kept "
            f"whole: {why}"
        )
    if isinstance(spec.sparsity, Mapping):
        known = [name for group in dependencies.groups for name in group.names] + list(dependencies.kept_whole)
        for pattern in spec.sparsity:
            if not any(fnmatchcase(name, pattern) for name in known):
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; layers with channels: {', '.join(known)}")
    return groups


def _of_group(value: Any, group: ChannelGroup, default: Any) -> Any:
    """What a mapping from glob pattern gives for a group, by the first of its layers that matches."""
    missing = object()
    found = (of_layer(value, name, missing) for name in group.names)
    return next((share for share in found if share is not missing), default)


def choose_units(
    spec: Spec,
    dependencies: Dependencies,
    groups: Sequence[ChannelGroup],
    scores: NDArray[np.float64],
    model: nn.Module,
    example_inputs: Any,
) -> Removed:
    """The units that go."""
    removed = dependencies.none_removed()
    if isinstance(spec.sparsity, Mapping):
        for group in groups:
            share = _of_group(spec.sparsity, group, 0.0)
            removed[smallest(group, scores, share, dependencies.multiple(group, spec.round_to))] = True
        return removed
    bundles, forced = _bundled(spec, dependencies, groups, *_order(spec, groups, scores))

    def first(count: int) -> Removed:
        marks = dependencies.none_removed()
        for bundle in bundles[:count]:
            marks[bundle] = True
        return marks

    if spec.latency_ms is not None:

        def smaller(copied: nn.Module, share: float) -> nn.Module:
            shrink(copied, dependencies.indices(first(round(share * len(bundles)))))
            return copied

        refusal = "without all channels that can go"
        lowest = forced / max(1, len(bundles))
        share = share_within(model, spec.latency_ms, example_inputs, smaller, lowest, 1.0, refusal)
        return first(round(share * len(bundles)))
    what, budget = _budget(spec, dependencies, next(model.parameters()).element_size())
    if dependencies.cost(first(len(bundles)))[what] > budget:
        raise ValueError(_beyond_reach(what, budget, dependencies, first(len(bundles))))
    counts = range(forced, len(bundles))
    low = forced + bisect_left(counts, True, key=lambda count: dependencies.cost(first(count))[what] <= budget)
    removed = first(low)
    gone: set[int] = set()  # groups of which a later bundle stays out, so that an earlier one cannot come back
    for bundle in bundles[max(forced, low - RESTORED) : low][::-1]:  # the last step may have taken more than was needed
        number = dependencies.group_of(bundle[0])
        if spec.round_to > 1 and number in gone:
            continue
        removed[bundle] = False
        if dependencies.cost(removed)[what] > budget:
            removed[bundle] = True
            gone.add(number)
    return removed


def _beyond_reach(what: int, budget: int, dependencies: Dependencies, removed: Removed) -> str:
    """How far a budget can come down, and the largest of what is left then."""
    before, after = dependencies.sizes(dependencies.none_removed())[what], dependencies.sizes(removed)[what]
    largest = sorted(after, key=lambda name: -after[name])[:LISTED]
    parts = []
    for name in largest:
        why = dependencies.kept_whole.get(name.rpartition(".")[0], "")
        parts.append(f"{name} {after[name]:,} of {before[name]:,}{f' ({why})' if why else ''}")
    return (
        f"{('parameters', 'multiply-accumulates')[what]} cannot come down to {budget:,} by removing channels: "
        f"{sum(after.values()):,} are left when all that can go are gone, the most of them in {'; '.join(parts)} "
        f"(engine.channels.channel_groups tells what keeps them)"
    )


def smallest(group: ChannelGroup, scores: NDArray[np.float64], share: float, multiple: int = 1) -> NDArray[np.int64]:
    """The units of a group that go first, a share of them at least; one always stays, and a multiple of `multiple`."""
    units = len(group.units)
    count = min(round(share * units), units - 1)
    if count and multiple > 1:
        count = 0 if units < multiple else units - max(multiple, (units - count) // multiple * multiple)
    return group.units[np.argsort(scores[group.units], kind="stable")[:count]]


def _bundled(
    spec: Spec, dependencies: Dependencies, groups: Sequence[ChannelGroup], order: NDArray[np.int64], forced: int
) -> tuple[list[NDArray[np.int64]], int]:
    """Units that go at one step, single ones but for `round_to`, in order; and how many steps are taken in any case.

    With `round_to` the first bundle of a group leaves a multiple, and every later one takes a multiple.
    """
    if spec.round_to == 1:
        return list(order[:, None]), forced
    position = np.full(dependencies.count, -1)
    position[order] = np.arange(len(order))
    found: list[tuple[bool, int, NDArray[np.int64]]] = []
    for group in groups:
        multiple, units = dependencies.multiple(group, spec.round_to), len(group.units)
        going = order[np.sort(position[group.units][position[group.units] >= 0])]
        end = units % multiple or multiple
        begin = 0
        while units >= multiple and end <= len(going):
            bundle = going[begin:end]
            found.append((bool((position[bundle] >= forced).all()), int(position[bundle].max()), bundle))
            begin, end = end, end + multiple
    found.sort(key=lambda step: step[:2])
    return [bundle for _, _, bundle in found], sum(not free for free, _, _ in found)


def _budget(spec: Spec, dependencies: Dependencies, item_bytes: int) -> tuple[int, int]:
    """Which part of `Dependencies.cost` the budget bounds, and the bound."""
    if spec.macs is not None:
        return 1, spec.macs
    if spec.bytes is not None:
        return 0, spec.bytes // item_bytes
    if spec.nonzeros is not None:
        return 0, spec.nonzeros
    assert isinstance(spec.sparsity, float)
    parameters = dependencies.cost(dependencies.none_removed())[0]
    return 0, parameters - round(spec.sparsity * parameters)


def _order(spec: Spec, groups: Sequence[ChannelGroup], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], int]:
    """Units in the order in which they go, and how many go in any case.

    Those that are ranked together go by score where scores estimate the loss, which compares layers; otherwise by the mean of
    two ranks, among all of them and within their group (`OWN`), as a magnitude tells little of two layers. Of several such
    sets each loses the same share at any time. What `min_density` protects never goes, and what is beyond a ceiling goes
    first. Where nothing is said of a group that is ranked with others, the best tenth of it goes last of all: a layer of one
    or two channels ends what the network can tell apart.
    """
    keys: list[tuple[float, float, int]] = []
    own = np.zeros(len(scores))
    counts = 0.0 if criterion_of(spec.criterion).estimates_loss else OWN
    for together in _ranked_together(spec, groups):
        protected: set[int] = set()
        last: set[int] = set()
        forced: set[int] = set()
        for group in together:
            ranked, count = group.units[np.argsort(scores[group.units], kind="stable")], len(group.units)
            least = max(1, math.ceil(_of_group(spec.min_density, group, 0.0) * count))
            most = math.floor(_of_group(spec.max_density, group, 1.0) * count)
            if least > max(most, 1):
                raise ValueError(f"min_density exceeds max_density for {', '.join(group.names)}")
            own[ranked] = (np.arange(count) + 0.5) / count
            protected |= set(ranked[count - least :].tolist())
            if len(together) > 1 and _of_group(spec.min_density or None, group, None) is None:
                last |= set(ranked[count - math.ceil(FLOOR * count) :].tolist())
            forced |= set(ranked[: count - max(most, 1)].tolist())
        units = sorted((unit for group in together for unit in group.units.tolist()), key=lambda u: (scores[u], u))
        for position, unit in enumerate(units):
            if unit not in protected:
                share = ((position + 0.5) / len(units) + counts * own[unit]) / (1 + counts) + (unit in last)
                keys.append((-1.0 if unit in forced else share, float(scores[unit]), unit))
    return np.array([unit for _, _, unit in sorted(keys)], np.int64), sum(key < 0 for key, _, _ in keys)


def _ranked_together(spec: Spec, groups: Sequence[ChannelGroup]) -> list[list[ChannelGroup]]:
    if spec.scope == "global":
        return [list(groups)]
    if spec.scope is None or spec.scope == "layer":
        return [[group] for group in groups]
    sets: dict[Any, list[ChannelGroup]] = {}
    for position, group in enumerate(groups):
        pattern = next((p for p in spec.scope if any(fnmatchcase(name, p) for name in group.names)), None)
        sets.setdefault(position if pattern is None else pattern, []).append(group)
    for pattern in spec.scope:
        if pattern not in sets:
            known = ", ".join(name for group in groups for name in group.names)
            raise ValueError(f"scope: pattern {pattern!r} matches no selected layer; they are: {known}")
    return list(sets.values())

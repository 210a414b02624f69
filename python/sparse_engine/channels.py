"""Prune channels for good: which go, tried on a copy first, so that the model either becomes smaller and right or stays."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .channel_choice import choose_units, selected_groups, unit_scores
from .coupling import Coupling, resolve
from .evidence import Loss
from .removal import Indices, mask_channels, shrink
from .reporting import table
from .spec import Spec
from .tracing import follow, plain_copy

TOLERANCE = 1e-4  # of the largest output: what sums in another order may differ


@dataclass(frozen=True)
class ChannelGroups:
    """Channels of a model that go together; print it for a table."""

    coupling: Coupling

    def __str__(self) -> str:
        rows = []
        for group in self.coupling.groups:
            if group.names:
                before = self.coupling.cost(self.coupling.none_removed())
                one = self.coupling.none_removed()
                one[group.units[0]] = True
                saved = [b - a for a, b in zip(self.coupling.cost(one), before, strict=True)]
                rows.append([", ".join(group.names), str(len(group.units)), f"{saved[0]:,}", f"{saved[1]:,}", ""])
        rows += [[name, "", "", "", why] for name, why in self.coupling.kept_whole.items()]
        return table(["layers", "channels", "weights of one", "MACs of one", "kept whole because of"], rows)


def channel_groups(model: nn.Module, example_inputs: Any) -> ChannelGroups:
    """Which channels of `model` can be removed, which only together, and what keeps the others.

    Args:
        model: any module that `torch.export` can follow; it stays as it is.
        example_inputs: a tensor, or a tuple of positional arguments; a batch of one is enough.
    Raises:
        ValueError: the graph cannot be followed, naming the operation.
    Source: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, for the idea of joined dimensions.
    """
    return ChannelGroups(couple(model, positional(example_inputs))[0])


def prune_channels(model: nn.Module, spec: Spec, *, data: Iterable[Any] | None, loss: Loss | None, example_inputs: Any) -> None:
    """`prune` for granularity "channel": `model` becomes smaller in place, or an error leaves it as it was."""
    inputs = positional(example_inputs)
    coupling, traced = couple(model, inputs)
    groups = selected_groups(spec, coupling)
    scores = unit_scores(spec, model, coupling, groups, data, loss, inputs)
    removed = choose_units(spec, coupling, groups, scores, model, inputs)
    indices = coupling.indices(removed)
    if _difference(traced, inputs, indices) > TOLERANCE:
        raise ValueError(
            "the model without these channels computes something else than with zeros in them: some operation depends on how "
            "many there are; name the layers around it in exclude="
        )
    shrink(model, indices)


def positional(example_inputs: Any) -> tuple[Any, ...]:
    """Arguments of the model to follow channels with.

    Raises:
        ValueError: there are none.
    """
    if example_inputs is None:
        raise ValueError('granularity = "channel" follows channels through the model; pass example_inputs=')
    return example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)


def couple(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Coupling, nn.Module]:
    """Units and groups, after one unit was tried through every place that is in doubt; and the copy they were tried on."""
    traced = plain_copy(model)
    tracer = follow(traced, inputs)

    def resolved() -> Coupling:
        return resolve(tracer.slotting, tracer.shapes, tracer.parameters, tracer.uses, tracer.made_by)

    coupling, doubts = resolved(), list(tracer.doubts)
    while doubts:
        doubt = doubts.pop(0)
        through = coupling.units_of(doubt.slots)
        if not len(through):
            continue
        removed = coupling.none_removed()
        removed[through[0]] = True
        if _difference(traced, inputs, coupling.indices(removed)) > TOLERANCE:
            tracer.slotting.fix(doubt.slots, f"{doubt.where} needs its sizes")
            coupling = resolved()
        else:  # and every other doubt that this unit passes through
            doubts = [other for other in doubts if through[0] not in coupling.units_of(other.slots)]
    return coupling, traced


def _difference(traced: nn.Module, inputs: tuple[Any, ...], indices: Indices) -> float:
    """How far the smaller model is from the one with zeros, relative to the largest output; infinite when it fails to run.
    `traced` ends as it began."""
    saved = {name: tensor.detach().clone() for name, tensor in traced.named_parameters() if name in indices}
    with torch.no_grad():
        mask_channels(traced, indices)
        zeroed = _tensors(traced(*inputs))
        restore = shrink(traced, indices)
        try:
            smaller = _tensors(traced(*inputs))
        except Exception:  # whatever the model's own code raises at sizes it does not know
            smaller = []
        restore()
        for name, tensor in traced.named_parameters():
            if name in saved:
                tensor.copy_(saved[name])
    if [t.shape for t in zeroed] != [t.shape for t in smaller]:
        return math.inf
    worst = 0.0
    for a, b in zip(zeroed, smaller, strict=True):
        if a.is_floating_point() and a.numel():
            scale = max(float(a.abs().max()), 1e-30)
            worst = max(worst, float((a - b).abs().max()) / scale)
    return worst


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for part in value.values() for tensor in _tensors(part)]
    return [tensor for part in value for tensor in _tensors(part)] if isinstance(value, (list, tuple)) else []

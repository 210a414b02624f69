"""Prune channels for good: which go, tried on a copy first, so that the model either becomes smaller and right or stays."""

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..measure.text_table import table
from ..pruning.calibration import Loss
from ..pruning.spec import Spec, matches
from .export import Arguments, plain_copy, tensors_of
from .groups import Dependencies, resolve
from .scores import unit_scores
from .select import choose_units, selected_groups
from .surgery import Indices, mask_channels, shrink
from .tracing import follow

TOLERANCE = 1e-4  # of the largest output: what sums in another order may differ


@dataclass(frozen=True)
class ChannelGroups:
    """Channels of a model that go together; print it for a table."""

    dependencies: Dependencies

    def __str__(self) -> str:
        rows = []
        for group in self.dependencies.groups:
            if group.names:
                before = self.dependencies.cost(self.dependencies.none_removed())
                one = self.dependencies.none_removed()
                one[group.units[0]] = True
                saved = [b - a for a, b in zip(self.dependencies.cost(one), before, strict=True)]
                rows.append([", ".join(group.names), str(len(group.units)), f"{saved[0]:,}", f"{saved[1]:,}", ""])
        rows += [[name, "", "", "", why] for name, why in self.dependencies.kept_whole.items()]
        return table(["layers", "channels", "weights of one", "MACs of one", "kept whole because of"], rows)


def channel_groups(model: nn.Module, example_inputs: Any) -> ChannelGroups:
    """Which channels of `model` can be removed, which only together, and what keeps the others.

    Args:
        model: any module that `torch.export` can follow; it stays as it is.
        example_inputs: a tensor, a tuple of positional arguments or a mapping of named ones; a batch of one is enough.
    Raises:
        ValueError: the graph cannot be followed, naming the operation.
    Source: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, for the idea of joined dimensions.
    """
    return ChannelGroups(find_dependencies(model, arguments(example_inputs))[0])


def prune_channels(model: nn.Module, spec: Spec, *, data: Iterable[Any] | None, loss: Loss | None, example_inputs: Any) -> None:
    """`prune` for granularity "channel": `model` becomes smaller in place, or an error leaves it as it was."""
    inputs = arguments(example_inputs)
    dependencies, traced = find_dependencies(model, inputs)
    groups = selected_groups(spec, dependencies)
    scores = unit_scores(spec, model, dependencies, groups, data, loss, inputs)
    removed = choose_units(spec, dependencies, groups, scores, model, example_inputs)
    indices = dependencies.indices(removed)
    if _difference(traced, inputs, indices) > TOLERANCE:
        raise ValueError(
            "the model without these channels computes something else than with zeros in them: some operation depends on how "
            "many there are; name the layers around it in exclude="
        )
    shrink(model, indices)
    unseen = [name for name in dependencies.never_run if not matches(name, spec.exclude)]
    if unseen:
        warnings.warn(
            f"never run on example_inputs, so that nothing is known of what they read: {', '.join(unseen)}; those that read "
            f"channels that went will fail. Name them in exclude= where that cannot be, or the layers before them to keep "
            f"their channels",
            stacklevel=3,
        )


def arguments(example_inputs: Any) -> Arguments:
    """What the model is called with to follow its channels.

    Raises:
        ValueError: there is nothing.
    """
    if example_inputs is None:
        raise ValueError('granularity = "channel" follows channels through the model; pass example_inputs=')
    if isinstance(example_inputs, Mapping):
        return Arguments((), dict(example_inputs))
    return Arguments(example_inputs if isinstance(example_inputs, tuple) else (example_inputs,), {})


def find_dependencies(model: nn.Module, inputs: Arguments) -> tuple[Dependencies, nn.Module]:
    """Units and groups, after one unit was tried through every operation that is in doubt; and the copy they were tried on."""
    traced = plain_copy(model)
    tracer = follow(traced, inputs)

    def resolved() -> Dependencies:
        found = resolve(tracer.slotting, tracer.shapes, tracer.parameters, tracer.uses, tracer.made_by)
        found.training_only, found.never_run = tracer.training_only, tracer.never_run
        return found

    dependencies, doubts = resolved(), list(tracer.doubts)
    while doubts:
        doubt = doubts.pop(0)
        through = dependencies.units_of(doubt.slots)
        if not len(through):
            continue
        removed = dependencies.none_removed()
        removed[through[0]] = True
        if _difference(traced, inputs, dependencies.indices(removed)) > TOLERANCE:
            tracer.slotting.fix(doubt.slots, f"{doubt.where} needs its sizes")
            dependencies = resolved()
        else:  # and every other doubt that this unit passes through
            doubts = [other for other in doubts if through[0] not in dependencies.units_of(other.slots)]
    return dependencies, traced


def _difference(traced: nn.Module, inputs: Arguments, indices: Indices) -> float:
    """How far the smaller model is from the one with zeros, relative to the largest output; infinite when it fails to run.
    `traced` ends as it began."""
    saved = {name: tensor.detach().clone() for name, tensor in traced.named_parameters() if name in indices}
    with torch.no_grad():
        mask_channels(traced, indices)
        zeroed = tensors_of(inputs.to(traced))
        restore = shrink(traced, indices)
        try:
            smaller = tensors_of(inputs.to(traced))
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

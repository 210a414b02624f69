"""What units of channels are worth: of every weight that makes or reads them, relative to the other units there."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .. import _core
from ..pruning.calibration import CalibrationStatistics, Loss
from ..pruning.criteria import Criterion, criterion_of
from ..pruning.spec import Spec
from ..pruning.targets import WEIGHTED, as_stored
from .export import Arguments
from .groups import ChannelGroup, Dependencies, TensorDim


class _Tensor:
    """A weight without a layer that criteria know, scored like one."""

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight


def unit_scores(
    spec: Spec,
    model: nn.Module,
    dependencies: Dependencies,
    groups: Sequence[ChannelGroup],
    data: Iterable[Any] | None,
    loss: Loss | None,
    inputs: Arguments,
) -> NDArray[np.float64]:
    """A score for every unit, of mean about 1 in every group.

    A unit's slice of a weight scores the mean, or the root of the mean square, of its scores, divided by the mean over the
    group's slices of that weight; over several weights it is their mean. Groups can be ranked together so, and a factor on a
    weight that a later normalisation undoes changes nothing.

    Source: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023, for all dependent weights and the group's mean.
    """
    criterion, modules, parameters = criterion_of(spec.criterion), dict(model.named_modules()), dict(model.named_parameters())
    layers: dict[str, Any] = {}
    wanted = _scored_dims(criterion, dependencies, groups)
    for name, _ in wanted:
        owner = modules[name.rpartition(".")[0]]
        known = isinstance(owner, WEIGHTED) and name.endswith("weight")
        layers[name] = owner if known else _Tensor(parameters[name])
    if criterion.needs is not None:
        unknown = {name for name, layer in layers.items() if isinstance(layer, _Tensor)}
        makers = [name for name, dim in wanted if (name, dim) in dependencies.made_by and name in unknown]
        if makers:
            raise ValueError(
                f"criterion = {spec.criterion!r} knows nothing of {makers[0]}; exclude it or use the weights alone"
            )
        wanted = [dim for dim in wanted if dim[0] not in unknown]
        layers = {name: layer for name, layer in layers.items() if name not in unknown}
    statistics = CalibrationStatistics(list(layers.values()), spec.seed)
    if criterion.needs is not None:
        called = inputs.named or inputs.positional
        batches = data if criterion.needs.of_values else [(called, None)]
        if batches is None:
            raise ValueError(f"criterion = {spec.criterion!r} looks at data; pass data=, an iterable of batches")
        statistics.gather(criterion.needs, model, batches, loss)
    number = np.full(dependencies.count, -1)
    for index, group in enumerate(groups):
        number[group.units] = index
    total, count = np.zeros(dependencies.count), np.zeros(dependencies.count)
    for name, dim in wanted:
        rows, units = _rows(criterion, layers[name], statistics, name, dim), dependencies.units[name, dim]
        here = (units >= 0) & (number[units] >= 0)
        rows, units = rows[here], units[here]
        np.add.at(total, units, _relative(rows, number[units], len(groups)))
        np.add.at(count, units, 1)
    return total / np.maximum(count, 1)


def _scored_dims(criterion: Criterion, dependencies: Dependencies, groups: Sequence[ChannelGroup]) -> list[TensorDim]:
    """Weights that make the channels of some groups, and those that read them where the criterion is not about outputs."""
    there = {dim for group in groups for dim in group.dims}
    runs = {dim for dim, layer in dependencies.made_by.items() if layer not in dependencies.training_only}
    makers = [dim for dim in dependencies.made_by if dim in there & runs]  # in the order of the graph: sums round alike
    if criterion.groups_only:
        return makers
    return makers + [dim for dim in dependencies.units if dim in there and dim not in makers and dim[0] in dependencies.uses]


def _relative(rows: NDArray[np.float64], groups: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Scores divided by the mean of their group; where that is 0 they are."""
    members = np.bincount(groups, minlength=count)
    means: NDArray[np.float64] = (np.bincount(groups, rows, count) / np.maximum(members, 1))[groups]
    return np.divide(rows, means, out=np.zeros_like(rows), where=means > 0)


def _rows(criterion: Criterion, layer: Any, statistics: CalibrationStatistics, name: str, dim: int) -> NDArray[np.float64]:
    """A score for every index of a weight's dimension."""
    with torch.no_grad():
        stored = as_stored(layer, criterion.score(layer, statistics)).detach()
        scores = stored.to("cpu", torch.float32).movedim(dim, 0).flatten(1).contiguous()
    size, width = scores.shape
    rows = _core.score_groups(scores.reshape(-1).numpy(), (size, width), (1, width), criterion.norm)
    if np.isnan(rows).any():
        raise ValueError(f"{name!r} has NaN at index {int(np.isnan(rows).argmax())} of dimension {dim}; repair the weights")
    return rows.astype(np.float64)

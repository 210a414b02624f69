"""The strategy of masks: select layers, score their weights, pick masks, and put the layers under them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..masking.mask import Mask
from ..measure.latency import HIGHEST_SPARSITY, share_within
from .attachment import put_under
from .budget import Candidates, choose
from .calibration import CalibrationStatistics, Loss
from .criteria import Criterion, criterion_of
from .granularity import Channels, Element
from .granularity_value import Scores
from .macs_per_weight import called
from .selection import selected_layers
from .spec import Spec
from .targets import held_count, held_mask, is_linear, parameters_of, weight_of


def prune_masks(
    model: nn.Module, spec: Spec, *, data: Iterable[Any] | None = None, loss: Loss | None = None, example_inputs: Any = None
) -> None:
    """`prune` for every criterion that scores weights as they are: each selected layer comes under a mask."""
    layers, found = choose_masks(model, spec, data=data, loss=loss, example_inputs=example_inputs)
    put_under(model, layers, found)


def choose_masks(
    model: nn.Module,
    spec: Spec,
    *,
    data: Iterable[Any] | None,
    loss: Loss | None,
    example_inputs: Any,
    only_held: bool = False,
) -> tuple[list[Any], list[Mask]]:
    """The selected layers and a mask for each; the model stays as it is. With `only_held` no weight comes back."""
    check_types(model, spec)
    if isinstance(spec.granularity, Channels):
        raise ValueError('granularity = "channel" changes shapes, which no mask does: call engine.prune instead of a Pruner')
    for name in ("macs", "latency_ms"):
        if getattr(spec, name) is not None and example_inputs is None:
            raise ValueError(f"{name} is that of one call of the model; pass example_inputs=")
    if spec.latency_ms is not None:
        share = share_within(
            model,
            spec.latency_ms,
            example_inputs,
            partial(_pruned_by, spec, {"data": data, "loss": loss, "example_inputs": example_inputs}),
            0.0,
            HIGHEST_SPARSITY,
            f"at a sparsity of {HIGHEST_SPARSITY:.0%}",
        )
        spec = replace(spec, latency_ms=None, sparsity=share)
    names, layers = selected_layers(model, spec)
    criterion = criterion_of(spec.criterion)
    statistics = CalibrationStatistics(layers, spec.seed)
    if criterion.needs is not None:
        if data is None:
            raise ValueError(f"criterion = {spec.criterion!r} looks at data; pass data=, an iterable of batches")
        statistics.gather(criterion.needs, model, data, loss)
    # Weights that are ranked together have scores of one type.
    wide = any(weight_of(layer).dtype == torch.float64 for layer in layers)
    dtype = torch.float64 if wide else torch.float32
    scores: list[Scores] = [partial(_scores, criterion, layer, statistics, dtype) for layer in layers]
    for name, layer_scores in zip(names, scores, strict=True):
        _refuse_nan(name, layer_scores())
    shapes = [tuple(weight_of(layer).shape) for layer in layers]
    uses = called(model, layers, example_inputs)[0] if spec.macs is not None else None
    found = Candidates(names, scores, shapes, spec.granularity, criterion.norm, uses, by_row=by_row(spec, layers))
    if only_held and isinstance(spec.granularity, Element):  # what is pruned already comes last: the number is all
        return layers, choose(spec, replace(found, held=[held_count(layer) for layer in layers]))
    masks = choose(spec, found)
    return layers, [_within(layer, mask) for layer, mask in zip(layers, masks, strict=True)] if only_held else masks


def _pruned_by(spec: Spec, options: dict[str, Any], copy: nn.Module, share: float) -> nn.Module:
    """A copy with `share` of its weights removed, to be timed."""
    prune_masks(copy, replace(spec, latency_ms=None, sparsity=share), **options)
    return copy


def _within(layer: Any, mask: Mask) -> Mask:
    """A group that stays does not bring back what earlier pruning took out of it."""
    held = held_mask(layer)
    return mask if held is None else Mask.from_numpy(mask.to_numpy() & held.numpy())


def by_row(spec: Spec, layers: list[Any]) -> list[bool]:
    """Which layers are ranked within their rows: with no scope given the linear ones, where the criterion is for that."""
    return [spec.scope == "row" or (spec.scope is None and is_linear(layer)) for layer in layers]


def check_types(model: object, spec: object) -> None:
    """TypeError when `model` is no module or `spec` no Spec."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if not isinstance(spec, Spec):
        raise TypeError(f"spec must be an engine.Spec, not {type(spec).__name__}; for example engine.Spec(sparsity=0.9)")


def _scores(criterion: Criterion, layer: Any, statistics: CalibrationStatistics, dtype: torch.dtype) -> NDArray[np.floating]:
    scores = criterion.score(layer, statistics).detach()
    array: NDArray[np.floating] = scores.to(device="cpu", dtype=dtype).contiguous().reshape(-1).numpy()
    held = held_mask(layer)
    if held is not None:  # what is pruned already comes last, after kept weights that are 0
        kept = held.reshape(-1).numpy()
        others = scores.data_ptr() != parameters_of(layer)[0].data_ptr()
        if others or np.count_nonzero(array) < np.count_nonzero(kept):
            least = np.finfo(array.dtype).tiny
            array = np.where(kept, np.maximum(np.abs(array), least), array.dtype.type(0))
    return array


def _refuse_nan(name: str, scores: NDArray[np.floating]) -> None:
    if np.isnan(scores.sum(dtype=scores.dtype)) and np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores))[0])
        raise ValueError(
            f"layer {name!r} has NaN at weight.flatten()[{first}]; magnitudes must be numbers: repair or reload the weights, "
            f"or pass exclude=[{name!r}]"
        )

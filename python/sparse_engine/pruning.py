"""`prune(model, spec)`: selects layers, scores their weights, picks masks, and puts the layers under them."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .amounts import Candidates, choose
from .attachment import put_under
from .channels import prune_channels
from .criteria import Criterion, criterion_of
from .evidence import Evidence, Loss
from .granularity import Channels, Scores, granularity_of
from .latency import HIGHEST_SPARSITY, share_within
from .mask import Mask
from .obs import surgeon
from .ranked import TRANSPOSED, held_count, held_mask, is_linear, parameters_of, weight_of
from .selection import selected_layers
from .spec import Spec
from .uses import called

Model = TypeVar("Model", bound=nn.Module)


def prune(
    model: Model,
    spec: Spec,
    *,
    data: Iterable[Any] | None = None,
    loss: Loss | None = None,
    example_inputs: Any = None,
) -> Model:
    """Prune `model` in place as `spec` says, and return the same object.

    Every selected weight that multiplies (of linear layers, convolutions, attention, recurrent layers, experts, and of classes
    of one's own that are seen to) gets a mask, its pruned entries become 0 and stay 0 through training, and in inference
    (`model.eval()` under `torch.inference_mode()` or `torch.no_grad()`) all but Conv3d, transposed convolutions, RNN and
    cells run on native sparse kernels where these measure faster. Parameters, their names and `state_dict`
    keys do not change. Pruning again, at a higher sparsity, goes on from where the model is.

    What is rarely meant is left alone unless `include` names it, with one warning: frozen layers while others train, heads tied
    to an embedding, adapters, embeddings, classes not seen to multiply; and weights that a parametrization computes.

    With granularity "channel" nothing is masked: channels are taken out of every tensor they run through, parameters keep their
    names and become smaller, and the amount is that of the whole model's parameters (or multiply-accumulates) as it is
    now. The smaller model is first tried on a copy, where it must compute what zeros in these channels give. Optimizers made
    before go on with what they keep of the channels that stay.

    Args:
        model: any `torch.nn.Module`.
        spec: what to remove; see `Spec`. Counts are exact: round(sparsity · n) single weights go; of groups as many
            stay as fit. Which of equal scores stay is fixed, and spread evenly over rows, columns and layers.
        data: batches for the criteria that look at data: inputs, or (inputs, target) pairs. Inputs are a tensor, a tuple of
            positional arguments of `model`, or a mapping of keyword arguments, such as a tokenizer's batch. What an
            `attention_mask` among them (or a `key_padding_mask` of torch) marks as padding does not count as input of linear
            layers; a criterion without a loss takes (ids, mask) for both where `forward` calls its second argument so.
        loss: for "taylor": (output, target) -> the mean loss of a batch. A mapping without a target beside it, which may hold
            labels, is its own target.
        example_inputs: for `Spec(macs=...)`, `latency_ms` and granularity "channel": inputs of one call, as in `data`.
    Returns:
        `model`.
    Raises:
        ValueError: no layer is selected, or every one is left alone; a weight or score is NaN; an amount that cannot be met.
            The model is unchanged then.
        TypeError: `model` is not a Module or `spec` not a Spec.
    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015.
    """
    if isinstance(spec, Spec) and isinstance(granularity_of(spec.granularity), Channels):
        _check_model(model)
        prune_channels(model, spec, data=data, loss=loss, example_inputs=example_inputs)
        return model
    layers, found = choose_masks(model, spec, data=data, loss=loss, example_inputs=example_inputs)
    if criterion_of(spec.criterion).needs == "hessians":
        assert data is not None
        surgeon(
            model,
            layers,
            [mask.kept for mask in found],
            granularity_of(spec.granularity),
            spec.scope == "row",
            data,
            lambda layer, mask: put_under(model, [layer], [mask]),
        )
    else:
        put_under(model, layers, found)
    return model


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
    _check_model(model)
    if not isinstance(spec, Spec):
        raise TypeError(f"spec must be an engine.Spec, not {type(spec).__name__}; for example engine.Spec(sparsity=0.9)")
    if isinstance(granularity_of(spec.granularity), Channels):
        raise ValueError('granularity = "channel" changes shapes, which no mask does: call engine.prune instead of a Pruner')
    for name in ("macs", "latency_ms"):
        if getattr(spec, name) is not None and example_inputs is None:
            raise ValueError(f"{name} is that of one call of the model; pass example_inputs=")
    if spec.latency_ms is not None:
        options: dict[str, Any] = {"data": data, "loss": loss, "example_inputs": example_inputs}
        share = share_within(
            model,
            spec.latency_ms,
            example_inputs,
            lambda copy, share: prune(copy, replace(spec, latency_ms=None, sparsity=share), **options),
            0.0,
            HIGHEST_SPARSITY,
            f"at a sparsity of {HIGHEST_SPARSITY:.0%}",
        )
        spec = replace(spec, latency_ms=None, sparsity=share)
    names, layers = selected_layers(model, spec)
    criterion = criterion_of(spec.criterion)
    evidence = Evidence(layers, spec.seed)
    _check_known(spec, criterion, layers)
    if criterion.needs is not None:
        if data is None:
            raise ValueError(f"criterion = {spec.criterion!r} looks at data; pass data=, an iterable of batches")
        if criterion.needs != "hessians":
            evidence.gather(criterion.needs, model, data, loss)
    # Weights that are ranked together have scores of one type.
    wide = any(weight_of(layer).dtype == torch.float64 for layer in layers)
    dtype = torch.float64 if wide else torch.float32
    scores: list[Scores] = [partial(_scores, criterion, layer, evidence, dtype) for layer in layers]
    for name, layer_scores in zip(names, scores, strict=True):
        _refuse_nan(name, layer_scores())
    shapes = [tuple(weight_of(layer).shape) for layer in layers]
    uses = called(model, layers, example_inputs)[0] if spec.macs is not None else None
    found = Candidates(
        names, scores, shapes, granularity_of(spec.granularity), criterion.norm, uses, by_row=by_row(spec, layers)
    )
    if only_held and spec.granularity == "element":  # what is pruned already comes last: the number is all
        return layers, choose(spec, replace(found, held=[held_count(layer) for layer in layers]))
    masks = choose(spec, found)
    return layers, [_within(layer, mask) for layer, mask in zip(layers, masks, strict=True)] if only_held else masks


def _within(layer: Any, mask: Mask) -> Mask:
    """A group that stays does not bring back what earlier pruning took out of it."""
    held = held_mask(layer)
    return mask if held is None else Mask.from_numpy(mask.to_numpy() & held.numpy())


def by_row(spec: Spec, layers: list[Any]) -> list[bool]:
    """Which layers are ranked within their rows: with no scope given the linear ones, where the criterion is for that."""
    return [spec.scope == "row" or (spec.scope is None and is_linear(layer)) for layer in layers]


def _check_known(spec: Spec, criterion: Criterion, layers: list[Any]) -> None:
    """Refuse layers that a criterion does not solve."""
    what = f"criterion = {spec.criterion!r}"
    if criterion.needs == "hessians" and any(isinstance(layer, TRANSPOSED) for layer in layers):
        raise ValueError(f"{what} does not solve transposed convolutions: exclude them, or use another criterion")


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")


def _scores(criterion: Criterion, layer: Any, evidence: Evidence, dtype: torch.dtype) -> NDArray[np.floating]:
    scores = criterion.score(layer, evidence).detach()
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

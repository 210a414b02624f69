"""`prune(model, spec)`: selects layers, scores their weights, picks masks, and puts the layers under them."""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import UninitializedParameter

from .amounts import Candidates, choose
from .attachment import put_under
from .channels import prune_channels
from .criteria import Criterion, criterion_of
from .evidence import Evidence, Loss, called
from .granularity import Channels, Scores, granularity_of
from .latency import sparsity_for
from .layer import Pruned
from .mask import Mask
from .nn import PRUNED_CLASSES
from .obs import surgeon
from .recurrent import Gate, gates_of, is_recurrent
from .spec import Spec, matches, of_layer

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

    Every selected Linear, Conv1d, Conv2d, Conv3d, LSTM and GRU layer gets a mask, its pruned weights become 0 and stay 0
    through training, and in inference (`model.eval()` under `torch.inference_mode()` or `torch.no_grad()`) all but Conv3d run
    on native sparse kernels where these measure faster. Parameters, their names and `state_dict` keys do not change. Pruning
    again, at a higher sparsity, goes on from where the model is.

    With granularity "channel" nothing is masked: channels are taken out of every tensor they run through, parameters keep their
    names and become smaller, and the amount is that of the whole model's parameters (or multiply-accumulates). Make the
    optimizer afterwards. The smaller model is first tried on a copy, where it must compute what zeros in these channels give.

    Args:
        model: any `torch.nn.Module`.
        spec: what to remove; see `Spec`. Counts are exact: round(sparsity · n) single weights go, ties keep the lowest
            index; of groups as many stay as fit.
        data: batches for the criteria that look at data: tensors, or (inputs, target) pairs.
        loss: for "taylor": (output, target) -> the mean loss of a batch.
        example_inputs: for `Spec(macs=...)`, `latency_ms` and granularity "channel": a tensor, or a tuple of positional
            arguments of `model`.
    Returns:
        `model`.
    Raises:
        ValueError: no layer is selected, a weight or score is NaN, an amount that cannot be met, or a weight that is not a
            plain parameter (weight_norm, parametrizations). The model is unchanged then.
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
            data,
            lambda layer, mask: put_under(model, [layer], [mask]),
        )
    else:
        put_under(model, layers, found)
    return model


def choose_masks(
    model: nn.Module, spec: Spec, *, data: Iterable[Any] | None, loss: Loss | None, example_inputs: Any
) -> tuple[list[Any], list[Mask]]:
    """The selected layers and a mask for each; the model stays as it is."""
    _check_model(model)
    if not isinstance(spec, Spec):
        raise TypeError(f"spec must be an engine.Spec, not {type(spec).__name__}; for example engine.Spec(sparsity=0.9)")
    if isinstance(granularity_of(spec.granularity), Channels):
        raise ValueError(
            'granularity = "channel" changes shapes, which no mask does: call engine.prune once, before the optimizer is made'
        )
    for name in ("macs", "latency_ms"):
        if getattr(spec, name) is not None and example_inputs is None:
            raise ValueError(f"{name} is that of one call of the model; pass example_inputs=")
    if spec.latency_ms is not None:
        options: dict[str, Any] = {"data": data, "loss": loss, "example_inputs": example_inputs}
        share = sparsity_for(
            model,
            spec.latency_ms,
            example_inputs,
            lambda copy, share: prune(copy, replace(spec, latency_ms=None, sparsity=share), **options),
        )
        spec = replace(spec, latency_ms=None, sparsity=share)
    names, layers = selected_layers(model, spec)
    criterion = criterion_of(spec.criterion)
    evidence = Evidence(layers, spec.seed)
    if any(isinstance(layer, Gate) for layer in layers) and (criterion.needs is not None or spec.macs is not None):
        what = "macs" if criterion.needs is None else f"criterion = {spec.criterion!r}"
        raise ValueError(
            f"{what} looks at what layers are given, which is not known of the steps inside LSTM and GRU: exclude them, or "
            f"use a criterion of the weights alone"
        )
    if criterion.needs is not None:
        if data is None:
            raise ValueError(f"criterion = {spec.criterion!r} looks at data; pass data=, an iterable of batches")
        if criterion.needs != "hessians":
            evidence.gather(criterion.needs, model, data, loss)
    scores: list[Scores] = [partial(_scores, criterion, layer, evidence) for layer in layers]
    for name, layer_scores in zip(names, scores, strict=True):
        _refuse_nan(name, layer_scores())
    shapes = [tuple(layer.weight.shape) for layer in layers]
    uses = called(model, layers, example_inputs)[0] if spec.macs is not None else None
    return layers, choose(spec, Candidates(names, scores, shapes, granularity_of(spec.granularity), criterion.norm, uses))


def _check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")


def selected_layers(model: nn.Module, spec: Spec) -> tuple[list[str], list[Any]]:
    """Names and modules that `spec` selects; layers that share a weight are listed once."""
    names: list[str] = []
    layers: list[Any] = []
    weights: set[int] = set()
    skipped: list[str] = []
    refused: list[str] = []
    granularity = granularity_of(spec.granularity)
    prunable = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    for name, module in prunable:
        if not spec.selects(name) or (isinstance(spec.sparsity, Mapping) and of_layer(spec.sparsity, name, None) is None):
            continue
        _check_weight(name, module)
        if not isinstance(module, Pruned) and type(module) not in PRUNED_CLASSES:
            skipped.append(f"{name} ({type(module).__name__})")
            continue
        refusal = granularity.refusal(tuple(module.weight.shape))
        if refusal is not None:
            refused.append(f"{name or '(the model itself)'}: {refusal}")
            continue
        if id(module.weight) in weights:  # shared: counted and ranked once
            continue
        weights.add(id(module.weight))
        names.append(name)
        layers.append(module)
    for name, gate in _selected_gates(model, spec):
        refusal = granularity.refusal(tuple(gate.weight.shape))
        if refusal is None:
            names.append(name)
            layers.append(gate)
        else:
            refused.append(f"{name}: {refusal}")
    if skipped:
        warnings.warn(
            f"not pruned, a subclass with arithmetic of its own: {', '.join(skipped)}; name them in exclude= to say so",
            stacklevel=3,
        )
    if refused and layers:
        warnings.warn(f"left alone by granularity {spec.granularity!r}: {'; '.join(refused)}", stacklevel=3)
    elif refused:
        raise ValueError(f"granularity = {spec.granularity!r} fits no selected layer: {'; '.join(refused)}")
    if not layers:
        there = ", ".join(name or "(the model itself)" for name, _ in prunable) or "none"
        raise ValueError(
            f"include={spec.include}, exclude={spec.exclude} select no layer; prunable layers of this model: {there}"
        )
    if isinstance(spec.sparsity, Mapping):
        for pattern in spec.sparsity:
            every = [name for name, _ in prunable] + names
            if not any(fnmatchcase(name, pattern) for name in every):
                known = ", ".join(every)
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; prunable layers of this model: {known}")
    return names, layers


def _selected_gates(model: nn.Module, spec: Spec) -> Iterator[tuple[str, Gate]]:
    for name, module in model.named_modules():
        if not is_recurrent(module):
            continue
        for full, gate in gates_of(name, module):
            both = (name, full)
            chosen = any(matches(n, spec.include) for n in both) and not any(matches(n, spec.exclude) for n in both)
            if chosen and not (isinstance(spec.sparsity, Mapping) and of_layer(spec.sparsity, full, None) is None):
                yield full, gate


def _check_weight(name: str, module: nn.Module) -> None:
    weight = module._parameters.get("weight")
    if isinstance(weight, UninitializedParameter):
        raise ValueError(f"layer {name!r} has no weight yet; run the model once on an input before pruning it")
    if weight is None:
        raise ValueError(
            f"the weight of layer {name!r} is not a plain parameter (weight_norm, a parametrization or torch's own pruning?); "
            f"remove that first (torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove) "
            f"or pass exclude=[{name!r}]"
        )
    if weight.device.type == "meta" or not weight.dtype.is_floating_point:
        raise ValueError(f"the weight of layer {name!r} is {weight.dtype} on {weight.device}; pruning needs real float weights")


def _scores(criterion: Criterion, layer: Any, evidence: Evidence) -> NDArray[np.float32]:
    scores = criterion.score(layer, evidence).detach()
    array: NDArray[np.float32] = scores.to(device="cpu", dtype=torch.float32).contiguous().reshape(-1).numpy()
    weight: Any = layer.weight
    if isinstance(layer, Pruned) and scores.data_ptr() != weight.data_ptr():  # what is pruned already comes last
        array = array.copy()
        layer.mask.apply(array.reshape(layer.mask.shape))
    return array


def _refuse_nan(name: str, scores: NDArray[np.float32]) -> None:
    if np.isnan(scores.sum(dtype=np.float32)) and np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores))[0])
        raise ValueError(
            f"layer {name!r} has NaN at weight.flatten()[{first}]; magnitudes must be numbers: repair or reload the weights, "
            f"or pass exclude=[{name!r}]"
        )

"""Which layers of a model a Spec selects, and what of them is ranked."""

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import nn
from torch.nn.parameter import UninitializedParameter

from .attention import attentions
from .granularity import Head, granularity_of
from .layer import Pruned
from .nn import PRUNED_CLASSES
from .ranked import WEIGHTED, weight_of
from .recurrent import Gate, gates_of, is_recurrent
from .spec import Spec, matches, of_layer


def selected_layers(model: nn.Module, spec: Spec) -> tuple[list[str], list[Any]]:
    """Names and modules that `spec` selects; layers that share a weight are listed once."""
    names: list[str] = []
    layers: list[Any] = []
    weights: set[int] = set()
    skipped: list[str] = []
    refused: list[str] = []
    granularity = granularity_of(spec.granularity)
    if isinstance(granularity, Head):
        return _selected_heads(model, spec)
    prunable = [(name, m) for name, m in model.named_modules() if isinstance(m, WEIGHTED)]
    for name, module in prunable:
        if not _chosen(spec, name):
            continue
        _check_weight(name, module)
        if not isinstance(module, Pruned) and type(module) not in PRUNED_CLASSES:
            skipped.append(f"{name} ({type(module).__name__})")
            continue
        refusal = granularity.refusal(tuple(weight_of(module).shape))
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
    _warn_or_refuse(spec, [name for name, _ in prunable], names, refused)
    return names, layers


def _chosen(spec: Spec, name: str) -> bool:
    return spec.selects(name) and not (isinstance(spec.sparsity, Mapping) and of_layer(spec.sparsity, name, None) is None)


def _warn_or_refuse(spec: Spec, prunable: list[str], names: list[str], refused: list[str]) -> None:
    """Say what was left alone; refuse a selection of nothing, or a pattern that speaks of nothing."""
    if refused and names:
        warnings.warn(f"left alone by granularity {spec.granularity!r}: {'; '.join(refused)}", stacklevel=4)
    elif refused:
        raise ValueError(f"granularity = {spec.granularity!r} fits no selected layer: {'; '.join(refused)}")
    if not names:
        what = "attention layers" if spec.granularity == "head" else "prunable layers"
        there = ", ".join(name or "(the model itself)" for name in prunable) or "none"
        raise ValueError(f"include={spec.include}, exclude={spec.exclude} select no layer; {what} of this model: {there}")
    if isinstance(spec.sparsity, Mapping):
        for pattern in spec.sparsity:
            every = [*prunable, *names]
            if not any(fnmatchcase(name, pattern) for name in every):
                known = ", ".join(every)
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; prunable layers of this model: {known}")


def _selected_heads(model: nn.Module, spec: Spec) -> tuple[list[str], list[Any]]:
    every = list(attentions(model))
    chosen = [(name, heads, why) for name, heads, why in every if _chosen(spec, name)]
    found = {name: heads for name, heads, _ in chosen if heads is not None}
    for name, heads in found.items():
        for module, parameter in heads.places:
            _check_weight(name, module, parameter)
    refused = [f"{name or '(the model itself)'}: {why}" for name, heads, why in chosen if heads is None]
    _warn_or_refuse(spec, [name for name, _, _ in every], list(found), refused)
    return list(found), list(found.values())


def _selected_gates(model: nn.Module, spec: Spec) -> Iterator[tuple[str, Gate]]:
    for name, module in model.named_modules():
        if not is_recurrent(module):
            continue
        for full, gate in gates_of(name, module):
            both = (name, full)
            chosen = any(matches(n, spec.include) for n in both) and not any(matches(n, spec.exclude) for n in both)
            if chosen and not (isinstance(spec.sparsity, Mapping) and of_layer(spec.sparsity, full, None) is None):
                yield full, gate


def _check_weight(name: str, module: nn.Module, parameter: str = "weight") -> None:
    weight = module._parameters.get(parameter)
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

"""Which layers of a model a Spec selects, and what of them is ranked."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from ..nn.base import masks_on
from .criteria import criterion_of
from .granularity import Head
from .heads import Heads, attentions
from .left_alone import PLAIN, Defaults, LeftAlone, is_named
from .macs_per_weight import multiplying
from .module_weights import Weight, weights_of
from .spec import Spec, matches, of_layer
from .targets import WEIGHTED, is_linear, weight_of


def selected_layers(model: nn.Module, spec: Spec, *, quiet: bool = False) -> tuple[list[str], list[Any]]:
    """Names and modules, or parts of them, that `spec` selects; layers that share a weight are listed once.

    One warning says what was left alone, and why; with `quiet` none does.
    """
    if isinstance(spec.granularity, Head):
        return _selected_heads(model, spec)
    every = [weight for name, module in model.named_modules() for weight in _weights_of(name, module)]
    chosen = [weight for weight in every if _chosen(spec, *_names(weight))]
    for weight in chosen:
        _refuse_without_values(weight)
    defaults = Defaults(model, chosen)
    chosen = [weight for weight in chosen if not defaults.is_trifle(weight) or is_named(spec, _names(weight))]
    names: list[str] = []
    layers: list[Any] = []
    whole: set[int] = set()
    left, unfit = LeftAlone(), 0
    for weight in chosen:
        reason = _reason(weight, spec, defaults) or _unknown_inputs(weight, spec)
        if reason is None:
            reason = spec.granularity.refusal(tuple(weight_of(weight.layer).shape))
            unfit += reason is not None
        if reason is not None:
            left.add(reason, weight.name if weight.doubt else _names(weight)[0])
            continue
        if weight.layer is weight.module:
            if id(weight.tensor) in whole:  # shared: counted and ranked once
                continue
            whole.add(id(weight.tensor))
        names.append(weight.name)
        layers.append(weight.layer)
    prunable = list(dict.fromkeys(_names(weight)[0] for weight in every if not weight.doubt))
    if not names and unfit == len(chosen) > 0:
        raise ValueError(f"granularity = {spec.granularity!r} fits no selected layer: {left}")
    _refuse_nothing(spec, prunable, names, left)
    if not quiet:
        left.warn()
    return names, layers


def prunable(name: str, module: nn.Module) -> Iterator[Weight]:
    """The weights of `module` itself that have a shape and are real numbers, computed ones included."""
    for weight in _weights_of(name, module):
        tensor = getattr(weight.module, weight.parameter)
        if isinstance(tensor, Tensor) and not isinstance(tensor, UninitializedParameter) and tensor.dtype.is_floating_point:
            yield weight


def chosen_by(spec: Spec, weight: Weight) -> bool:
    """Whether `spec` selects `weight`, and it is pruned by default, named or under a mask."""
    sure = not weight.doubt or weight.parameter in masks_on(weight.module) or is_named(spec, _names(weight))
    return sure and _chosen(spec, *_names(weight))


def _weights_of(name: str, module: nn.Module) -> Iterator[Weight]:
    if "parametrizations" not in name.split("."):  # what is in there belongs to the layer around it
        yield from weights_of(name, module)


def _names(weight: Weight) -> tuple[str, ...]:
    """Of the module, and of a partial target."""
    if weight.layer is weight.module:
        return (weight.name,)
    head, found, _ = weight.name.rpartition(f".{weight.parameter}")
    return (head if found else "", weight.name)


def _refuse_without_values(weight: Weight) -> None:
    if isinstance(weight.tensor, UninitializedParameter):
        raise ValueError(f"layer {weight.name!r} has no weight yet; run the model once on an input before pruning it")
    if weight.tensor is not None and weight.tensor.device.type == "meta":
        raise ValueError(f"the weight of layer {weight.name!r} is on the meta device; pruning needs its values")


def _reason(weight: Weight, spec: Spec, defaults: Defaults) -> str | None:
    """Why `weight` cannot be pruned, or would not be meant, or None."""
    tensor = weight.tensor
    if tensor is None:
        return PLAIN
    if is_traceable_wrapper_subclass(tensor):
        return f"weights of type {type(tensor).__name__}: prune before fully_shard or whatever else made them"
    if not tensor.dtype.is_floating_point:
        return f"weights of {tensor.dtype}, which have no magnitudes to rank"
    if weight.parameter in masks_on(weight.module) or is_named(spec, _names(weight)):
        return None
    return defaults.reason(weight)


def _unknown_inputs(weight: Weight, spec: Spec) -> str | None:
    """Why a criterion or budget that looks at inputs does not fit, or None."""
    if _meets_inputs(weight.layer):
        return None
    needs = criterion_of(spec.criterion).needs
    if needs is not None and needs.of_calls:
        return (
            f"criterion={spec.criterion!r} looks at what weights are multiplied with, which is not known inside LSTM and GRU, "
            f"attention and own forwards"
        )
    if spec.macs is not None and weight.parameter not in multiplying(weight.module):
        return "macs= counts calls, which are not known of weights inside own forwards"
    return None


def _meets_inputs(layer: Any) -> bool:
    """Whether it is known what the rows of a layer's weight are multiplied with."""
    return isinstance(layer, nn.Module) and (isinstance(layer, WEIGHTED) or is_linear(layer))


def _chosen(spec: Spec, *names: str) -> bool:
    """Whether `spec` selects a layer of this name, or a partial target of these: its module's, and its own for shares."""
    selected = any(matches(name, spec.include) for name in names) and not any(matches(name, spec.exclude) for name in names)
    return selected and not (isinstance(spec.sparsity, Mapping) and of_layer(spec.sparsity, names[-1], None) is None)


def _refuse_nothing(spec: Spec, prunable: list[str], names: list[str], left: LeftAlone) -> None:
    """Refuse a selection of nothing, or a pattern that speaks of nothing."""
    if not names and left:
        raise ValueError(f"every selected layer is left alone; name them in include= to prune what can be: {left}")
    if not names:
        what = "attention layers" if isinstance(spec.granularity, Head) else "prunable layers"
        there = ", ".join(name or "(the model itself)" for name in prunable) or "none"
        raise ValueError(f"include={spec.include}, exclude={spec.exclude} select no layer; {what} of this model: {there}")
    if isinstance(spec.sparsity, Mapping):
        for pattern in spec.sparsity:
            every = [*prunable, *names]
            if not any(fnmatchcase(name, pattern) for name in every):
                known = ", ".join(dict.fromkeys(every))
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; prunable layers of this model: {known}")


def _selected_heads(model: nn.Module, spec: Spec) -> tuple[list[str], list[Any]]:
    every = list(attentions(model))
    chosen = [(name, heads, why) for name, heads, why in every if _chosen(spec, name)]
    left = LeftAlone()
    found: dict[str, Heads] = {}
    for name, heads, why in chosen:
        if heads is None:
            left.add(why, name)
        else:
            found[name] = heads
    for name, own in found.items():
        for module, parameter in own.owners:
            _check_weight(name, module, parameter)
    _refuse_nothing(spec, [name for name, _, _ in every], list(found), left)
    left.warn()
    return list(found), list(found.values())


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

"""Which weights of a model are under masks: put there, read, and taken away again, whatever kind of layer they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from .layer import Pruned
from .mask import Mask
from .masking import mask_tensor
from .nn import PRUNED_CLASSES, attach, detach
from .recurrent import Gate, PrunedRecurrent, attach_recurrent, detach_recurrent, is_recurrent

Model = TypeVar("Model", bound=nn.Module)


def put_under(model: nn.Module, layers: Sequence[Any], found: Sequence[Mask]) -> None:
    """Put `layers` of `model`, and whatever shares their weights, under their masks."""
    by_weight = {id(layer.weight): mask for layer, mask in zip(layers, found, strict=True) if not isinstance(layer, Gate)}
    for module in model.modules():
        mask = by_weight.get(id(module._parameters.get("weight")))
        if mask is not None and (isinstance(module, Pruned) or type(module) in PRUNED_CLASSES):
            attach(module, mask)
    gates: dict[tuple[Any, str], dict[int, Mask]] = {}
    for layer, mask in zip(layers, found, strict=True):
        if isinstance(layer, Gate):
            gates.setdefault((layer.layer, layer.parameter), {})[layer.index] = mask
    for (recurrent, parameter), parts in gates.items():
        attach_recurrent(recurrent, {parameter: _joined(recurrent, parameter, parts)})


def _joined(layer: Any, parameter: str, parts: Mapping[int, Mask]) -> Mask:
    """The mask of a whole weight from those of its gates; a gate without one keeps what it has."""
    shape = tuple(getattr(layer, parameter).shape)
    before = layer.masks.get(parameter) if isinstance(layer, PrunedRecurrent) else None
    kept = np.ones(shape, np.bool_) if before is None else before.to_numpy()
    for index, mask in parts.items():
        kept[index * layer.hidden_size : (index + 1) * layer.hidden_size] = mask.to_numpy()
    return Mask.from_numpy(kept)


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Mask of every pruned weight: parameter name as in `state_dict` -> bool tensor of its shape, True where it stays."""
    return {name: mask_tensor(mask) for name, mask in pruned_weights(model).items()}


def remove_masks(model: Model) -> Model:
    """Turn pruned layers back into plain dense ones, in place; the zeros stay in the weights but no longer hold."""
    put_masks(model, {})
    return model


def pruned_layers(model: nn.Module) -> list[tuple[str, Pruned]]:
    """(name, layer) of every pruned layer with one weight."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Pruned)]


def pruned_weights(model: nn.Module) -> dict[str, Mask]:
    """The mask of every pruned weight, by parameter name."""
    found: dict[str, Mask] = {}
    for name, module in model.named_modules():
        if isinstance(module, Pruned):
            found[f"{name}.weight" if name else "weight"] = module.mask
        elif isinstance(module, PrunedRecurrent):
            found |= {f"{name}.{parameter}" if name else parameter: mask for parameter, mask in module.masks.items()}
    return found


def put_masks(model: nn.Module, found: Mapping[str, Mask]) -> None:
    """Put the weights that `found` names under their masks, and turn every other pruned layer back."""
    for name, module in list(model.named_modules()):
        prefix = f"{name}." if name else ""
        if isinstance(module, Pruned) and f"{prefix}weight" not in found:
            detach(module)
        elif isinstance(module, PrunedRecurrent) and not all(f"{prefix}{p}" in found for p in module.masks):
            detach_recurrent(module)
    modules: dict[str, Any] = dict(model.named_modules())
    for parameter, mask in found.items():
        owner, _, own = parameter.rpartition(".")
        if is_recurrent(modules[owner]):
            attach_recurrent(modules[owner], {own: mask})
        else:
            attach(modules[owner], mask)


def can_be_masked(model: nn.Module, parameter: str) -> bool:
    """Whether a parameter of this name belongs to a layer that can be pruned, as its weight."""
    owner, _, own = parameter.rpartition(".")
    module = dict(model.named_modules()).get(owner)
    if module is None or own not in module._parameters:
        return False
    if is_recurrent(module):
        return own.startswith("weight_")
    return own == "weight" and (isinstance(module, Pruned) or type(module) in PRUNED_CLASSES)

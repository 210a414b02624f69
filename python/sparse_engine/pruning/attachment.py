"""Which weights of a model are under masks: put there, read, and taken away again, whatever kind of layer they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from ..masking.mask import Mask
from ..masking.zeros import mask_tensor
from ..nn import (
    recurrent,  # noqa: F401  they fill the table of kinds
)
from ..nn.base import Pruned, PrunedWeight, masks_on
from ..nn.convert import attach, detach, known_kind, pruned_class
from ..nn.encoder import decline_fused_paths
from .origin import forget, remember
from .targets import TRANSPOSED, PartialTarget, is_turned, mask_updates

Model = TypeVar("Model", bound=nn.Module)


def put_under(model: nn.Module, layers: Sequence[Any], found: Sequence[Mask]) -> None:
    """Put `layers` of `model`, and whatever shares their weights, under their masks."""
    remember(model)
    whole: dict[tuple[nn.Module, str], Mask] = {}
    parts: dict[tuple[nn.Module, str], NDArray[np.bool_]] = {}
    for layer, mask in zip(layers, found, strict=True):
        if isinstance(layer, (PartialTarget, *TRANSPOSED)) or is_turned(layer):
            for module, parameter, index, kept in mask_updates(layer, mask):
                if (module, parameter) not in parts:  # what no part speaks of keeps what it has
                    before = masks_on(module).get(parameter)
                    shape = tuple(getattr(module, parameter).shape)
                    parts[module, parameter] = np.ones(shape, np.bool_) if before is None else before.to_numpy()
                parts[module, parameter][index] = kept
        else:
            whole[layer, "weight"] = mask
    whole |= {owner: Mask.from_numpy(kept) for owner, kept in parts.items()}
    masks_by_weight = {id(module._parameters[parameter]): mask for (module, parameter), mask in whole.items()}
    for module in model.modules():
        for parameter, tensor in list(module._parameters.items()):
            mask_of_weight = masks_by_weight.get(id(tensor)) if tensor is not None else None
            if mask_of_weight is not None and ((module, parameter) in whole or _shares(module)):
                attach(module, parameter, mask_of_weight)
    decline_fused_paths(model)


def _shares(module: nn.Module) -> bool:
    """Whether a layer that shares a weight with a pruned one is pruned with it; an embedding reads the zeros as they are."""
    return isinstance(module, Pruned) or known_kind(module) is not None


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Mask of every pruned weight: parameter name as in `state_dict` -> bool tensor of its shape, True where it stays."""
    return {name: mask_tensor(mask) for name, mask in pruned_weights(model).items()}


def remove_masks(model: Model) -> Model:
    """Turn pruned layers back into plain dense ones, in place; the zeros stay in the weights but no longer hold."""
    put_masks(model, {})
    return model


def pruned_weights(model: nn.Module) -> dict[str, Mask]:
    """The mask of every pruned weight, by parameter name."""
    found: dict[str, Mask] = {}
    for name, module in model.named_modules():
        found |= {f"{name}.{parameter}" if name else parameter: mask for parameter, mask in masks_on(module).items()}
    return found


def put_masks(model: nn.Module, found: Mapping[str, Mask]) -> None:
    """Put the weights that `found` names under their masks, and turn every other pruned layer back."""
    (remember if found else forget)(model)
    modules = all_modules(model)
    wanted = {(modules[owner], parameter): mask for (owner, parameter), mask in _by_owner(found).items()}
    for module in list(model.modules()):
        if not all((module, parameter) in wanted for parameter in masks_on(module)):
            detach(module)
    for (module, parameter), mask in wanted.items():
        attach(module, parameter, mask)
    decline_fused_paths(model)


def put_named(model: nn.Module, found: Mapping[str, Mask]) -> None:
    """Put the weights that `found` names, in all layers that share them, under their masks; others keep what they have."""
    remember(model)
    modules = all_modules(model)
    by_weight = {id(modules[owner]._parameters[own]): mask for (owner, own), mask in _by_owner(found).items()}
    for module in list(model.modules()):
        for parameter, weight in list(module._parameters.items()):
            mask = by_weight.get(id(weight))
            if mask is not None and weight is not None and can_be_masked(module, parameter):
                attach(module, parameter, mask)
    decline_fused_paths(model)


def all_modules(model: nn.Module) -> dict[str, nn.Module]:
    """Every module by name; one that is registered twice has two."""
    return dict(model.named_modules(remove_duplicate=False))


def _by_owner(found: Mapping[str, Mask]) -> dict[tuple[str, str], Mask]:
    return {(owner, parameter): mask for name, mask in found.items() for owner, _, parameter in [name.rpartition(".")]}


def can_be_masked(model: nn.Module, parameter: str) -> bool:
    """Whether a parameter of this name belongs to a layer that can be pruned, as its weight."""
    owner, _, own = parameter.rpartition(".")
    module = all_modules(model).get(owner) if owner else model
    if module is None or own not in module._parameters:
        return False
    weight = module._parameters[own]
    if weight is None or isinstance(weight, UninitializedParameter) or weight.dim() < 2 or not weight.dtype.is_floating_point:
        return False
    return own == "weight" or not issubclass(pruned_class(module), PrunedWeight)

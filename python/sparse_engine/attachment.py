"""Which weights of a model are under masks: put there, read, and taken away again, whatever kind of layer they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from .attention import is_attention, projections
from .averages import forget, remember
from .encoder import decline_fused_paths
from .layer import Pruned, become, detach
from .mask import Mask
from .masking import mask_tensor
from .multihead import MaskedMultiheadAttention
from .nn import PRUNED_CLASSES, attach
from .ranked import TRANSPOSED, Part, masks_on, pieces_of
from .recurrent import RECURRENT_CLASSES, is_recurrent
from .several import PrunedSeveral, SeveralState, detach_several

Model = TypeVar("Model", bound=nn.Module)


# The class a layer with several weights takes when it is pruned.
SEVERAL_CLASSES: dict[Any, type[PrunedSeveral]] = {
    **RECURRENT_CLASSES,
    nn.MultiheadAttention: MaskedMultiheadAttention,
}


def put_under(model: nn.Module, layers: Sequence[Any], found: Sequence[Mask]) -> None:
    """Put `layers` of `model`, and whatever shares their weights, under their masks."""
    remember(model)
    whole: dict[tuple[nn.Module, str], Mask] = {}
    parts: dict[tuple[nn.Module, str], NDArray[np.bool_]] = {}
    for layer, mask in zip(layers, found, strict=True):
        if isinstance(layer, (Part, *TRANSPOSED)):
            for module, parameter, index, kept in pieces_of(layer, mask):
                if (module, parameter) not in parts:  # what no part speaks of keeps what it has
                    before = masks_on(module).get(parameter)
                    shape = tuple(getattr(module, parameter).shape)
                    parts[module, parameter] = np.ones(shape, np.bool_) if before is None else before.to_numpy()
                parts[module, parameter][index] = kept
        else:
            whole[layer, "weight"] = mask
    whole |= {place: Mask.from_numpy(kept) for place, kept in parts.items()}
    by_weight = {id(module.weight): mask for (module, parameter), mask in whole.items() if parameter == "weight"}
    for module in model.modules():
        mask_of_weight = by_weight.get(id(module._parameters.get("weight")))
        if mask_of_weight is not None and (isinstance(module, Pruned) or type(module) in PRUNED_CLASSES):
            attach(module, mask_of_weight)
    for (module, parameter), mask in whole.items():
        if parameter != "weight":
            _attach_one(module, parameter, mask)
    decline_fused_paths(model)


def put_on(module: nn.Module, parameter: str, mask: Mask) -> None:
    """Put one parameter of `module` under `mask`; others keep what they have."""
    if parameter == "weight":
        attach(module, mask)
    else:
        _attach_one(module, parameter, mask)


def take_off(module: nn.Module) -> None:
    """Turn a pruned layer back into the plain one; the zeros stay."""
    if isinstance(module, Pruned):
        detach(module)
    elif isinstance(module, PrunedSeveral):
        detach_several(module)


def _attach_one(module: Any, parameter: str, mask: Mask) -> None:
    if not isinstance(module, PrunedSeveral):
        become(module, SEVERAL_CLASSES[type(module)])
        module._sparse = SeveralState({})
    module._sparse.masks[parameter] = mask
    module._clean(parameter)


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
        elif isinstance(module, PrunedSeveral):
            found |= {f"{name}.{parameter}" if name else parameter: mask for parameter, mask in module.masks.items()}
    return found


def put_masks(model: nn.Module, found: Mapping[str, Mask]) -> None:
    """Put the weights that `found` names under their masks, and turn every other pruned layer back."""
    (remember if found else forget)(model)
    modules = all_modules(model)
    wanted = {(modules[owner], parameter): mask for (owner, parameter), mask in _by_owner(found).items()}
    for module in list(model.modules()):
        if not all((module, parameter) in wanted for parameter in masks_on(module)):
            take_off(module)
    for (module, parameter), mask in wanted.items():
        put_on(module, parameter, mask)
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
                put_on(module, parameter, mask)
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
    if is_recurrent(module):
        return own.startswith("weight_")
    if is_attention(module):
        return own in projections(module)
    return own == "weight" and (isinstance(module, Pruned) or type(module) in PRUNED_CLASSES)

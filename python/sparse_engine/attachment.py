"""Which weights of a model are under masks: put there, read, and taken away again, whatever kind of layer they belong to."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from . import attention, recurrent  # noqa: F401  they fill the table of kinds
from .kinds import known_kind, pruned_class, unpruned_class
from .layer import Pruned
from .mask import Mask
from .masking import mask_tensor, release
from .nn import attach, detach
from .parametrized import release_computed
from .ranked import TRANSPOSED, Part, is_turned, masks_on, pieces_of
from .several import PrunedSeveral, SeveralState

Model = TypeVar("Model", bound=nn.Module)


def put_under(model: nn.Module, layers: Sequence[Any], found: Sequence[Mask]) -> None:
    """Put `layers` of `model`, and whatever shares their weights, under their masks."""
    whole: dict[tuple[nn.Module, str], Mask] = {}
    parts: dict[tuple[nn.Module, str], NDArray[np.bool_]] = {}
    for layer, mask in zip(layers, found, strict=True):
        if isinstance(layer, (Part, *TRANSPOSED)) or is_turned(layer):
            for module, parameter, index, kept in pieces_of(layer, mask):
                if (module, parameter) not in parts:  # what no part speaks of keeps what it has
                    before = masks_on(module).get(parameter)
                    shape = tuple(getattr(module, parameter).shape)
                    parts[module, parameter] = np.ones(shape, np.bool_) if before is None else before.to_numpy()
                parts[module, parameter][index] = kept
        else:
            whole[layer, "weight"] = mask
    whole |= {place: Mask.from_numpy(kept) for place, kept in parts.items()}
    masks_by_weight = {id(module._parameters[parameter]): mask for (module, parameter), mask in whole.items()}
    for module in model.modules():
        for parameter, tensor in list(module._parameters.items()):
            mask_of_weight = masks_by_weight.get(id(tensor)) if tensor is not None else None
            if mask_of_weight is not None and ((module, parameter) in whole or _shares(module)):
                put_on(module, parameter, mask_of_weight)


def _shares(module: nn.Module) -> bool:
    """Whether a layer that shares a weight with a pruned one is pruned with it; an embedding reads the zeros as they are."""
    return isinstance(module, (Pruned, PrunedSeveral)) or known_kind(module) is not None


def put_on(module: nn.Module, parameter: str, mask: Mask) -> None:
    """Put one parameter of `module` under `mask`; others keep what they have."""
    if issubclass(pruned_class(module), Pruned):
        attach(module, mask)
    else:
        _attach_one(module, parameter, mask)


def take_off(module: nn.Module) -> None:
    """Turn a pruned layer back into the plain one, of the class it had; the zeros stay."""
    if isinstance(module, Pruned):
        detach(module)
    elif isinstance(module, PrunedSeveral):
        for name in module.masks:
            weight = module._parameters.get(name)
            if weight is None:
                release_computed(module, name)
            else:
                release(weight)
        del module._sparse
        module.__class__ = unpruned_class(module)  # type: ignore[assignment]


def _attach_one(module: Any, parameter: str, mask: Mask) -> None:
    if not isinstance(module, PrunedSeveral):
        module.__class__ = pruned_class(module)
        module._sparse = getattr(module, "State", SeveralState)({})
    module._sparse.masks[parameter] = mask
    module._sparse.packed.clear()
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
    for name, module in list(model.named_modules()):
        prefix = f"{name}." if name else ""
        own = ["weight"] if isinstance(module, Pruned) else module.masks if isinstance(module, PrunedSeveral) else []
        if not all(f"{prefix}{parameter}" in found for parameter in own):
            take_off(module)
    modules: dict[str, Any] = dict(model.named_modules())
    for name, mask in found.items():
        owner, _, parameter = name.rpartition(".")
        put_on(modules[owner], parameter, mask)


def can_be_masked(model: nn.Module, parameter: str) -> bool:
    """Whether a parameter of this name belongs to a layer that can be pruned, as its weight."""
    owner, _, own = parameter.rpartition(".")
    module = dict(model.named_modules()).get(owner)
    if module is None or own not in module._parameters:
        return False
    weight = module._parameters[own]
    if weight is None or isinstance(weight, UninitializedParameter) or weight.dim() < 2 or not weight.dtype.is_floating_point:
        return False
    return own == "weight" or not issubclass(pruned_class(module), Pruned)

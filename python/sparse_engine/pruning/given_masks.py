"""Masks as data: put given ones on a model, take them from another model, or from the zeros that stand in it."""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..masking.mask import Mask
from .attachment import can_be_masked, pruned_weights, put_named
from .module_weights import weights_of
from .spec import matches

Model = TypeVar("Model", bound=nn.Module)
WRAPPERS = ("module.", "_orig_mod.")  # DistributedDataParallel, DataParallel and AveragedModel; torch.compile


def set_masks(model: Model, masks: "Mapping[str, Any] | nn.Module") -> Model:
    """Put weights of `model` under given masks, in place: the inverse of `engine.masks`. Returns `model`.

    Weights become 0 where their mask is False and are kept so as after `prune`; where an earlier mask was False and the new
    one is True they are as they stand. Weights that are not named keep the mask they have or have not (`remove_masks` takes
    all off); layers that share a weight get its mask together.

    Args:
        model: pruned or not. An average (`torch.optim.swa_utils.AveragedModel`), `DistributedDataParallel` or compiled module
            is meant as the one inside.
        masks: parameter name as in `state_dict` -> mask of the parameter's shape, True where it stays: a bool tensor, a bool
            array or a `Mask`. Or another model of the same names, whose masks are taken. Names may have or lack the prefixes of
            wrappers.
    Raises:
        ValueError: a name that is no prunable weight of `model`, another shape or dtype, two masks for one shared weight, or a
            weight on the meta device. The model is unchanged then.
        TypeError: `masks` is neither a mapping nor a module.
    """
    if isinstance(masks, nn.Module):
        masks = pruned_weights(masks)
    if not isinstance(masks, Mapping):
        raise TypeError(f"masks must be a mapping from parameter name to mask, or a model, not {type(masks).__name__}")
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = {_bare(name): name for name in parameters}
    found: dict[str, Mask] = {}
    by_weight: dict[int, tuple[str, Mask]] = {}
    for given, mask in masks.items():
        name = given if given in parameters else names.get(_bare(str(given)), "")
        if not name or not can_be_masked(model, name):
            raise ValueError(f"masks name {given!r}; the model has no weight of this name that can be under a mask")
        weight = parameters[name]
        found[name] = _read(given, mask, weight)
        other, first = by_weight.setdefault(id(weight), (given, found[name]))
        if first != found[name]:
            raise ValueError(f"{other!r} and {given!r} are one weight, and their masks differ; give one, or the same twice")
    put_named(model, found)
    return model


def masks_from_zeros(
    model: nn.Module, min_sparsity: float = 0.01, include: "str | list[str] | tuple[str, ...]" = "*"
) -> dict[str, Tensor]:
    """Masks of the weights that are 0 in `model` already, such as those of a checkpoint that something else pruned.

        model.load_state_dict(checkpoint)
        engine.set_masks(model, engine.pruning.masks_from_zeros(model))

    Args:
        model: any; it is only read.
        min_sparsity: a weight with a smaller share of zeros is left out, as zeros there are by chance; in (0, 1]. A weight of
            zeros only is left out too: it has not begun to learn (LoRA's B, a zero-initialised convolution).
        include: glob patterns on module names.
    Returns:
        As `engine.masks`: parameter name as in `state_dict` -> bool tensor of its shape, True where it is not 0.
    Raises:
        ValueError: `min_sparsity` outside (0, 1].
    """
    if not 0 < min_sparsity <= 1:
        raise ValueError(f"min_sparsity = {min_sparsity!r} is outside (0, 1]; it is the least share of zeros worth a mask")
    patterns = (include,) if isinstance(include, str) else tuple(include)
    found = {}
    for name, module in model.named_modules():
        if not matches(name, patterns):
            continue
        pruned = {weight.parameter for weight in weights_of(name, module) if not weight.doubt}
        for own, parameter in module._parameters.items():
            if (
                own not in pruned
                or parameter is None
                or parameter.is_meta
                or not parameter.numel()
                or not can_be_masked(module, own)
            ):
                continue
            kept = (parameter.detach() != 0).cpu()
            if kept.any() and 1 - int(kept.sum()) / kept.numel() >= min_sparsity:
                found[f"{name}.{own}" if name else own] = kept
    return found


def _bare(name: str) -> str:
    """A parameter's name without what wrappers put before it."""
    while name.startswith(WRAPPERS):
        name = name[name.index(".") + 1 :]
    return name


def _read(name: str, mask: Any, weight: Tensor) -> Mask:
    shape = tuple(weight.shape)
    if weight.is_meta:
        raise ValueError(f"the weight {name!r} is on the meta device and has no values; load the model first")
    if isinstance(mask, Tensor):
        dtype, flags = mask.dtype, mask.detach().cpu() if mask.dtype is torch.bool else None
        given, array = tuple(mask.shape), None if flags is None else flags.contiguous().numpy()
    elif isinstance(mask, np.ndarray):
        dtype, given, array = mask.dtype, mask.shape, np.ascontiguousarray(mask) if mask.dtype == np.bool_ else None
    elif isinstance(mask, Mask):
        dtype, given, array = torch.bool, mask.shape, None
    else:
        raise ValueError(f"the mask of {name!r} is a {type(mask).__name__}; give a bool tensor, a bool array or a Mask")
    if given != shape:
        raise ValueError(f"the mask of {name!r} has shape {given}; the weight has {shape}")
    if isinstance(mask, Mask):
        return mask
    if array is None:
        raise ValueError(f"the mask of {name!r} is of {dtype}; it must be bool, True where a weight stays: give mask != 0")
    return Mask.from_numpy(array)

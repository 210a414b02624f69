"""`prune(model, spec)`: selects layers, scores their weights, picks masks, and puts the layers under them."""

import warnings
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from .criteria import CRITERIA
from .granularity import GRANULARITIES, Scores
from .layer import Pruned
from .mask import Mask
from .masking import mask_tensor
from .nn import PRUNED_CLASSES, attach, detach
from .spec import Spec

Model = TypeVar("Model", bound=nn.Module)


def prune(model: Model, spec: Spec) -> Model:
    """Prune `model` in place as `spec` says, and return the same object.

    Every selected Linear, Conv1d, Conv2d and Conv3d layer gets a mask, its pruned weights become 0 and stay 0 through training,
    and in inference (`model.eval()` under `torch.inference_mode()` or `torch.no_grad()`) Linear and Conv2d run on native sparse
    kernels where these measure faster. Parameters, their names and `state_dict` keys do not change. Pruning again, at a higher
    sparsity, goes on from where the model is.

    Args:
        model: any `torch.nn.Module`.
        spec: what to remove; see `Spec`. Counts are exact: round(sparsity · n) weights go, ties keep the lowest index.
    Returns:
        `model`.
    Raises:
        ValueError: no layer is selected, a weight holds NaN, `nonzeros` exceeds the weights there are, or a weight is not a
            plain parameter (weight_norm, parametrizations). The model is unchanged then.
        TypeError: `model` is not a Module or `spec` not a Spec.
    Source: Han, Pool, Tran, Dally, "Learning both Weights and Connections", NeurIPS 2015.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    if not isinstance(spec, Spec):
        raise TypeError(f"spec must be an engine.Spec, not {type(spec).__name__}; for example engine.Spec(sparsity=0.9)")
    names, layers = _selected_layers(model, spec)
    score = CRITERIA[spec.criterion]
    scores: list[Scores] = [partial(lambda layer: _scores(score(layer)), layer) for layer in layers]
    for name, layer_scores in zip(names, scores, strict=True):
        _refuse_nan(name, layer_scores())
    shapes = [tuple(layer.weight.shape) for layer in layers]
    keep = _amounts(spec, names, [int(np.prod(shape, dtype=np.int64)) for shape in shapes])
    pick = GRANULARITIES[spec.granularity]
    found: list[Mask] = []
    if spec.scope == "global":
        found = pick(scores, shapes, sum(keep))
    else:
        for one, shape, count in zip(scores, shapes, keep, strict=True):
            found += pick([one], [shape], count)
    # Nothing was touched so far: a refused weight leaves the model as it was.
    by_weight = {id(layer.weight): mask for layer, mask in zip(layers, found, strict=True)}
    for module in model.modules():
        mask = by_weight.get(id(module._parameters.get("weight")))
        if mask is not None and (isinstance(module, Pruned) or type(module) in PRUNED_CLASSES):
            attach(module, mask)
    return model


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Mask of every pruned weight: parameter name as in `state_dict` -> bool tensor of its shape, True where it stays."""
    return {f"{name}.weight" if name else "weight": mask_tensor(layer.mask) for name, layer in pruned_layers(model)}


def remove_masks(model: Model) -> Model:
    """Turn pruned layers back into plain dense ones, in place; the zeros stay in the weights but no longer hold."""
    for _, layer in list(pruned_layers(model)):
        detach(layer)
    return model


def pruned_layers(model: nn.Module) -> list[tuple[str, Pruned]]:
    """(name, layer) of every pruned layer."""
    return [(name, module) for name, module in model.named_modules() if isinstance(module, Pruned)]


def _selected_layers(model: nn.Module, spec: Spec) -> tuple[list[str], list[Any]]:
    names: list[str] = []
    layers: list[Any] = []
    weights: set[int] = set()
    skipped: list[str] = []
    prunable = [(name, m) for name, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    for name, module in prunable:
        if not spec.selects(name) or (isinstance(spec.sparsity, Mapping) and _share_of(spec.sparsity, name) is None):
            continue
        _check_weight(name, module)
        if not isinstance(module, Pruned) and type(module) not in PRUNED_CLASSES:
            skipped.append(f"{name} ({type(module).__name__})")
            continue
        if id(module.weight) in weights:  # shared: counted and ranked once
            continue
        weights.add(id(module.weight))
        names.append(name)
        layers.append(module)
    if skipped:
        warnings.warn(
            f"not pruned, a subclass with arithmetic of its own: {', '.join(skipped)}; name them in exclude= to say so",
            stacklevel=3,
        )
    if not layers:
        there = ", ".join(name or "(the model itself)" for name, _ in prunable) or "none"
        raise ValueError(
            f"include={spec.include}, exclude={spec.exclude} select no layer; prunable layers of this model: {there}"
        )
    if isinstance(spec.sparsity, Mapping):
        for pattern in spec.sparsity:
            if not any(fnmatchcase(name, pattern) for name, _ in prunable):
                known = ", ".join(name for name, _ in prunable)
                raise ValueError(f"sparsity: pattern {pattern!r} matches no layer; prunable layers of this model: {known}")
    return names, layers


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


def _share_of(shares: Mapping[str, float], name: str) -> float | None:
    return next((share for pattern, share in shares.items() if fnmatchcase(name, pattern)), None)


def _scores(scores: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = scores.detach().to(device="cpu", dtype=torch.float32).contiguous().reshape(-1).numpy()
    return array


def _refuse_nan(name: str, scores: NDArray[np.float32]) -> None:
    if np.isnan(scores.sum(dtype=np.float32)) and np.isnan(scores).any():
        first = int(np.flatnonzero(np.isnan(scores))[0])
        raise ValueError(
            f"layer {name!r} has NaN at weight.flatten()[{first}]; magnitudes must be numbers: repair or reload the weights, "
            f"or pass exclude=[{name!r}]"
        )


def _amounts(spec: Spec, names: list[str], sizes: list[int]) -> list[int]:
    """Weights that stay in each layer; with scope="global" only the sum counts."""
    total = sum(sizes)
    if spec.nonzeros is not None:
        if spec.nonzeros > total:
            raise ValueError(f"nonzeros = {spec.nonzeros} exceeds the {total} weights of the selected layers")
        return _split(spec.nonzeros, sizes)
    if isinstance(spec.sparsity, Mapping):
        shares: list[Any] = [_share_of(spec.sparsity, name) for name in names]
    else:
        shares = [spec.sparsity] * len(names)
    if spec.scope == "global":
        return _split(total - round(shares[0] * total), sizes)
    return [size - round(share * size) for share, size in zip(shares, sizes, strict=True)]


def _split(keep: int, sizes: list[int]) -> list[int]:
    """`keep` cut in proportion to `sizes`, exactly: the largest remainders get one more."""
    total = sum(sizes)
    parts = [keep * size // total if total else 0 for size in sizes]
    remainders = sorted(range(len(sizes)), key=lambda i: -(keep * sizes[i] % total) if total else 0)
    for i in remainders[: keep - sum(parts)]:
        parts[i] += 1
    return parts

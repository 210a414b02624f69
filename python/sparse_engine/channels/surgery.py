"""Take channels out of a model for good: tensors shrink, modules learn their new sizes, and a plain record says what stayed.

The record of a module holds, for each of its tensors that shrank, which of the original indices of each dimension are left. It
is copied and pickled with the module; `removed_channels` gathers it, and `remove_channels` repeats it on a model that the
original code makes anew.
"""

import itertools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..masking.mask import Mask
from ..pruning.attachment import pruned_weights, put_masks
from .optimizers import remember

Model = TypeVar("Model", bound=nn.Module)
Indices = Mapping[str, Mapping[int, NDArray[np.int64]]]  # tensor by its name in state_dict -> dimension -> what stays
RECORD = "_channels_left"
NORMS = ((nn.modules.batchnorm._NormBase, "num_features"), (nn.GroupNorm, "num_channels"))


def removed_channels(model: nn.Module) -> dict[str, dict[str, dict[str, Any]]]:
    """What `prune(..., granularity="channel")` removed from `model`, as plain values for JSON.

    Returns:
        Name of a tensor in `state_dict` -> dimension -> {"size": the original one, "left": its indices that stay}. A
        normalisation without tensors stands there by the size it keeps, such as "norm.num_features", as if of one dimension.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, module in model.named_modules():
        for own, dims in module.__dict__.get(RECORD, {}).items():
            found[f"{name}.{own}" if name else own] = {
                str(dim): {"size": size, "left": list(left)} for dim, (size, left) in dims.items()
            }
    return found


def remove_channels(model: Model, removed: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Model:
    """Repeat on `model`, as the original code makes it, what `removed_channels` told of another; in place.

    Args:
        model: of the original sizes, or already of the smaller ones.
        removed: of `removed_channels`; nothing in it is trusted.
    Raises:
        ValueError: it does not fit the model, which is unchanged then.
    """
    remove_again(model, removed)
    return model


def remove_again(model: nn.Module, removed: Any) -> Callable[[], None]:
    """`remove_channels`; returns what undoes it."""
    if removed_channels(model) == removed:
        return lambda: None
    if not isinstance(removed, Mapping):
        raise ValueError(f"removed channels are a mapping by tensor, not {type(removed).__name__}")
    shapes = {name: tuple(tensor.shape) for name, tensor in _tensors(model)} | bare_sizes(model)
    indices: dict[str, dict[int, NDArray[np.int64]]] = {}
    for name, dims in removed.items():
        if name not in shapes or not isinstance(dims, Mapping):
            raise ValueError(f"channels of {name!r} were removed, which the model has not; build it with the original code")
        for dim, entry in dims.items():
            indices.setdefault(name, {})[_dimension(dim)] = _checked(name, dim, entry, shapes[name])
    return shrink(model, indices)


def _dimension(dim: object) -> int:
    if not isinstance(dim, str) or not dim.isascii() or not dim.isdigit() or len(dim) > 2:
        raise ValueError(f"{dim!r} is not the number of a dimension")
    return int(dim)


def _checked(name: str, dim: str, entry: Any, shape: tuple[int, ...]) -> NDArray[np.int64]:
    size, left = (entry.get("size"), entry.get("left")) if isinstance(entry, Mapping) else (None, None)
    if _dimension(dim) >= len(shape) or shape[_dimension(dim)] != size:
        raise ValueError(f"{name!r} had size {size!r} in dimension {dim}; in the model its shape is {shape}")
    whole = isinstance(left, list) and all(type(i) is int and 0 <= i < size for i in left)
    if not whole or not left or any(b <= a for a, b in itertools.pairwise(left)):
        raise ValueError(f"the indices of {name!r} left in dimension {dim} are not ascending numbers in [0, {size})")
    return np.array(left, np.int64)


def shrink(model: nn.Module, indices: Indices) -> Callable[[], None]:
    """Keep only `indices` of each tensor, in place; parameters stay the objects they are. Returns what undoes it."""
    masks = pruned_weights(model)
    undo: list[Callable[[], None]] = []
    modules = dict(model.named_modules())
    for name, shape in bare_sizes(model).items():
        if name in indices:
            owner, _, own = name.rpartition(".")
            undo.append(_note(modules[owner], own, shape, indices[name]))
            undo.append(_set(modules[owner], _norm_sizes(modules[owner], len(indices[name][0]))))
    for name, tensor in _tensors(model):
        dims = indices.get(name)
        if dims is None:
            continue
        owner, _, own = name.rpartition(".")
        small = tensor.detach()
        for dim, left in dims.items():
            small = small.index_select(dim, torch.from_numpy(left).to(small.device))
        undo.append(_note(modules[owner], own, tuple(tensor.shape), dims))
        if isinstance(tensor, nn.Parameter):
            undo.append(remember(tensor, dims))
        undo.append(_replace(tensor, small.clone(memory_format=torch.contiguous_format)))
    undo += [fit_attributes(module) for module in _owners(model, indices)]
    if any(name in indices for name in masks):
        put_masks(model, {name: _smaller(mask, indices.get(name, {})) for name, mask in masks.items()})

    def restore() -> None:
        for step in reversed(undo):
            step()
        if masks:
            put_masks(model, masks)

    return restore


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def bare_sizes(model: nn.Module) -> dict[str, tuple[int]]:
    """Numbers of channels that normalisations without tensors keep: {"norm.num_features": (16,)}."""
    found: dict[str, tuple[int]] = {}
    for prefix, module in model.named_modules():
        own = next((own for kind, own in NORMS if isinstance(module, kind)), None)
        if own is not None and not any(t is not None for t in [*module._parameters.values(), *module._buffers.values()]):
            found[f"{prefix}.{own}" if prefix else own] = (getattr(module, own),)
    return found


def _norm_sizes(layer: Any, channels: int) -> dict[str, int]:
    """Attributes of a normalisation with so many channels; of groups whole ones went."""
    if isinstance(layer, nn.GroupNorm):
        return {"num_channels": channels, "num_groups": layer.num_groups * channels // layer.num_channels}
    return {"num_features": channels}


def _owners(model: nn.Module, indices: Indices) -> list[nn.Module]:
    """Modules that hold a tensor that shrank, under whatever name."""
    small = {id(tensor) for name, tensor in _tensors(model) if name in indices}
    return [
        module
        for module in model.modules()
        if any(id(tensor) in small for held in (module._parameters, module._buffers) for tensor in held.values())
    ]


def _replace(tensor: Tensor, small: Tensor) -> Callable[[], None]:
    before, gradient = tensor.data, tensor.grad
    tensor.grad = None
    tensor.data = small
    torch.autograd.graph.increment_version(tensor)

    def undo() -> None:
        tensor.data = before
        tensor.grad = gradient

    return undo


def _note(module: nn.Module, own: str, shape: tuple[int, ...], dims: Mapping[int, NDArray[np.int64]]) -> Callable[[], None]:
    """Remember which of the original indices are left, whatever was removed before."""
    before: dict[str, dict[int, tuple[int, list[int]]]] = module.__dict__.get(RECORD, {})
    noted = dict(before.get(own, {}))
    for dim, left in dims.items():
        size, earlier = noted.get(dim, (shape[dim], list(range(shape[dim]))))
        noted[dim] = (size, [earlier[i] for i in left.tolist()])
    module.__dict__[RECORD] = {**before, own: noted}

    def undo() -> None:
        module.__dict__[RECORD] = before

    return undo


def _smaller(mask: Mask, dims: Mapping[int, NDArray[np.int64]]) -> Mask:
    kept = mask.to_numpy()
    for dim, left in dims.items():
        kept = np.take(kept, left, axis=dim)
    return Mask.from_numpy(np.ascontiguousarray(kept))


def fit_attributes(layer: nn.Module) -> Callable[[], None]:
    """Sizes that a module of torch keeps beside its tensors, read off them anew. Returns what undoes it."""
    shapes = {name: tuple(t.shape) for name, t in [*layer._parameters.items(), *layer._buffers.items()] if t is not None}
    new: dict[str, int] = {}
    if isinstance(layer, nn.Linear):
        new = {"out_features": shapes["weight"][0], "in_features": shapes["weight"][1]}
    elif isinstance(layer, nn.modules.conv._ConvNd):
        first, second = shapes["weight"][:2]
        groups = layer.groups
        if groups > 1 and groups == layer.in_channels:  # depthwise
            groups = first if layer.transposed else first // (layer.out_channels // groups)
        sides = (first, second * groups)
        new = {"groups": groups, "in_channels": sides[not layer.transposed], "out_channels": sides[layer.transposed]}
    elif isinstance(layer, (nn.modules.batchnorm._NormBase, nn.GroupNorm)) and shapes:
        new = _norm_sizes(layer, next(iter(shapes.values()))[0])
    elif isinstance(layer, nn.RNNBase):
        new = {"hidden_size": shapes["weight_hh_l0"][1], "input_size": shapes["weight_ih_l0"][1]}
    elif isinstance(layer, nn.Embedding):
        new = {"embedding_dim": shapes["weight"][1]}
    elif isinstance(layer, nn.PReLU):
        new = {"num_parameters": shapes["weight"][0]}
    elif type(layer).__name__ == "Conv1D" and len(shapes.get("weight", ())) == 2:  # of transformers, a linear layer (in, out)
        sizes = zip(("nx", "nf"), shapes["weight"], strict=True)
        new = {name: size for name, size in sizes if isinstance(getattr(layer, name, None), int)}
    return _set(layer, new)


def _set(layer: nn.Module, new: Mapping[str, int]) -> Callable[[], None]:
    before = {name: getattr(layer, name) for name in new}
    for name, value in new.items():
        setattr(layer, name, value)

    def undo() -> None:
        for name, value in before.items():
            setattr(layer, name, value)

    return undo


def mask_channels(model: nn.Module, indices: Indices) -> None:
    """Write zeros where `shrink` would cut, in place: the same arithmetic at the original sizes. Buffers stay."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, dims in indices.items():
            for dim, left in dims.items():
                if name in parameters:
                    gone = np.setdiff1d(np.arange(parameters[name].shape[dim]), left)
                    parameters[name].index_fill_(dim, torch.from_numpy(gone), 0)

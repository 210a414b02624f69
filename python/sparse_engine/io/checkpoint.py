"""`save` and `load`: a model's state in one safetensors file, pruned weights compressed, masks and decisions with it.

Everything is read back bit for bit, with what `state_dict` keeps beside tensors: versions of modules, extra state. Nothing is
ever executed: there is no pickle. A model is loaded entirely or not at all.
"""

import json
import os
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import _EXTRA_STATE_KEY_SUFFIX
from torch.nn.parameter import is_lazy

from ..channels.surgery import remove_again, removed_channels
from ..masking.encoding import compress, decompress
from ..masking.mask import Mask
from ..masking.zeros import is_spread
from ..nn.autotune import decisions, set_decisions
from ..pruning.attachment import can_be_masked, pruned_weights, put_masks
from ..pruning.snapshot import Snapshot
from .atomic_write import write_atomically
from .materialize import materialize
from .plain_values import from_json, to_json

Model = TypeVar("Model", bound=nn.Module)

VERSION = 2
READABLE = (1, 2)  # 1 has neither "modules" nor "extra", and names masks of all that shares memory
ASSIGNS = "assign_to_params_buffers"  # torch's own word to itself among what it keeps of a module: never a file's


def save(model: nn.Module, path: "str | os.PathLike[str]") -> None:
    """Write `model`'s state to `path`: the old file stays until the new one is complete.

    Args:
        model: pruned or not. Parameters and buffers of any dtype; tensors that share memory are written once, compressed where
            one of the layers that share it is pruned. What `get_extra_state` returns may be made of tensors, numbers, text,
            None, lists, tuples and mappings.
        path: where to; by custom `*.safetensors`.
    Raises:
        TypeError: extra state of another type. ValueError: a tensor without values (on the meta device, or of a lazy module
            that never ran), or a masked weight that `state_dict` leaves out. OSError: the file cannot be written. What was
            there before is unharmed.
    """
    from safetensors.torch import save as to_bytes

    pruned, state = pruned_weights(model), model.state_dict()
    values = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    for name in pruned:
        if name not in values:
            raise ValueError(
                f"{name!r} is under a mask, but not among the tensors of state_dict, as something computes it (weight_norm, a "
                f"parametrization, torch's own pruning): make it a parameter again and save then "
                f"(torch.nn.utils.parametrize.remove_parametrizations(layer, {name.rpartition('.')[2]!r}), "
                f"torch.nn.utils.remove_weight_norm, remove_spectral_norm or torch.nn.utils.prune.remove), the mask stays; or "
                f"call engine.remove_masks(model) first, which gives the mask up"
            )
    tensors: dict[str, Tensor] = {}
    sparse: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    for first, *others in _sharing(values):
        aliases |= dict.fromkeys(others, first)
        value = values[first].detach().to("cpu").contiguous()
        mask = _held_by_all([pruned[name] for name in (first, *others) if name in pruned])
        if mask is not None and mask.kept < mask.size:
            sparse[first] = compress(first, value, mask, tensors)
        else:
            tensors[first] = value.clone()  # views of one storage are written apart
    about = {
        "version": VERSION,
        "sparse": sparse,
        "aliases": aliases,
        "masked": sorted(pruned),
        "decisions": decisions(model),
        "extra": {n: _told(n, v, tensors) for n, v in state.items() if n not in values},
        "modules": {
            name: {key: _told(f"{name}:{key}", kept, tensors) for key, kept in entries.items() if key != ASSIGNS}
            for name, entries in getattr(state, "_metadata", {}).items()
        },
    }
    removed = removed_channels(model)
    if removed:
        about["removed"] = removed
    write_atomically(Path(path), to_bytes(tensors, {"format": "pt", "sparse_engine": json.dumps(about)}))


def load(path: "str | os.PathLike[str]", model: Model) -> Model:
    """Read what `save` wrote into `model`, in place, and put its layers under the masks; returns `model`.

    Needs the memory of the model's tensors once more while it runs: whatever fails, the model is left as it was.

    Args:
        path: the file.
        model: of the same architecture, pruned or not. Where channels were removed from the saved one, as its original code
            makes it: the same are removed here. On the meta device it is given memory on the CPU (its parameters become new
            objects then).
    Raises:
        ValueError: the file is damaged, was not written by `save`, or belongs to another architecture; or the model is on the
            meta device and holds tensors that no file has. OSError: it cannot be read. Besides, whatever a module raises in a
            `_load_from_state_dict` or `set_extra_state` of its own. The model is unchanged after each of them.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load as from_bytes

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = from_bytes(Path(path).read_bytes())
        about = _about(metadata)
    except (SafetensorError, KeyError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)!r} is no file of engine.save: {error}") from error
    before = Snapshot(model)
    try:
        remove_again(model, about.get("removed", {}))
        state, masks = _decode(about, tensors, _shapes(model))
        _check_fits(model, state, masks)
        materialize(model, state)
        _install(model, state, masks, about["decisions"])
    except BaseException as error:
        before.restore()
        if isinstance(error, RuntimeError):  # torch's word for what load_state_dict gathered
            raise ValueError(f"{os.fspath(path)!r} does not go into this model: {error}") from error
        raise
    return model


def _sharing(values: dict[str, Tensor]) -> list[list[str]]:
    """Names by the memory they stand for; most stand alone."""
    groups: dict[Any, list[str]] = {}
    for name, value in values.items():
        if is_lazy(value) or value.is_meta:
            raise ValueError(f"{name!r} has no values to save: it is on the meta device, or of a lazy module that never ran")
        if is_spread(value):
            raise ValueError(
                f"{name!r} is spread over processes (a DTensor): gather the state with torch.distributed.checkpoint.state_dict."
                f"get_model_state_dict(model, options=StateDictOptions(full_state_dict=True)), load it into a model that "
                f"is not spread, give that the same masks by engine.set_masks(it, engine.masks(model)), and save it"
            )
        if value.layout is not torch.strided:
            raise ValueError(f"{name!r} is stored as {value.layout}; files hold dense tensors: make it one with to_dense()")
        key = (value.data_ptr(), value.dtype, tuple(value.shape), value.stride()) if value.numel() else name
        groups.setdefault(key, []).append(name)
    return list(groups.values())


def _held_by_all(masks: list[Mask]) -> Mask | None:
    """What stays of a weight that layers under these masks share, or None where there are none."""
    if not masks or all(mask == masks[0] for mask in masks):
        return masks[0] if masks else None
    return Mask(reduce(np.bitwise_and, [mask.bits for mask in masks]), masks[0].shape)


def _told(name: str, value: Any, tensors: dict[str, Tensor]) -> Any:
    """A value that is no tensor as JSON; tensors in it become tensors of the file."""

    def keep(tensor: Tensor) -> str:
        place = f"{name}:{sum(other.startswith(f'{name}:') for other in tensors)}"
        tensors[place] = tensor.detach().to("cpu").contiguous().clone()
        return place

    return to_json(value, f"the extra state {name!r}", keep)


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    if "sparse_engine" not in metadata:
        raise ValueError("the file has no sparse_engine metadata: it is a plain safetensors file; load it with safetensors")
    about = json.loads(metadata["sparse_engine"])
    version = about.get("version") if isinstance(about, dict) else about
    if not isinstance(about, dict) or type(version) is not int or version not in READABLE:
        raise ValueError(f"the file has format version {version!r}; this release reads {' and '.join(map(str, READABLE))}")
    if version == 1:
        about |= {"extra": {}, "modules": None}
    wanted = {"sparse": dict, "aliases": dict, "masked": list, "decisions": dict, "extra": dict}
    for name, kind in wanted.items():
        if not isinstance(about.get(name), kind):
            raise ValueError(f"metadata: {name} is {type(about.get(name)).__name__}, not {kind.__name__}")
    modules = about.get("modules")
    if version > 1 and not (isinstance(modules, dict) and all(isinstance(kept, dict) for kept in modules.values())):
        raise ValueError("metadata: modules is not what is kept of each module")
    return about


def _decode(about: dict[str, Any], tensors: dict[str, Tensor], own: dict[str, Any]) -> tuple[Any, dict[str, Mask]]:
    """The state dict and the masks; every array is looked at before it is used, `own` are the shapes the model has."""
    state: Any = OrderedDict(tensors)  # like torch's, with an attribute for what is kept of modules
    found: dict[str, Mask] = {}

    def take(name: str) -> Tensor:
        if name not in state:
            raise ValueError(f"the file lacks {name!r}")
        return state.pop(name)  # type: ignore[no-any-return]

    for name, entry in about["sparse"].items():
        state[name], found[name] = decompress(name, entry, own.get(name), state)
    extra = {name: from_json(told, f"extra state {name!r}", take) for name, told in about["extra"].items()}
    if about["modules"] is not None:
        state._metadata = OrderedDict(
            (name, {key: from_json(told, f"{name}:{key}", take) for key, told in kept.items() if key != ASSIGNS})
            for name, kept in about["modules"].items()
        )
        for name, kept in state._metadata.items():
            if type(kept.get("version", 0)) not in (int, type(None)):
                raise ValueError(f"metadata: the version of module {name!r} is {kept['version']!r}, not a whole number")
    state.update(extra)
    for name, original in about["aliases"].items():
        if not isinstance(original, str) or original not in state:
            raise ValueError(f"metadata: {name!r} shares memory with {original!r}, which the file does not hold")
        state[name] = state[original]
    masks = {}
    for name in about["masked"]:
        if not isinstance(name, str) or name not in state or name in extra:
            raise ValueError(f"metadata: {name!r} is masked, but the file does not hold it")
        mask = found.get(about["aliases"].get(name, name))
        # Where no bits were written everything stays.
        masks[name] = Mask.from_numpy(np.ones(tuple(state[name].shape), np.bool_)) if mask is None else mask
    return state, masks


def _shapes(model: nn.Module) -> dict[str, Any]:
    """The shape of everything in the model's state, None for what is no tensor."""
    shapes: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        if is_lazy(value):
            raise ValueError(f"{name!r} of the model has no shape yet: run the model once on an input before loading")
        shapes[name] = tuple(value.shape) if isinstance(value, Tensor) else None
    return shapes


def _check_fits(model: nn.Module, state: Mapping[str, Any], masks: dict[str, Mask]) -> None:
    own = _shapes(model)
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"the file belongs to another architecture: it lacks {missing[:3] or 'nothing'} and has {extra[:3] or 'nothing'} "
            f"that the model has not"
        )
    for name, value in state.items():
        if name.endswith(_EXTRA_STATE_KEY_SUFFIX):
            continue  # of whatever type and size; its module looks at it
        shape = tuple(value.shape) if isinstance(value, Tensor) else None
        if shape != own[name]:
            raise ValueError(f"{name!r} has shape {shape} in the file and {own[name]} in the model")
    for name, mask in masks.items():
        if not can_be_masked(model, name):
            raise ValueError(f"{name!r} is pruned in the file, but such a parameter of this model cannot be")
        if mask.shape != own[name]:
            raise ValueError(f"the mask of {name!r} has shape {mask.shape}; the weight has {own[name]}")


def _install(model: nn.Module, state: Mapping[str, Any], masks: dict[str, Mask], chosen: dict[str, Any]) -> None:
    put_masks(model, masks)
    model.load_state_dict(state)
    try:
        set_decisions(model, chosen)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        warnings.warn(f"the kernels are chosen anew: {error}", stacklevel=3)

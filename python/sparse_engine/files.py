"""`save` and `load`: a model's state in one safetensors file, pruned weights compressed, masks and decisions with it.

A pruned weight is stored as the mask's bits and the values that stay, or as the 16- or 32-bit columns of every row instead of
the bits, whichever is smaller. Everything is read back bit for bit. Nothing is ever executed: there is no pickle.
"""

import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .mask import Mask

if TYPE_CHECKING:
    from torch import Tensor, nn

    Model = TypeVar("Model", bound=nn.Module)

VERSION = 1
ENCODINGS = ("bitmask", "csr")


def stored_bytes(mask: Mask, item_bytes: int = 4) -> int:
    """Bytes a weight under `mask` takes in a file: its values and what says where they stand."""
    return mask.kept * item_bytes + min(_index_bytes(mask, encoding) for encoding in ENCODINGS)


def save(model: "nn.Module", path: "str | os.PathLike[str]") -> None:
    """Write `model`'s state to `path`: the old file stays until the new one is complete.

    Args:
        model: pruned or not. Parameters and buffers of any dtype; tensors that share memory are written once.
        path: where to; by custom `*.safetensors`.
    Raises:
        OSError: the file cannot be written; what was there before is unharmed.
    """
    import torch
    from safetensors.torch import save as to_bytes

    from .attachment import pruned_weights
    from .autotuning import decisions
    from .removal import removed_channels

    pruned = pruned_weights(model)
    tensors: dict[str, torch.Tensor] = {}
    sparse: dict[str, dict[str, Any]] = {}
    aliases: dict[str, str] = {}
    first: dict[tuple[Any, ...], str] = {}
    for name, tensor in model.state_dict().items():
        value = tensor.detach().to("cpu").contiguous()
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and first.setdefault(key, name) != name:
            aliases[name] = first[key]
        elif name in pruned and pruned[name].kept < pruned[name].size:
            sparse[name] = _encode(name, value, pruned[name], tensors)
        else:
            tensors[name] = value.clone()  # views of one storage are written apart
    about = {
        "version": VERSION,
        "sparse": sparse,
        "aliases": aliases,
        "masked": sorted(pruned),
        "decisions": decisions(model),
    }
    removed = removed_channels(model)
    if removed:
        about["removed"] = removed
    _replace(Path(path), to_bytes(tensors, {"format": "pt", "sparse_engine": json.dumps(about)}))


def load(path: "str | os.PathLike[str]", model: "Model") -> "Model":
    """Read what `save` wrote into `model`, in place, and put its layers under the masks; returns `model`.

    Args:
        path: the file.
        model: of the same architecture, pruned or not. Where channels were removed from the saved one, as its original code
            makes it: the same are removed here.
    Raises:
        ValueError: the file is damaged, was not written by `save`, or belongs to another architecture. The model is unchanged
            then. OSError: it cannot be read.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load as from_bytes

    from .removal import remove_again

    try:
        with safe_open(os.fspath(path), framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = from_bytes(Path(path).read_bytes())
        about = _about(metadata)
    except (SafetensorError, KeyError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{os.fspath(path)!r} is no file of engine.save: {error}") from error
    restore = remove_again(model, about.get("removed", {}))
    try:
        state, masks = _decode(about, tensors, {name: tuple(own.shape) for name, own in model.state_dict().items()})
        _check_fits(model, state, masks)
    except BaseException:
        restore()
        raise
    _install(model, state, masks, about["decisions"])
    return model


def _encode(name: str, value: "Tensor", mask: Mask, tensors: "dict[str, Tensor]") -> dict[str, Any]:
    import torch

    flags = mask.to_numpy().reshape(mask.shape[0], -1)
    encoding = min(ENCODINGS, key=lambda e: _index_bytes(mask, e))
    if encoding == "bitmask":
        tensors[f"{name}:bits"] = torch.from_numpy(mask.bits.copy())
    else:
        rows, columns = np.nonzero(flags)
        narrow = np.uint16 if flags.shape[1] <= 65536 else np.uint32
        tensors[f"{name}:columns"] = torch.from_numpy(columns.astype(narrow))
        tensors[f"{name}:counts"] = torch.from_numpy(np.bincount(rows, minlength=flags.shape[0]).astype(np.uint32))
    tensors[f"{name}:values"] = value.reshape(-1)[torch.from_numpy(flags.reshape(-1))]
    return {"shape": list(mask.shape), "encoding": encoding}


def _index_bytes(mask: Mask, encoding: str) -> int:
    rows = mask.shape[0] if mask.shape else 1
    columns = mask.size // rows if rows else 0
    return (mask.size + 7) // 8 if encoding == "bitmask" else 4 * rows + mask.kept * (2 if columns <= 65536 else 4)


def _replace(path: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            os.chmod(temporary, path.stat().st_mode & 0o7777)
        else:
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    if "sparse_engine" not in metadata:
        raise ValueError("the file has no sparse_engine metadata: it is a plain safetensors file; load it with safetensors")
    about = json.loads(metadata["sparse_engine"])
    if not isinstance(about, dict) or about.get("version") != VERSION:
        found = about.get("version") if isinstance(about, dict) else about
        raise ValueError(f"the file has format version {found!r}; this release reads {VERSION}")
    wanted = {"sparse": dict, "aliases": dict, "masked": list, "decisions": dict}
    for name, kind in wanted.items():
        if not isinstance(about.get(name), kind):
            raise ValueError(f"metadata: {name} is {type(about.get(name)).__name__}, not {kind.__name__}")
    return about


def _decode(
    about: dict[str, Any], tensors: "dict[str, Tensor]", own: dict[str, tuple[int, ...]]
) -> "tuple[dict[str, Tensor], dict[str, Mask]]":
    """The state dict and the masks; every array is looked at before it is used, `own` are the shapes the model has."""
    state, masks = dict(tensors), {}
    for name, entry in about["sparse"].items():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if not isinstance(shape, list) or not shape or not all(type(side) is int and side >= 0 for side in shape):
            raise ValueError(f"metadata: the shape of {name!r} is {shape!r}, not a list of sizes")
        if own.get(name) != tuple(shape):  # before anything of that size is made
            raise ValueError(f"{name!r} has shape {tuple(shape)} in the file and {own.get(name, 'no place')} in the model")
        bits = _bits(name, entry.get("encoding"), tuple(shape), state)
        values = _taken(state, f"{name}:values")
        mask = Mask(bits, tuple(shape))
        if values.dim() != 1 or values.numel() != mask.kept:
            raise ValueError(f"{name!r} has values of shape {tuple(values.shape)}; its mask keeps {mask.kept}")
        weight = values.new_zeros(mask.size)
        weight[_flags(mask)] = values
        state[name], masks[name] = weight.reshape(mask.shape), mask
    for name, original in about["aliases"].items():
        if not isinstance(original, str) or original not in state:
            raise ValueError(f"metadata: {name!r} shares memory with {original!r}, which the file does not hold")
        state[name] = state[original]
        if original in masks:
            masks[name] = masks[original]
    for name in about["masked"]:
        if not isinstance(name, str) or name not in state:
            raise ValueError(f"metadata: {name!r} is masked, but the file does not hold it")
        if name not in masks:  # everything stays
            masks[name] = Mask.from_numpy(np.ones(tuple(state[name].shape), np.bool_))
    return state, masks


def _bits(name: str, encoding: object, shape: tuple[int, ...], state: "dict[str, Tensor]") -> Any:
    size = int(np.prod(shape, dtype=object))
    rows, columns = shape[0], size // shape[0] if shape[0] else 0
    if encoding == "bitmask":
        bits = _array(state, f"{name}:bits", ("uint8",))
        if len(bits) != (size + 7) // 8 or (size % 8 and bits[-1] >> size % 8):
            raise ValueError(f"{name!r} has {len(bits)} bytes of mask bits; a weight of {size} needs {(size + 7) // 8}")
        return bits.copy()
    if encoding != "csr":
        raise ValueError(f"metadata: {name!r} is encoded as {encoding!r}; known are {', '.join(ENCODINGS)}")
    places = _array(state, f"{name}:columns", ("uint16", "uint32")).astype(np.int64)
    counts = _array(state, f"{name}:counts", ("uint32",)).astype(np.int64)
    if len(counts) != rows or counts.sum() != len(places) or (len(places) and places.max() >= columns):
        raise ValueError(f"{name!r} has {len(counts)} rows of columns that do not fit a weight of shape {shape}")
    flat = np.repeat(np.arange(rows), counts) * columns + places
    if np.any(np.diff(flat) <= 0):
        raise ValueError(f"{name!r} has columns that are not strictly ascending in a row")
    flags = np.zeros(size, np.bool_)
    flags[flat] = True
    return np.packbits(flags, bitorder="little")


def _array(state: "dict[str, Tensor]", name: str, dtypes: tuple[str, ...]) -> Any:
    tensor = _taken(state, name)
    if str(tensor.dtype).removeprefix("torch.") not in dtypes or tensor.dim() != 1:
        raise ValueError(f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}; it must be one row of {dtypes[0]}")
    return tensor.numpy()


def _taken(state: "dict[str, Tensor]", name: str) -> "Tensor":
    if name not in state:
        raise ValueError(f"the file lacks {name!r}")
    return state.pop(name)


def _flags(mask: Mask) -> "Tensor":
    import torch

    return torch.from_numpy(mask.to_numpy().reshape(-1))


def _check_fits(model: "nn.Module", state: "dict[str, Tensor]", masks: dict[str, Mask]) -> None:
    from .attachment import can_be_masked

    own = model.state_dict()
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or extra:
        raise ValueError(
            f"the file belongs to another architecture: it lacks {missing[:3] or 'nothing'} and has {extra[:3] or 'nothing'} "
            f"that the model has not"
        )
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise ValueError(f"{name!r} has shape {tuple(tensor.shape)} in the file and {tuple(own[name].shape)} in the model")
    for name, mask in masks.items():
        if not can_be_masked(model, name):
            raise ValueError(f"{name!r} is pruned in the file, but such a parameter of this model cannot be")
        if mask.shape != tuple(own[name].shape):
            raise ValueError(f"the mask of {name!r} has shape {mask.shape}; the weight has {tuple(own[name].shape)}")


def _install(model: "nn.Module", state: "dict[str, Tensor]", masks: dict[str, Mask], decisions: dict[str, Any]) -> None:
    from .attachment import put_masks
    from .autotuning import set_decisions

    put_masks(model, masks)
    model.load_state_dict(state)
    try:
        set_decisions(model, decisions)
    except (ValueError, TypeError, AttributeError) as error:
        warnings.warn(f"the kernels are chosen anew: {error}", stacklevel=3)

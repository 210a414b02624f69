"""A weight under a mask, as a file holds it: what says where values stand, and the values.

The mask's bits, or the 16- or 32-bit columns of every row instead of them, whichever is smaller.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from .mask import Mask

if TYPE_CHECKING:
    from torch import Tensor

ENCODINGS = ("bitmask", "csr")


def stored_bytes(mask: Mask, item_bytes: int = 4) -> int:
    """Bytes a weight under `mask` takes in a file: its values and what says where they stand."""
    return mask.kept * item_bytes + min(_index_bytes(mask, encoding) for encoding in ENCODINGS)


def compress(name: str, value: "Tensor", mask: Mask, tensors: "dict[str, Tensor]") -> dict[str, Any]:
    """Put `value` under `mask` into `tensors`, some of them named after it; returns what `decompress` needs besides."""
    import torch

    rows = mask.shape[0]
    flags = mask.to_numpy().reshape(rows, mask.size // max(rows, 1))  # -1 says nothing where there are no rows
    encoding = min(ENCODINGS, key=lambda e: _index_bytes(mask, e))
    if encoding == "bitmask":
        tensors[f"{name}:bits"] = torch.from_numpy(mask.bits.copy())
    else:
        of_rows, columns = np.nonzero(flags)
        narrow = np.uint16 if flags.shape[1] <= 65536 else np.uint32
        tensors[f"{name}:columns"] = torch.from_numpy(columns.astype(narrow))
        tensors[f"{name}:counts"] = torch.from_numpy(np.bincount(of_rows, minlength=rows).astype(np.uint32))
    tensors[f"{name}:values"] = value.reshape(-1)[torch.from_numpy(flags.reshape(-1))]
    return {"shape": list(mask.shape), "encoding": encoding}


def decompress(name: str, entry: Any, own: tuple[int, ...] | None, tensors: "dict[str, Tensor]") -> "tuple[Tensor, Mask]":
    """The weight and its mask; every array is looked at before it is used, and taken out of `tensors`.

    Args:
        name: of the weight.
        entry: what `compress` returned; nothing in it is trusted.
        own: the shape the model has under this name, or None where it has none.
        tensors: of the file.
    Raises:
        ValueError: anything that does not fit.
    """
    import torch

    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not shape or not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"metadata: the shape of {name!r} is {shape!r}, not a list of sizes")
    if own != tuple(shape):  # before anything of that size is made
        raise ValueError(f"{name!r} has shape {tuple(shape)} in the file and {own or 'no place'} in the model")
    mask = Mask(_bits(name, entry.get("encoding"), tuple(shape), tensors), tuple(shape))
    values = _taken(tensors, f"{name}:values")
    if values.dim() != 1 or values.numel() != mask.kept:
        raise ValueError(f"{name!r} has values of shape {tuple(values.shape)}; its mask keeps {mask.kept}")
    weight = values.new_zeros(mask.size)
    weight[torch.from_numpy(mask.to_numpy().reshape(-1))] = values
    return weight.reshape(mask.shape), mask


def _index_bytes(mask: Mask, encoding: str) -> int:
    rows = mask.shape[0] if mask.shape else 1
    columns = mask.size // rows if rows else 0
    return (mask.size + 7) // 8 if encoding == "bitmask" else 4 * rows + mask.kept * (2 if columns <= 65536 else 4)


def _bits(name: str, encoding: object, shape: tuple[int, ...], tensors: "dict[str, Tensor]") -> Any:
    size = int(np.prod(shape, dtype=object))
    rows, columns = shape[0], size // shape[0] if shape[0] else 0
    if encoding == "bitmask":
        bits = _array(tensors, f"{name}:bits", ("uint8",))
        if len(bits) != (size + 7) // 8 or (size % 8 and bits[-1] >> size % 8):
            raise ValueError(f"{name!r} has {len(bits)} bytes of mask bits; a weight of {size} needs {(size + 7) // 8}")
        return bits.copy()
    if encoding != "csr":
        raise ValueError(f"metadata: {name!r} is encoded as {encoding!r}; known are {', '.join(ENCODINGS)}")
    places = _array(tensors, f"{name}:columns", ("uint16", "uint32")).astype(np.int64)
    counts = _array(tensors, f"{name}:counts", ("uint32",)).astype(np.int64)
    if len(counts) != rows or counts.sum() != len(places) or (len(places) and places.max() >= columns):
        raise ValueError(f"{name!r} has {len(counts)} rows of columns that do not fit a weight of shape {shape}")
    flat = np.repeat(np.arange(rows), counts) * columns + places
    if np.any(np.diff(flat) <= 0):
        raise ValueError(f"{name!r} has columns that are not strictly ascending in a row")
    flags = np.zeros(size, np.bool_)
    flags[flat] = True
    return np.packbits(flags, bitorder="little")


def _array(tensors: "dict[str, Tensor]", name: str, dtypes: tuple[str, ...]) -> Any:
    tensor = _taken(tensors, name)
    if str(tensor.dtype).removeprefix("torch.") not in dtypes or tensor.dim() != 1:
        raise ValueError(f"{name!r} is {tensor.dtype} of shape {tuple(tensor.shape)}; it must be one row of {dtypes[0]}")
    return tensor.numpy()


def _taken(tensors: "dict[str, Tensor]", name: str) -> "Tensor":
    if name not in tensors:
        raise ValueError(f"the file lacks {name!r}")
    return tensors.pop(name)

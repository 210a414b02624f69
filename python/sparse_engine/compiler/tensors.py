"""Inputs and outputs of compiled models: what they are called, and the way from arrays and tensors to float32 and back.

Needs numpy only.
"""

import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

NARROW = ("bfloat16", "float16")  # of inputs and outputs, computed in float32
MOST_WHOLE = 2**23  # of an integer input: sums of two are exact in float32


class Tensor(NamedTuple):
    """An input or output: its name, its shape with the batch open ("N" where it grows with it) and its dtype."""

    name: str
    shape: tuple["int | str", ...]
    dtype: str = "float32"


def floats_of(value: Any, tensor: Tensor) -> NDArray[np.float32]:
    """An input as float32, which holds it exactly.

    Raises TypeError, ValueError: it is no array, or of another device or dtype, or holds whole numbers past `MOST_WHOLE`.
    """
    if tensor.dtype == "float32":
        return array_of(value, tensor.name)
    if tensor.dtype in NARROW:
        return _widened(value, tensor)
    return _whole_numbers(_in_memory(value, tensor.name), tensor)


def array_of(value: Any, name: str, dtype: str = "float32") -> NDArray[Any]:
    """An input as a contiguous array. Raises TypeError, ValueError: it is no array, or of another device or dtype."""
    value = _in_memory(value, name)
    if value.dtype != dtype:
        raise ValueError(f"{name} is {value.dtype}; the model was compiled for {dtype}: pass {name}.astype({dtype!r})")
    return np.require(value, dtype, ["C", "A"])


def handed_out(result: NDArray[np.float32], dtype: str, as_tensor: bool) -> Any:
    """An output as it is handed out: numpy has no bfloat16."""
    if as_tensor:
        torch = sys.modules["torch"]
        made = torch.from_numpy(result)
        return made if dtype == "float32" else made.to(getattr(torch, dtype))
    if dtype == "float16":
        with np.errstate(over="ignore"):  # infinite then, as in torch
            return result.astype(np.float16)
    return result


def _widened(value: Any, tensor: Tensor) -> NDArray[np.float32]:
    """An input of 16 bits as float32, which holds it exactly; an array may be float32 already."""
    if isinstance(value, np.ndarray):
        given = tensor.dtype if value.dtype == tensor.dtype else "float32"
        return array_of(value, tensor.name, given).astype(np.float32, copy=False)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.dtype != getattr(torch, tensor.dtype):
            raise ValueError(
                f"{tensor.name} is {value.dtype}; the model was compiled for {tensor.dtype}: pass "
                f"{tensor.name}.to(torch.{tensor.dtype})"
            )
        value = value.float()
    return array_of(value, tensor.name)


def _whole_numbers(value: NDArray[Any], tensor: Tensor) -> NDArray[np.float32]:
    """Integers and truth values as floats, which hold them exactly."""
    if value.dtype.kind not in "iub":
        raise ValueError(f"{tensor.name} is {value.dtype}; the model was compiled for {tensor.dtype}")
    if value.dtype.kind != "b" and value.size and not -MOST_WHOLE <= value.min() <= value.max() <= MOST_WHOLE:
        raise ValueError(f"{tensor.name} holds {value.min()} to {value.max()}; whole numbers are supported from -2^23 to 2^23")
    return np.ascontiguousarray(value, np.float32).reshape(value.shape)


def _in_memory(value: Any, name: str) -> NDArray[Any]:
    if not isinstance(value, np.ndarray):
        torch = sys.modules.get("torch")
        if torch is None or not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} is a {type(value).__name__}; a compiled model takes numpy arrays and torch tensors")
        if value.device.type != "cpu":
            raise ValueError(f"{name} is on {value.device}; a compiled model runs on the CPU: pass {name}.cpu()")
        value = value.detach().numpy()
    array: NDArray[Any] = value
    return array

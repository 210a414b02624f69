"""What values are in a call of a pruned layer: float32, bfloat16 or float16. Arithmetic is float32 with any of them.

Weights and inputs of 16 bits are read as what they are and multiplied in float32; the bias is added there too, and the result
rounded once, to nearest. torch's own 16-bit kernels do the same, so both lie within one rounding of the exact result, beside
what sums in float32 differ by. Under autocast everything is rounded to its type first, as torch does.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from .. import _core

# What native kernels read, and what matrices store it as.
VALUE_TYPES = {
    torch.float32: _core.ValueType.float32,
    torch.bfloat16: _core.ValueType.bfloat16,
    torch.float16: _core.ValueType.float16,
}
NATIVE_TYPES = tuple(VALUE_TYPES)
NARROW = 1  # columns up to which a dense product of 16 bits takes about as long as one of 32


def name_of(dtype: torch.dtype) -> str:
    """The name without the module."""
    return str(dtype).removeprefix("torch.")


def computing_type(weight: Tensor) -> torch.dtype:
    """What torch would compute a product with `weight` in: its type, or that of autocast."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype


def unfit_types(weight: Tensor, *others: Tensor | None) -> str | None:
    """Why native code does not take a product of these types, or None. torch refuses most of what it does not."""
    autocast = torch.is_autocast_enabled("cpu")  # converts all that are not float64
    for tensor in (weight, *others):
        if tensor is None:
            continue
        if tensor.dtype not in VALUE_TYPES:
            return f"dtype {tensor.dtype}: native kernels take {', '.join(map(str, VALUE_TYPES))}"
        if tensor.dtype is not weight.dtype and not autocast:
            return f"dtype {tensor.dtype} beside a weight of {weight.dtype}"
    return None


def as_float32(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The values of `tensor`, rounded to `dtype`, as float32: itself where both are."""
    return (tensor if tensor.dtype is dtype else tensor.to(dtype)).float()


def stored_type(dtype: torch.dtype) -> _core.ValueType:
    """What matrices keep values of `dtype` as. Baseline has no instruction that widens float16: there it is float32."""
    narrow = dtype is not torch.float16 or _core.isa() != "baseline"
    return VALUE_TYPES[dtype if narrow else torch.float32]


def dense_cost(dtype: torch.dtype, columns: int) -> float:
    """What the cost model takes torch's dense product to need, in dense products of float32."""
    return 1.0 if dtype is torch.float32 or columns <= NARROW else _wide_cost(dtype)


@cache
def _wide_cost(dtype: torch.dtype) -> float:
    """Measured on one core with oneDNN; without instructions for a type it is converted, bfloat16 cheaply."""
    cpu: Any = torch.cpu
    if dtype is torch.bfloat16:
        if getattr(cpu, "_is_amx_tile_supported", bool)():
            return 0.2
        return 0.4 if getattr(cpu, "_is_avx512_bf16_supported", bool)() else 1.0
    return 0.2 if getattr(cpu, "_is_amx_fp16_supported", bool)() else 1.5

"""The two operations, on numpy arrays and torch tensors."""

import math
from typing import Any

from . import _core
from .arrays import float32_view, is_tensor, new_result
from .matrix import Matrix

ACTIVATIONS = {None: _core.Activation.none, "relu": _core.Activation.relu, "relu6": _core.Activation.relu6}


def linear(x: Any, matrix: Matrix, bias: Any = None, activation: str | None = None) -> Any:
    """y = act(x · Wᵀ + b), the sparse `torch.nn.functional.linear`.

    Args:
        x: float32 (..., K), any strides; numpy or torch.
        matrix: W, shape (M, K).
        bias: float32 (M,), or None.
        activation: None, "relu" or "relu6".
    Returns:
        float32 (..., M), the kind of `x`. No gradients.
    Raises:
        ValueError: shapes that disagree, unknown activation. TypeError: not float32, not on the CPU.
    """
    rows, cols = matrix.shape
    view = float32_view(x, "x")
    if view.ndim == 0 or view.shape[-1] != cols:
        raise ValueError(f"x has shape {view.shape}; W of shape {matrix.shape} needs (..., {cols})")
    lead = view.shape[:-1]
    y, target = new_result((*lead, rows), is_tensor(x))
    count = math.prod(lead)
    _core.linear(
        view.reshape(count, cols),
        matrix._native,
        _bias(bias, rows),
        _activation(activation),
        target.reshape(count, rows),
    )
    return y


def conv2d(
    x: Any,
    matrix: Matrix,
    kernel_size: int | tuple[int, int],
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Any:
    """act(conv(x, W) + b), the sparse `torch.nn.functional.conv2d`, without an im2col matrix.

    Args:
        x: float32 (N, Cin, H, W) or (Cin, H, W), any strides (channels_last included); numpy or torch.
        matrix: the weight (Cout, Cin / groups, kh, kw) flattened to (Cout, Cin / groups · kh · kw).
        kernel_size, stride, padding, dilation: one number or (height, width), in cells.
        bias: float32 (Cout,), or None.
        groups: blocks of channels that do not see each other; divides Cin and Cout.
        activation: None, "relu" or "relu6".
    Returns:
        float32 (N, Cout, H', W') or (Cout, H', W'), the kind and memory order of `x`. No gradients.
    Raises:
        ValueError: shapes or geometry that make no sense. TypeError: not float32, not on the CPU.
    Source: direct sparse convolution, Park et al., ICLR 2017.
    """
    view = float32_view(x, "x")
    if view.ndim not in (3, 4):
        raise ValueError(f"x has shape {view.shape}; convolution takes (N, C, H, W) or (C, H, W)")
    pad_h, pad_w = _pair("padding", padding)
    shape = _core.Conv2dShape(
        _pair("kernel_size", kernel_size),
        _pair("stride", stride),
        (pad_h, pad_w, pad_h, pad_w),
        _pair("dilation", dilation),
        groups,
    )
    batched = view if view.ndim == 4 else view[None]
    height, width = shape.output_size(batched.shape[2], batched.shape[3])
    size = (batched.shape[0], matrix.shape[0], height, width)
    y, target = new_result(size, is_tensor(x), view.ndim == 4 and is_channels_last(x))
    _core.conv2d(batched, matrix._native, shape, _bias(bias, matrix.shape[0]), _activation(activation), target)
    return y if view.ndim == 4 else y[0]


def is_channels_last(x: Any) -> bool:
    """Whether torch would give a result for `x` in the channels_last memory format."""
    if not is_tensor(x) or x.is_contiguous():
        return False
    import torch

    return bool(x.is_contiguous(memory_format=torch.channels_last))


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or not all(isinstance(v, int) for v in pair):
        raise ValueError(f"{name} = {value!r} must be one integer or two (height, width)")
    return pair[0], pair[1]


def _bias(bias: Any, rows: int) -> Any:
    if bias is None:
        return None
    view = float32_view(bias, "bias")
    if view.shape != (rows,):
        raise ValueError(f"bias has shape {view.shape}; W with {rows} rows needs ({rows},)")
    return view if view.flags.c_contiguous else view.copy()


def _activation(name: str | None) -> _core.Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation = {name!r} is not one of: None, {', '.join(a for a in ACTIVATIONS if a)}")
    return ACTIVATIONS[name]

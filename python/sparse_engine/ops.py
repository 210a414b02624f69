"""The two operations, on numpy arrays and torch tensors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import empty_like, float32_view, is_tensor
from .matrix import Matrix

ACTIVATIONS = {None if a is _core.Activation.none else a.name: a for a in _core.Activation}


def linear(x: Any, matrix: Matrix, bias: Any = None, activation: str | None = None, residual: Any = None) -> Any:
    """y = act(x · Wᵀ + b + residual), the sparse `torch.nn.functional.linear`.

    Args:
        x: float32 (..., K), any strides; numpy or torch.
        matrix: W, shape (M, K).
        bias: float32 (M,), or None.
        activation: None, "relu", "relu6", "gelu" (exact, not the tanh approximation), "silu", "sigmoid", "tanh" or "hardswish".
        residual: float32 of the result's shape, added before the activation, or None.
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
    y = empty_like(x, (*lead, rows))
    out = float32_view(y, "y")
    added = _residual(residual, out, out.shape)
    count = 1
    for side in lead:
        count *= side
    _core.linear(
        view.reshape(count, cols),
        matrix._native,
        _bias(bias, rows),
        _activation(activation),
        out.reshape(count, rows),
        None if added is None else added.reshape(count, rows),
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
    residual: Any = None,
) -> Any:
    """act(conv(x, W) + b + residual), the sparse `torch.nn.functional.conv2d`, without an im2col matrix.

    Args:
        x: float32 (N, Cin, H, W) or (Cin, H, W), any strides (channels_last included); numpy or torch.
        matrix: the weight (Cout, Cin / groups, kh, kw) flattened to (Cout, Cin / groups · kh · kw).
        kernel_size, stride, padding, dilation: one number or (height, width), in cells.
        bias: float32 (Cout,), or None.
        groups: blocks of channels that do not see each other; divides Cin and Cout.
        activation, residual: as for `linear`.
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
    y = empty_like_format(x, size) if is_tensor(x) and x.dim() == 4 else empty_like(x, size)
    out = float32_view(y, "y")
    added = _residual(residual, out, size if view.ndim == 4 else size[1:])
    _core.conv2d(batched, matrix._native, shape, _bias(bias, matrix.shape[0]), _activation(activation), out, added)
    return y if view.ndim == 4 else y[0]


def empty_like_format(x: Any, shape: tuple[int, ...]) -> Any:
    """Uninitialised tensor in the memory format torch would give the result: channels_last in, channels_last out."""
    import torch

    channels_last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=x.dtype, memory_format=memory_format)


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


def _residual(residual: Any, out: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32] | None:
    """`residual` in the memory order of `out`, a copy where it has another; `shape` is what the caller calls the result's."""
    if residual is None:
        return None
    view = float32_view(residual, "residual")
    if view.shape != shape:
        raise ValueError(f"residual has shape {view.shape}; it needs the result's, {shape}")
    view = view.reshape(out.shape)
    if view.strides == out.strides:
        return view
    laid_out = np.empty_like(out)  # keeps the order of the axes
    laid_out[...] = view
    return laid_out


def _activation(name: str | None) -> _core.Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"activation = {name!r} is not one of: None, {', '.join(a for a in ACTIVATIONS if a)}")
    return ACTIVATIONS[name]

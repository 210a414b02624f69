"""The operations, on numpy arrays and torch tensors.

`linear` and the convolutions check what their caller chose: activation and geometry. `native_linear`, `native_conv1d`,
`native_conv2d` and `native_conv3d` do the rest and are the only ways into native code: layers, which chose long before, call
them.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import float32_view, is_tensor, new_result
from .base import Matrix
from .conv_shape import Padding, Sides, conv_shape

NONE = _core.Activation.none
ACTIVATIONS = {None if name == "none" else name: a for name, a in _core.Activation.__members__.items()}


def linear(x: Any, matrix: Matrix, bias: Any = None, activation: str | None = None, residual: Any = None) -> Any:
    """y = act(x · Wᵀ + b + residual), the sparse `torch.nn.functional.linear`.

    Args:
        x: float32 (..., K), any strides; numpy or torch.
        matrix: W, shape (M, K).
        bias: float32 (M,), or None.
        activation: None, "relu", "relu6", "gelu" (exact), "gelu_tanh" (its approximation by tanh), "silu", "sigmoid", "tanh",
            "hardswish", "hardsigmoid", "leaky_relu" (slope 0.01), "elu" (alpha 1), "mish", "softplus", "exp" or "sqrt".
        residual: float32 of the result's shape, added before the activation, or None.
    Returns:
        float32 (..., M), the kind of `x`. No gradients.
    Raises:
        ValueError: shapes that disagree, unknown activation. TypeError: not float32, not on the CPU.
    """
    return native_linear(x, matrix._native, bias, _activation(activation), residual)


def native_linear(
    x: Any, matrix: _core.Matrix, bias: Any = None, activation: _core.Activation = NONE, residual: Any = None
) -> Any:
    """`linear` of a native matrix."""
    y = _core.linear_tensors(x, matrix, bias, activation, residual)
    if y is not None:
        return y
    rows, cols = matrix.rows, matrix.cols
    view = float32_view(x, "x")
    if view.ndim == 0 or view.shape[-1] != cols:
        raise ValueError(f"x has shape {view.shape}; W of shape {(rows, cols)} needs (..., {cols})")
    lead = view.shape[:-1]
    y, out = new_result((*lead, rows), is_tensor(x))
    added = _residual(residual, out, out.shape)
    if view.ndim != 2:
        count = math.prod(lead)
        view, out = view.reshape(count, cols), out.reshape(count, rows)
        added = None if added is None else added.reshape(count, rows)
    _core.linear(view, matrix, _bias(bias, rows), activation, out, added)
    return y


def conv2d(
    x: Any,
    matrix: Matrix,
    kernel_size: Sides,
    bias: Any = None,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Any:
    """act(conv(x, W) + b + residual), the sparse `torch.nn.functional.conv2d`, without an im2col matrix.

    Args:
        x: float32 (N, Cin, H, W) or (Cin, H, W), any strides (channels_last included); numpy or torch.
        matrix: the weight (Cout, Cin / groups, kh, kw) flattened to (Cout, Cin / groups · kh · kw).
        kernel_size, stride, dilation: one number or (height, width), in cells.
        bias: float32 (Cout,), or None.
        padding: the same, or ((top, bottom), (left, right)); "valid" is none, "same" keeps the size at stride 1 and puts an odd
            cell at the bottom or right, as torch does.
        groups: blocks of channels that do not see each other; divides Cin and Cout.
        activation, residual: as for `linear`.
    Returns:
        float32 (N, Cout, H', W') or (Cout, H', W'), the kind and memory order of `x`. No gradients.
    Raises:
        ValueError: shapes or geometry that make no sense. TypeError: not float32, not on the CPU.
    Source: direct sparse convolution, Park et al., ICLR 2017.
    """
    shape = conv_shape(2, kernel_size, stride, padding, dilation, groups)
    return native_conv2d(x, matrix._native, shape, bias, _activation(activation), residual)


def native_conv2d(
    x: Any,
    matrix: _core.Matrix,
    shape: _core.Conv2dParams,
    bias: Any = None,
    activation: _core.Activation = NONE,
    residual: Any = None,
) -> Any:
    """`conv2d` of a native matrix, its geometry prepared."""
    y = _core.conv2d_tensors(x, matrix, shape, bias, activation, residual)
    return _convolved(_core.conv2d, "(N, C, H, W)", x, matrix, shape, bias, activation, residual) if y is None else y


def conv3d(
    x: Any,
    matrix: Matrix,
    kernel_size: Sides,
    bias: Any = None,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Any:
    """act(conv(x, W) + b + residual), the sparse `torch.nn.functional.conv3d`: `conv2d` of slices, none of them copied out.

    Args:
        x: float32 (N, Cin, D, H, W) or (Cin, D, H, W), any strides (channels_last_3d included); numpy or torch.
        matrix: the weight (Cout, Cin / groups, kd, kh, kw) flattened to (Cout, Cin / groups · kd · kh · kw).
        kernel_size, stride, dilation: one number or (depth, height, width), in cells.
        bias: float32 (Cout,), or None.
        padding: the same, or ((front, back), (top, bottom), (left, right)), "valid" or "same", see `conv2d`.
        groups, activation, residual: as for `conv2d`.
    Returns:
        float32 (N, Cout, D', H', W') or (Cout, D', H', W'), the kind and memory order of `x`. No gradients.
    Raises:
        ValueError: shapes or geometry that make no sense. TypeError: not float32, not on the CPU.
    """
    shape = conv_shape(3, kernel_size, stride, padding, dilation, groups)
    return native_conv3d(x, matrix._native, shape, bias, _activation(activation), residual)


def native_conv3d(
    x: Any,
    matrix: _core.Matrix,
    shape: _core.Conv3dParams,
    bias: Any = None,
    activation: _core.Activation = NONE,
    residual: Any = None,
) -> Any:
    """`conv3d` of a native matrix, its geometry prepared."""
    y = _core.conv3d_tensors(x, matrix, shape, bias, activation, residual)
    return _convolved(_core.conv3d, "(N, C, D, H, W)", x, matrix, shape, bias, activation, residual) if y is None else y


def _convolved(
    run: Any, axes: str, x: Any, matrix: _core.Matrix, shape: Any, bias: Any, activation: _core.Activation, residual: Any
) -> Any:
    """The long way, on arrays; `axes` of a batch."""
    view, rank = float32_view(x, "x"), axes.count(",") + 1
    if view.ndim not in (rank - 1, rank):
        raise ValueError(f"x has shape {view.shape}; convolution takes {axes} or {axes.replace('N, ', '')}")
    batched = view if view.ndim == rank else view[None]
    size = (batched.shape[0], matrix.rows, *shape.output_size(*batched.shape[2:]))
    y, out = new_result(size, is_tensor(x), view.ndim == rank and is_channels_last(x))
    added = _residual(residual, out, size if view.ndim == rank else size[1:])
    run(batched, matrix, shape, _bias(bias, matrix.rows), activation, out, added)
    return y if view.ndim == rank else y[0]


def conv1d(
    x: Any,
    matrix: Matrix,
    kernel_size: Sides,
    bias: Any = None,
    stride: Sides = 1,
    padding: Padding = 0,
    dilation: Sides = 1,
    groups: int = 1,
    activation: str | None = None,
    residual: Any = None,
) -> Any:
    """act(conv(x, W) + b + residual), the sparse `torch.nn.functional.conv1d`: `conv2d` of images one row high.

    Args:
        x: float32 (N, Cin, L) or (Cin, L), any strides; numpy or torch.
        matrix: the weight (Cout, Cin / groups, k) flattened to (Cout, Cin / groups · k).
        kernel_size, stride, dilation: one number, in cells.
        bias: float32 (Cout,), or None.
        padding: the same, (before, after), "valid" or "same", see `conv2d`.
        groups, activation, residual: as for `conv2d`.
    Returns:
        float32 (N, Cout, L') or (Cout, L'), contiguous, the kind of `x`. No gradients.
    Raises:
        ValueError: shapes or geometry that make no sense. TypeError: not float32, not on the CPU.
    """
    shape = conv_shape(1, kernel_size, stride, padding, dilation, groups)
    return native_conv1d(x, matrix._native, shape, bias, _activation(activation), residual)


def native_conv1d(
    x: Any,
    matrix: _core.Matrix,
    shape: _core.Conv2dParams,
    bias: Any = None,
    activation: _core.Activation = NONE,
    residual: Any = None,
) -> Any:
    """`conv1d` of a native matrix; `shape` is that of images one row high."""
    if residual is None and is_tensor(x) and x.dim() == 3 and is_plain(x):
        y = _core.conv2d_tensors(x.unsqueeze(2), matrix, shape, bias, activation, None)
        if y is not None:
            return y.squeeze(2)
    view = float32_view(x, "x")
    if view.ndim not in (2, 3):
        raise ValueError(f"x has shape {view.shape}; convolution takes (N, C, L) or (C, L)")
    images = (view if view.ndim == 3 else view[None])[:, :, None]
    size = (images.shape[0], matrix.rows, shape.output_size(1, images.shape[3])[1])
    y, out = new_result(size if view.ndim == 3 else size[1:], is_tensor(x))
    added = _residual(residual, out, out.shape)
    rows = (size[0], size[1], 1, size[2])
    added = None if added is None else added.reshape(rows)
    _core.conv2d(images, matrix, shape, _bias(bias, matrix.rows), activation, out.reshape(rows), added)
    return y


def is_plain(x: Any) -> bool:
    """Whether a tensor lies in memory row after row; the native call would give one of another order its own."""
    import torch

    return x.layout is torch.strided and bool(x.is_contiguous())


def is_channels_last(x: Any) -> bool:
    """Whether torch would give a result for `x` in the channels_last memory format, or channels_last_3d."""
    if not is_tensor(x) or x.dim() not in (4, 5) or x.is_contiguous():
        return False
    import torch

    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return bool(x.is_contiguous(memory_format=last))


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

"""Products with pruned weights as operators of torch, which `torch.compile` and `torch.export` keep as they are.

    sparse_engine::linear(x, weight, bias, begin, end, transposed)         x times rows of a weight, or times their transpose
    sparse_engine::convolution(x, weight, bias, stride, padding, dilation, groups)      over one axis to three, with a batch
    sparse_engine::transposed_convolution(x, weight, bias, stride, padding, output_padding, dilation, groups)      likewise
    sparse_engine::lstm, sparse_engine::gru(x, states, weights, ...)       torch's layers in eval mode, with a batch

Each is a pure function: to rounding what torch's dense arithmetic gives for the same tensors, with gradients, in memory of its
own, contiguous or channels_last as the input is. Which kernel computes it is found out when it runs, from the layer that the
weight belongs to.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from .. import _core
from ..matrices.conv_shape import native_shape
from ..matrices.functional import NONE, is_channels_last
from .fallback import native_enabled
from .formats import DENSE
from .owners import Make, layer_of, matrix_of
from .value_types import NATIVE_TYPES

NAMESPACE = "sparse_engine"
_library: Any = torch.library.Library(NAMESPACE, "DEF")  # type: ignore[no-untyped-call]
# Layers that stand in for those of weights without one, by kind; filled where the layers are written.
STAND_INS: dict[str, Make] = {}


def rows_of(weight: Tensor, begin: int = 0, end: int | None = None, transposed: bool = False) -> Tensor:
    """Rows of a weight whose last axis is that of the inputs (experts follow one another), or their transpose."""
    rows = weight.reshape(-1, weight.shape[-1])[begin:end]
    return rows.t() if transposed else rows


def dense_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, begin: int = 0, end: int | None = None, transposed: bool = False
) -> Tensor:
    """`linear` in torch's arithmetic."""
    return F.linear(x, rows_of(weight, begin, end, transposed), bias).contiguous()


def dense_convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """`convolution` in torch's arithmetic."""
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[weight.dim() - 3]
    return _laid_out(convolve(x, weight, bias, list(stride), list(padding), list(dilation), groups), x)


def dense_transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """`transposed_convolution` in torch's arithmetic."""
    convolve: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[weight.dim() - 3]
    sides = list(stride), list(padding), list(output_padding), groups, list(dilation)
    return _laid_out(convolve(x, weight, bias, *sides), x)


def dense_lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`lstm` in torch's arithmetic."""
    y, h, c = torch.lstm(x, [h, c], list(weights), has_biases, num_layers, 0.0, False, bidirectional, batch_first)
    return y.contiguous(), h.contiguous(), c.contiguous()


def dense_gru(
    x: Tensor, h: Tensor, weights: Sequence[Tensor], has_biases: bool, num_layers: int, bidirectional: bool, batch_first: bool
) -> tuple[Tensor, Tensor]:
    """`gru` in torch's arithmetic."""
    y, h = torch.gru(x, h, list(weights), has_biases, num_layers, 0.0, False, bidirectional, batch_first)
    return y.contiguous(), h.contiguous()


def _laid_out(y: Tensor, x: Tensor) -> Tensor:
    """`y` in the memory format of `x`, channels_last or contiguous."""
    last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
    return y.contiguous(memory_format=last if is_channels_last(x) else torch.contiguous_format)


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, begin: int = 0, end: int | None = None, transposed: bool = False
) -> Tensor:
    arguments = (begin, end, transposed)
    known = matrix_of(weight, "linear", arguments, x)
    if known is not None and known is not DENSE:
        y: Tensor | None = _core.linear_tensors(x, known, bias, NONE, None)
        if y is not None:
            return y
    fits = known is not DENSE and _is_fit(x, weight, bias)
    layer = layer_of((weight,), "linear", arguments, STAND_INS["linear"]) if fits else None
    if layer is None:
        return dense_linear(x, weight, bias, begin, end, transposed)
    result: Tensor = layer._infer(x, layer.weight, bias)
    return result.contiguous()


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    arguments = (tuple(stride), tuple(padding), tuple(dilation), groups)
    short = weight.dim() > 3 and x.shape[2:] != weight.shape[2:]  # else an image is a row, and this a linear layer
    known = matrix_of(weight, "convolution", arguments, x) if short else None
    if known is not None and known is not DENSE:
        shape = native_shape(weight.shape[2:], stride, padding, padding, dilation, groups)
        run = _core.conv2d_tensors if weight.dim() == 4 else _core.conv3d_tensors
        y: Tensor | None = run(x, known, shape, bias, NONE, None)
        if y is not None:
            return y
    fits = known is not DENSE and _is_fit(x, weight, bias)
    layer = layer_of((weight,), "convolution", arguments, STAND_INS["convolution"]) if fits else None
    if layer is None:
        return dense_convolution(x, weight, bias, *arguments)
    return _laid_out(layer._infer(x, layer.weight, bias), x)


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    output_padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    kind = "transposed_convolution"
    arguments = (tuple(stride), tuple(padding), tuple(output_padding), tuple(dilation), groups)
    layer = layer_of((weight,), kind, arguments, STAND_INS[kind]) if _is_fit(x, weight, bias) else None
    if layer is None:
        return dense_transposed(x, weight, bias, *arguments)
    return _laid_out(layer._infer(x, layer.weight, bias), x)


def _lstm(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    arguments = (has_biases, num_layers, bidirectional, batch_first)
    layer = layer_of(weights, "lstm", arguments, STAND_INS["lstm"]) if _is_fit(x, h, c, *weights) else None
    if layer is None:
        return dense_lstm(x, h, c, weights, *arguments)
    y, (h, c) = layer._infer(x, (h, c))
    return y.contiguous(), h, c


def _gru(
    x: Tensor, h: Tensor, weights: Sequence[Tensor], has_biases: bool, num_layers: int, bidirectional: bool, batch_first: bool
) -> tuple[Tensor, Tensor]:
    arguments = (has_biases, num_layers, bidirectional, batch_first)
    layer = layer_of(weights, "gru", arguments, STAND_INS["gru"]) if _is_fit(x, h, *weights) else None
    if layer is None:
        return dense_gru(x, h, weights, *arguments)
    y, h = layer._infer(x, h)
    return y.contiguous(), h


def _is_fit(*tensors: Tensor | None) -> bool:
    """Whether native kernels take these. What a graph was moved or converted to since, they do not."""
    return native_enabled() and all(t is None or (t.dtype in NATIVE_TYPES and t.is_cpu) for t in tensors)


def _define(schema: str, dense: Callable[..., Any], native: Callable[..., Any]) -> Any:
    """Register an operator: what computes it, what tells the shapes of its results, its gradients, and what it stands for."""
    name = schema.partition("(")[0]
    _library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    _library.impl(name, native, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", dense, lib=_library)
    operator = getattr(getattr(torch.ops, NAMESPACE), name).default

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, below: Any, structure: Any, *flat: Any) -> Any:
            ctx.structure, ctx.others = structure, [None if isinstance(value, Tensor) else (value,) for value in flat]
            ctx.save_for_backward(*(value for value in flat if isinstance(value, Tensor)))
            with torch._C._AutoDispatchBelowAutograd():
                return operator.redispatch(below, *tree_unflatten(flat, structure))

        @staticmethod
        @once_differentiable
        def backward(ctx: Any, *gradients: Any) -> Any:
            saved, needed = iter(ctx.saved_tensors), ctx.needs_input_grad[2:]
            with torch.enable_grad():
                flat = [
                    next(saved).detach().requires_grad_(learns) if other is None else other[0]
                    for other, learns in zip(ctx.others, needed, strict=True)
                ]
                outputs = dense(*tree_unflatten(flat, ctx.structure))
                leaves = [value for value, learns in zip(flat, needed, strict=True) if learns]
                found = iter(torch.autograd.grad(outputs, leaves, gradients, allow_unused=True))
            return (None, None, *(next(found) if learns else None for learns in needed))

    def with_gradients(keys: Any, *inputs: Any) -> Any:
        if forward_ad._current_level >= 0:
            return dense(*inputs)  # which torch differentiates forward
        below = keys & torch._C._after_autograd_keyset
        unseen = below.highestPriorityTypeId() == torch._C.DispatchKey.CPU
        if not unseen and torch.onnx.is_in_onnx_export():
            return dense(*inputs)  # ONNX has no word for the operator. What was exported to torch before comes through here too
        if torch.is_grad_enabled():
            flat, structure = tree_flatten(inputs)
            if any(isinstance(value, Tensor) and value.requires_grad for value in flat):
                return Differentiable.apply(below, structure, *flat)  # type: ignore[no-untyped-call]
        if unseen:
            return native(*inputs)  # torch's dispatcher once more takes as long as a small product
        with torch._C._AutoDispatchBelowAutograd():
            return operator.redispatch(below, *inputs)

    _library.impl(name, with_gradients, "Autograd", with_keyset=True)
    return operator


linear: Any = _define(
    "linear(Tensor x, Tensor weight, Tensor? bias=None, int begin=0, int? end=None, bool transposed=False) -> Tensor",
    dense_linear,
    _linear,
)
convolution: Any = _define(
    "convolution(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation, int groups) -> Tensor",
    dense_convolution,
    _convolution,
)
transposed_convolution: Any = _define(
    "transposed_convolution(Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] output_padding, "
    "int[] dilation, int groups) -> Tensor",
    dense_transposed,
    _transposed,
)
_RECURRENT = "Tensor[] weights, bool has_biases, int num_layers, bool bidirectional, bool batch_first"
lstm: Any = _define(f"lstm(Tensor x, Tensor h, Tensor c, {_RECURRENT}) -> (Tensor, Tensor, Tensor)", dense_lstm, _lstm)
gru: Any = _define(f"gru(Tensor x, Tensor h, {_RECURRENT}) -> (Tensor, Tensor)", dense_gru, _gru)

"""Σ x² of the inputs that each weight of a layer is multiplied with, without making the columns of a convolution."""

from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .targets import CONVOLUTIONS, TRANSPOSED, is_linear


def padded_input(layer: Any, x: Tensor) -> Tensor:
    """What a convolution slides over: its input as a batch, with its padding around it."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    batched = x if x.dim() == len(layer.kernel_size) + 2 else x[None]
    return F.pad(batched, layer._reversed_padding_repeated_twice, mode=mode)


def input_squares(layer: nn.Module, x: Tensor) -> Tensor:
    """Σ x² for each weight of an output channel, over the batch and all positions; broadcasts against the weight."""
    if is_linear(layer):
        return x.reshape(-1, x.shape[-1]).square().sum(0)[None]
    if isinstance(layer, TRANSPOSED):
        return _transposed_squares(layer, x)
    assert isinstance(layer, CONVOLUTIONS)
    axes = len(layer.kernel_size)
    squares = padded_input(layer, x).square()
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
    last = [(size - r - 1) // s * s + 1 for size, r, s in zip(squares.shape[2:], reach, stride, strict=True)]
    taps = []
    for tap in product(*map(range, kernel)):
        first = [t * d for t, d in zip(tap, dilation, strict=True)]
        window = tuple(slice(f, f + n, s) for f, n, s in zip(first, last, stride, strict=True))
        taps.append(squares[(slice(None), slice(None), *window)].sum((0, *range(2, axes + 2))))
    return _for_each_output(layer, taps)


def _transposed_squares(layer: Any, x: Tensor) -> Tensor:
    """`input_squares` of a transposed convolution: positions whose product with a tap falls outside the output do not count."""
    squares = (x if x.dim() == len(layer.kernel_size) + 2 else x[None]).square()
    sizes = squares.shape[2:]
    ends = [
        (size - 1) * s - 2 * p + d * (k - 1) + extra + 1
        for size, s, p, d, k, extra in zip(
            sizes, layer.stride, layer.padding, layer.dilation, layer.kernel_size, layer.output_padding, strict=True
        )
    ]
    taps = []
    for tap in product(*map(range, layer.kernel_size)):
        inside = squares
        for axis, (t, size, end) in enumerate(zip(tap, sizes, ends, strict=True)):
            positions = torch.arange(size) * layer.stride[axis] + t * layer.dilation[axis] - layer.padding[axis]
            shape = [1] * squares.dim()
            shape[2 + axis] = size
            inside = inside * ((positions >= 0) & (positions < end)).reshape(shape).to(inside.device)
        taps.append(inside.sum((0, *range(2, squares.dim()))))
    return _for_each_output(layer, taps)


def _for_each_output(layer: Any, taps: list[Tensor]) -> Tensor:
    """(out, in / groups, kernel...) from a value for each tap and input channel."""
    per_group = torch.stack(taps, dim=1).reshape(layer.groups, layer.in_channels // layer.groups, *layer.kernel_size)
    return per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)

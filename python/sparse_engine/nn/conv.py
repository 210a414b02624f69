"""The pruned convolutions: dense torch arithmetic while gradients are needed, native sparse kernels otherwise."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import _core
from ..masking.mask import Mask
from ..matrices.conv_shape import native_shape
from ..matrices.functional import native_conv1d, native_conv2d, native_conv3d, native_linear
from . import operators
from .convert import KINDS, stand_in
from .formats import NARROW_COLUMNS
from .native import NativePruned


class _NativeConvolution(NativePruned, nn.modules.conv._ConvNd):
    """Mixin of a pruned convolution, which `convolve` computes on a batch or one image."""

    convolve: ClassVar[Callable[..., Any]]

    def _operator(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        axes = len(self.kernel_size)
        if x.dim() not in (axes + 1, axes + 2):
            return self._dense(x, weight, bias)  # torch refuses it in its own words
        padding = self._symmetric_padding()
        if padding is None:
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            x, padding = F.pad(x, self._reversed_padding_repeated_twice, mode=mode), (0,) * axes
        images = x if x.dim() == axes + 2 else x.unsqueeze(0)
        y: Tensor = operators.convolution(images, weight, bias, self.stride, padding, self.dilation, self.groups)
        return y if x.dim() == axes + 2 else y.squeeze(0)

    def _serves(self, kind: str, arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> bool:
        own = (self.stride, self._symmetric_padding(), self.dilation, self.groups)
        return kind == "convolution" and arguments == own and self._parameters.get("weight") is weights[0]

    def _symmetric_padding(self) -> tuple[int, ...] | None:
        """Zeros before and after on each axis, or None where these differ or are no zeros."""
        sides = self._reversed_padding_repeated_twice[::-1]
        if self.padding_mode != "zeros" or sides[::2] != sides[1::2]:
            return None
        return tuple(sides[::2])

    def _dense(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(input, weight, bias)

    def _geometry(self, x: Tensor) -> tuple[Any, tuple[int, ...]]:
        """The native description of this convolution and its output size; ValueError where there is none."""
        axes = len(self.kernel_size)
        if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != self.in_channels:
            raise ValueError
        sides = self._reversed_padding_repeated_twice[::-1]  # after and before, axis by axis
        before, after, size = sides[1::2], sides[::2], list(x.shape[-axes:])
        if self.padding_mode != "zeros":  # padded by torch first
            size = [n + b + a for n, b, a in zip(size, before, after, strict=True)]
            before = after = [0] * axes
        shape = native_shape(self.kernel_size, self.stride, before, after, self.dilation, self.groups)
        return shape, shape.output_size(*([1] * (2 - axes)), *size)

    def _columns(self, geometry: tuple[Any, tuple[int, ...]], x: Tensor) -> int:
        batch = x.shape[0] if x.dim() == len(self.kernel_size) + 2 else 1
        if self._is_one_row(x):
            return batch
        return max(prod((batch, *geometry[1])), NARROW_COLUMNS + 1)  # wide products however few their positions are

    def _is_one_row(self, x: Tensor) -> bool:
        """Whether each image is a row that every filter covers whole, as in squeeze-and-excite: that is a linear layer."""
        axes = len(self.kernel_size)
        fits = axes > 1 and x.shape[-axes:] == self.kernel_size and self.groups == 1
        return fits and not any(self._reversed_padding_repeated_twice)

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: tuple[Any, tuple[int, ...]]) -> Tensor:
        axes = len(self.kernel_size)
        if self._is_one_row(x):
            y = native_linear(x.reshape(-1, matrix.cols), matrix, bias)
            return y.reshape(*x.shape[: -axes - 1], matrix.rows, *([1] * axes))  # type: ignore[no-any-return]
        images = x if self.padding_mode == "zeros" else F.pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        return self.convolve(images, matrix, geometry[0], bias)  # type: ignore[no-any-return]


class SparseConv1d(_NativeConvolution, nn.Conv1d):
    """A pruned `torch.nn.Conv1d`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Conv1d
    convolve = staticmethod(native_conv1d)


class SparseConv2d(_NativeConvolution, nn.Conv2d):
    """A pruned `torch.nn.Conv2d`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Conv2d
    convolve = staticmethod(native_conv2d)


class SparseConv3d(_NativeConvolution, nn.Conv3d):
    """A pruned `torch.nn.Conv3d`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Conv3d
    convolve = staticmethod(native_conv3d)


def _sliding(
    weights: Sequence[Tensor], masks: Sequence[Mask | None], stride: Any, padding: Any, dilation: Any, groups: int
) -> Any:
    """A layer to stand in for a convolution with somebody else's weight."""
    weight = weights[0]
    kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[weight.dim() - 3]
    layer = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride,
        padding,
        dilation,
        groups,
        False,
        device="meta",
    )
    kept = None if masks[0] is None else torch.from_numpy(masks[0].to_numpy())
    return stand_in(layer, {"weight": weight}, {"weight": kept})


operators.STAND_INS["convolution"] = _sliding
KINDS.update({nn.Conv1d: SparseConv1d, nn.Conv2d: SparseConv2d, nn.Conv3d: SparseConv3d})

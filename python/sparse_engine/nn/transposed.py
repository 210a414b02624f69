"""The pruned transposed convolutions: native ones over blocks of outputs, see `phases`."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import _core
from ..masking.mask import Mask
from ..matrices.functional import native_conv1d, native_conv2d, native_conv3d
from . import operators
from .convert import KINDS, stand_in
from .formats import NARROW_COLUMNS, Packed, in_strips_of_four
from .native import NativePruned, NativeState
from .phases import Blocks, Phases

OUTPUT_SIZE = "an output_size that is not the layer's own: set its output_padding"


class TransposedState(NativeState):
    """The formats that fit the filters of all phases, and which phases what is packed was made for."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        super().__init__(masks)
        self.phases: Phases | None = None

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what the mask keeps, in the order of `Phases.matrix`."""
        if self._fitting is None:
            mask = self.masks["weight"]
            rows = mask.shape[1]
            strips = mask.kept > 0 and rows % 4 == 0
            if strips:
                kept = mask.to_numpy().reshape(mask.shape[0], rows, -1).swapaxes(0, 1).reshape(rows, -1)
                strips = in_strips_of_four(kept)
            self._fitting = ("csr", "bitmask", "bsr4x1") if strips else ("csr", "bitmask")
        return self._fitting

    def pack(
        self,
        name: str,
        key: Any = None,
        view: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Packed:
        """The filters of all phases."""
        assert self.phases is not None  # set by the layer's `_geometry`, which comes before
        return super().pack(name, key, view or self.phases.matrix, dtype)


class _NativeTransposed(NativePruned, nn.modules.conv._ConvTransposeNd):
    """Mixin of a pruned transposed convolution, whose blocks `convolve` computes."""

    State = TransposedState
    convolve: ClassVar[Callable[..., Any]]
    _torchs: ClassVar[Callable[..., Any]]

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """The layer's result: dense while gradients are needed, else with the kernel that measured fastest."""
        if output_size is None:
            return NativePruned.forward(self, input)
        axes, weight = len(self.kernel_size), self._masked("weight")
        sides: Any = (self.stride, self.padding, self.kernel_size, axes, self.dilation)
        extra = self._output_padding(input, output_size, *sides)
        if not torch.compiler.is_compiling():
            if tuple(extra) == self.output_padding:
                return NativePruned.forward(self, input)
            self._sparse.fall_back(OUTPUT_SIZE)
        return self._dense_to(input, weight, self._bias(), extra)

    def _dense(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._dense_to(input, weight, bias, self.output_padding)

    def _dense_to(self, x: Tensor, weight: Tensor, bias: Tensor | None, output_padding: Any) -> Tensor:
        y: Tensor = self._torchs(x, weight, bias, self.stride, self.padding, output_padding, self.groups, self.dilation)
        return y

    def _operator(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        axes = len(self.kernel_size)
        if x.dim() not in (axes + 1, axes + 2):
            return self._dense(x, weight, bias)  # torch refuses it in its own words
        images = x if x.dim() == axes + 2 else x.unsqueeze(0)
        y: Tensor = operators.transposed_convolution(images, weight, bias, *self._sides())
        return y if x.dim() == axes + 2 else y.squeeze(0)

    def _serves(self, kind: str, arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> bool:
        asked = kind == "transposed_convolution" and arguments == self._sides()
        return asked and self._parameters.get("weight") is weights[0]

    def _sides(self) -> tuple[Any, ...]:
        return self.stride, self.padding, self.output_padding, self.dilation, self.groups

    def _geometry(self, x: Tensor) -> Blocks:
        """The convolution over blocks; ValueError where there is none."""
        axes = len(self.kernel_size)
        if x.dim() not in (axes + 1, axes + 2) or x.shape[-axes - 1] != self.in_channels:
            raise ValueError
        state: Any = self._sparse
        phases = Phases(self.kernel_size, self.stride, self.padding, self.dilation, self.groups)  # type: ignore[arg-type]
        if state.phases != phases:
            state.packed.clear()
            state.phases = phases
        return phases.blocks(x.shape[-axes:], self.output_padding)

    def _columns(self, geometry: Blocks, x: Tensor) -> int:
        batch = x.shape[0] if x.dim() == len(self.kernel_size) + 2 else 1
        return max(prod((batch, *geometry.counts)), NARROW_COLUMNS + 1)  # wide products however few their positions are

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: Blocks) -> Tensor:
        phases: Any = self._sparse.phases  # type: ignore[attr-defined]
        y = self.convolve(geometry.read(x), matrix, geometry.shape, None if bias is None else phases.bias(bias))
        return phases.moved_apart(y, geometry)  # type: ignore[no-any-return]


class SparseConvTranspose1d(_NativeTransposed, nn.ConvTranspose1d):
    """A pruned `torch.nn.ConvTranspose1d`: same parameters, same results within rounding, native kernels in inference."""

    plain = nn.ConvTranspose1d
    convolve, _torchs = staticmethod(native_conv1d), staticmethod(F.conv_transpose1d)


class SparseConvTranspose2d(_NativeTransposed, nn.ConvTranspose2d):
    """A pruned `torch.nn.ConvTranspose2d`: same parameters, same results within rounding, native kernels in inference."""

    plain = nn.ConvTranspose2d
    convolve, _torchs = staticmethod(native_conv2d), staticmethod(F.conv_transpose2d)


class SparseConvTranspose3d(_NativeTransposed, nn.ConvTranspose3d):
    """A pruned `torch.nn.ConvTranspose3d`: same parameters, same results within rounding, native kernels in inference."""

    plain = nn.ConvTranspose3d
    convolve, _torchs = staticmethod(native_conv3d), staticmethod(F.conv_transpose3d)


def _scattering(
    weights: Sequence[Tensor],
    masks: Sequence[Mask | None],
    stride: Any,
    padding: Any,
    output_padding: Any,
    dilation: Any,
    groups: int,
) -> Any:
    """A layer to stand in for a transposed convolution with somebody else's weight."""
    weight = weights[0]
    kind: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[weight.dim() - 3]
    layer = kind(
        weight.shape[0],
        weight.shape[1] * groups,
        tuple(weight.shape[2:]),
        stride,
        padding,
        output_padding,
        groups,
        False,
        dilation,
        device="meta",
    )
    kept = None if masks[0] is None else torch.from_numpy(masks[0].to_numpy())
    return stand_in(layer, {"weight": weight}, {"weight": kept})


operators.STAND_INS["transposed_convolution"] = _scattering
KINDS.update(
    {
        nn.ConvTranspose1d: SparseConvTranspose1d,
        nn.ConvTranspose2d: SparseConvTranspose2d,
        nn.ConvTranspose3d: SparseConvTranspose3d,
    }
)

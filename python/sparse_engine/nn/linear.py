"""The pruned linear layer: dense torch arithmetic while gradients are needed, native sparse kernels otherwise."""

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .. import _core
from ..matrices.functional import native_linear
from .convert import KINDS
from .native import NativePruned


class SparseLinear(NativePruned, nn.Linear):
    """A pruned `torch.nn.Linear`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Linear

    def _dense(self, input: Tensor, weight: Tensor) -> Tensor:
        return F.linear(input, weight, self._parameters["bias"])

    def _geometry(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError

    def _columns(self, geometry: None, x: Tensor) -> int:
        return x.numel() // self.in_features

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: None) -> Tensor:
        return native_linear(x, matrix, bias)  # type: ignore[no-any-return]


KINDS.update({nn.Linear: SparseLinear, NonDynamicallyQuantizableLinear: SparseLinear})

"""The pruned linear layer: dense torch arithmetic while gradients are needed, native sparse kernels otherwise."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .. import _core
from ..matrices.arrays import new_result
from .base import NativePruned
from .convert import KINDS


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
        return sparse_linear(x, matrix, bias)


def sparse_linear(x: Tensor, matrix: _core.Matrix, bias: Tensor | None) -> Tensor:
    """x · Wᵀ + b of float32 tensors, (..., in) to (..., out), on the native kernels of `matrix`."""
    plain: Tensor | None = _core.linear_tensors(x, matrix, bias, _core.Activation.none, None)
    if plain is not None:
        return plain
    x = x.detach() if x.requires_grad else x
    flat = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    y, target = new_result((flat.shape[0], matrix.rows), tensor=True)
    _core.linear(numpy_of(flat), matrix, bias_of(bias), _core.Activation.none, target)
    result: Tensor = y if x.dim() == 2 else y.view(*x.shape[:-1], matrix.rows)
    return result


def numpy_of(x: Tensor) -> Any:
    """The memory of a tensor without gradient, as an array."""
    return x.resolve_neg().numpy() if x.is_neg() else x.numpy()


def bias_of(bias: Tensor | None) -> Any:
    """The same of a bias, (M,), where there is one."""
    return None if bias is None else bias.detach().contiguous().numpy()


KINDS.update({nn.Linear: SparseLinear, NonDynamicallyQuantizableLinear: SparseLinear})

"""The pruned linear layer: dense torch arithmetic while gradients are needed, native sparse kernels otherwise."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from .. import _core
from ..masking.mask import Mask
from ..matrices.functional import native_linear
from . import operators
from .convert import KINDS, stand_in
from .native import NativePruned

WHOLE = (0, None, False)  # all rows of a weight, as they are


class SparseLinear(NativePruned, nn.Linear):
    """A pruned `torch.nn.Linear`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Linear

    def _dense(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(input, weight, bias)

    def _operator(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return operators.linear(x, weight, bias)  # type: ignore[no-any-return]

    def _serves(self, kind: str, arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> bool:
        return kind == "linear" and arguments == WHOLE and self._parameters.get("weight") is weights[0]

    def _geometry(self, x: Tensor) -> None:
        if x.dim() == 0 or x.shape[-1] != self.in_features:
            raise ValueError

    def _columns(self, geometry: None, x: Tensor) -> int:
        return x.numel() // self.in_features

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: None) -> Tensor:
        return native_linear(x, matrix, bias)  # type: ignore[no-any-return]


def _of_rows(weights: Sequence[Tensor], masks: Sequence[Mask | None], *rows: Any) -> nn.Module:
    """A layer to stand in for a product with some rows of a weight."""
    matrix = operators.rows_of(weights[0], *rows)
    kept = None if masks[0] is None else operators.rows_of(torch.from_numpy(masks[0].to_numpy()), *rows)
    return stand_in(
        nn.Linear(matrix.shape[1], matrix.shape[0], bias=False, device="meta"), {"weight": matrix}, {"weight": kept}
    )


operators.STAND_INS["linear"] = _of_rows
KINDS.update({nn.Linear: SparseLinear, NonDynamicallyQuantizableLinear: SparseLinear})

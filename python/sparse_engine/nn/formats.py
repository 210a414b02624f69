"""How a layer's weights can be packed, and which of these are worth timing for an input."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import _core
from ..masking.hooks import Held
from ..masking.mask import Mask
from .value_types import as_float32, dense_cost, stored_type

DENSE = "dense"
NARROW_COLUMNS = _core.narrow_columns  # up to here a product is bound by the bytes of W
SAMPLED_ROWS = 64

# How each format packs a dense matrix, and the type it is to keep values as, which blocks and 2:4 keep as float32 always. The
# names are those of the native cost model, which says what each is expected to take.
FORMATS: dict[str, Callable[[NDArray[np.float32], _core.ValueType], _core.Matrix]] = {
    "csr": _core.Csr.from_dense,
    "bitmask": _core.Bitmask.from_dense,
    "bsr4x1": lambda w, _: _core.Bsr.from_dense(w, 4, 1),
    "nm2:4": lambda w, _: _core.Nm.from_dense(w, 2, 4),
}


class Packed:
    """A weight as native kernels read it, in the formats asked for so far.

    Args:
        weight: the parameter.
        held: what is known of it; `epoch` says which of its values these are.
        view: the matrix that is packed, made of the whole parameter; by default (out, in · kernel).
        dtype: what values are rounded to, and stored as where the format can.
    """

    def __init__(
        self,
        weight: Tensor,
        held: Held,
        view: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.epoch, self._weight, self._view, self._dtype = held.epoch, weight, view, dtype
        held.remember_values(weight)
        self.matrices: dict[str, _core.Matrix] = {}

    def matrix(self, kernel: str) -> _core.Matrix:
        """The weight in the format of `kernel`."""
        found = self.matrices.get(kernel)
        if found is None:
            found = self.matrices[kernel] = FORMATS[kernel](self.dense(), stored_type(self._dtype))
        return found

    def dense(self) -> NDArray[np.float32]:
        """The matrix that is packed."""
        weight = as_float32(Tensor.detach(self._weight), self._dtype)
        matrix = weight if self._view is None else self._view(weight)
        found: NDArray[np.float32] = matrix.reshape(matrix.shape[0], -1).contiguous().numpy()
        return found


def fitting(mask: Mask) -> tuple[str, ...]:
    """Formats that store exactly what `mask` keeps, so that a pruned weight stays absent."""
    rows = mask.shape[0]
    cols = mask.size // rows if rows else 0
    found = ["csr", "bitmask"]
    if mask.kept and rows % 4 == 0 and _all_rows(mask, rows, cols, in_strips_of_four):
        found.append("bsr4x1")
    if mask.kept * 2 == mask.size and cols % 4 == 0 and _all_rows(mask, rows, cols, _two_of_four):
        found.append("nm2:4")
    return tuple(found)


def _all_rows(mask: Mask, rows: int, cols: int, holds: Callable[[NDArray[np.bool_]], bool]) -> bool:
    """Whether `holds` for some rows at a time; most masks fail at once, and none is unpacked whole."""
    if cols % 2 == 1 and rows % 8 != 0:  # rows would begin inside a byte
        return holds(mask.to_numpy().reshape(rows, cols))
    for first in range(0, rows, SAMPLED_ROWS):
        count = min(SAMPLED_ROWS, rows - first)
        begin = first * cols
        bits = np.unpackbits(mask.bits[begin // 8 : (begin + count * cols + 7) // 8], bitorder="little")
        part = bits[begin % 8 : begin % 8 + count * cols].view(np.bool_).reshape(count, cols)
        if not holds(part):
            return False
    return True


def in_strips_of_four(kept: NDArray[np.bool_]) -> bool:
    """Whether rows of a matrix, four at a time, keep the same columns."""
    strips = kept.reshape(-1, 4, kept.shape[1])
    return bool((strips == strips[:, :1]).all())


def _two_of_four(kept: NDArray[np.bool_]) -> bool:
    return bool((kept.reshape(-1, 4).sum(1) == 2).all())


def candidates(fitting_formats: tuple[str, ...], density: float, columns: int, dtype: torch.dtype = torch.float32) -> list[str]:
    """Formats worth timing for `columns` columns, cheapest first by the model; none within reach of dense is an empty list."""
    dense = dense_cost(dtype, columns)
    if columns > NARROW_COLUMNS:  # laid out alike: single weights for wide products are csr's
        fitting_formats = tuple(f for f in fitting_formats if f != "bitmask")
    costs = {name: _core.product_cost(name, density, columns) for name in fitting_formats}
    best = min(costs.values())
    worth = [name for name, cost in costs.items() if cost <= 1.6 * best and cost <= 1.6 * dense]
    return sorted(worth, key=costs.__getitem__)


def modelled(names: list[str], density: float, columns: int, dtype: torch.dtype = torch.float32) -> str:
    """What the model alone takes: the cheapest of `names`, or dense."""
    fast = names and _core.product_cost(names[0], density, columns) < dense_cost(dtype, columns)
    return names[0] if fast else DENSE

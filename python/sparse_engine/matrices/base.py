"""What every sparse matrix has: validated once, then immutable."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .arrays import float32_view, is_tensor, new_result


class Matrix:
    """A sparse matrix W of shape (M, K). `W @ X` multiplies; `engine.linear` and `engine.conv2d` take one.

    Immutable, safe to use from several threads. A weight that is not stored is absent, not zero: Inf or NaN in an operand does
    not reach an output through it.
    """

    __slots__ = ("_native", "_shape")

    def __init__(self, native: _core.Matrix) -> None:
        self._native = native
        self._shape = (native.rows, native.cols)

    def to_dense(self) -> NDArray[np.float32]:
        """A new (M, K) array with zeros where no weight is stored."""
        return self._native.to_dense()

    @property
    def shape(self) -> tuple[int, int]:
        """(M, K)."""
        return self._shape

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return self._native.nnz

    @property
    def nbytes(self) -> int:
        """Memory held by the stored weights, in bytes. It never changes."""
        return self._native.nbytes

    @property
    def layout_nbytes(self) -> int:
        """Memory held by the layouts that products have packed so far, in bytes; those of the last two shapes are kept."""
        return self._native.layout_nbytes

    def __matmul__(self, x: Any) -> Any:
        """A @ X for X (K, N) or (K,), float32 of any strides: numpy in, numpy out; torch in, torch out."""
        product = _core.multiply_tensors(self._native, x)
        if product is not None:
            return product
        view = float32_view(x, "X")
        rows, cols = self._shape
        if view.ndim not in (1, 2) or view.shape[0] != cols:
            raise ValueError(f"X has shape {view.shape}; A of shape {self._shape} needs ({cols},) or ({cols}, N)")
        wide = view if view.ndim == 2 else view[:, None]
        y, target = new_result((rows, wide.shape[1]), is_tensor(x))
        _core.multiply(self._native, wide, target)
        return y if view.ndim == 2 else y[:, 0]

    def __repr__(self) -> str:
        rows, cols = self.shape
        density = self.nnz / (rows * cols) if rows * cols else 1.0
        return f"{type(self).__name__}(shape={self.shape}, nnz={self.nnz}, density={density:.4f}{self._extra_repr()})"

    def _extra_repr(self) -> str:
        return ""


def dense_weights(weights: Any) -> NDArray[np.float32]:
    """`weights` as a C-contiguous float32 (M, K) array."""
    w = float32_view(weights, "weights")
    if w.ndim != 2:
        raise ValueError(f"weights has shape {w.shape}; a matrix has two dimensions (weights.reshape(len(weights), -1))")
    return np.ascontiguousarray(w)


def matrix_shape(shape: Any) -> tuple[int, int]:
    """`shape` as two integers; ValueError when it is none."""
    try:
        rows, cols = (_index(side, "shape") for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape = {shape!r} must be two integers (rows, columns) of at most 63 bits") from None
    return rows, cols


def positive_pair(value: Any, name: str) -> tuple[int, int]:
    """`value` as two integers of at least 1; ValueError when it is none."""
    try:
        first, second = (_index(side, name) for side in value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} = {value!r} must be two integers (height, width)") from None
    if first < 1 or second < 1:
        raise ValueError(f"{name} = {value!r}; both must be at least 1")
    return first, second


def float32_values(values: Any, rank: int) -> NDArray[np.float32]:
    """`values` as a C-contiguous float32 array of `rank` dimensions."""
    data = np.asarray(values)
    if data.dtype != np.float32 or data.ndim != rank:
        raise TypeError(f"values must be a {rank}-dimensional float32 array, not {data.ndim}-dimensional {data.dtype}")
    return np.ascontiguousarray(data)


def value_type(dtype: Any) -> _core.ValueType:
    """What the values of a matrix are stored as."""
    try:
        return _core.ValueType.__members__[dtype]
    except KeyError:
        names = ", ".join(map(repr, _core.ValueType.__members__))
        raise ValueError(f"dtype = {dtype!r} is not one of: {names}") from None


def _index(value: Any, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not -(2**63) <= value.__index__() < 2**63:
        raise TypeError(name)
    return int(value.__index__())


def index_array(value: Any, name: str) -> NDArray[np.int64]:
    """A copy of `value` as int64 (nnz,); TypeError for anything but integers."""
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; it needs 1")
    if array.size == 0 and array.dtype == np.float64:  # what an empty list becomes
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; indices are integers")
    # An unsigned value beyond 2^63 turns negative here and is refused as out of range.
    return np.array(array, dtype=np.int64, copy=True, order="C")

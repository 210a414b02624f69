"""Sparse matrices: validated once, then immutable."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _core
from .arrays import empty_like, float32_view


class CSRMatrix:
    """Compressed sparse rows, float32: unstructured sparsity.

    Make one with `from_dense`, `from_parts` or `from_scipy`. Immutable, safe to use from several threads. `A @ X` multiplies.
    A weight that is not stored is absent, not zero: Inf or NaN in an operand does not reach an output through it.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _core.Csr) -> None:
        self._native = native

    @classmethod
    def from_dense(cls, weights: Any) -> "CSRMatrix":
        """Keep the entries of `weights` that are not 0.

        Args:
            weights: float32 (M, K), numpy or torch, any strides.
        """
        w = float32_view(weights, "weights")
        if w.ndim != 2:
            raise ValueError(f"weights has shape {w.shape}; a matrix has two dimensions (weights.reshape(len(weights), -1))")
        return cls(_core.Csr.from_dense(np.ascontiguousarray(w)))

    @classmethod
    def from_parts(cls, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> "CSRMatrix":
        """Build from the three CSR arrays, which are copied and validated; untrusted input is fine.

        Args:
            indptr: integers (M + 1,), from 0 to nnz, never decreasing.
            indices: integers (nnz,), columns in [0, K); sorted here when they are not, a column twice in a row is refused.
            values: float32 (nnz,).
            shape: (M, K).
        Raises:
            ValueError: a rule is broken, naming the entry.
            TypeError: indices that are not integers, values that are not float32.
        """
        try:
            rows, cols = (_index(side, "shape") for side in shape)
        except (TypeError, ValueError):
            raise ValueError(f"shape = {shape!r} must be two integers (rows, columns) of at most 63 bits") from None
        data = np.asarray(values)
        if data.dtype != np.float32 or data.ndim != 1:
            raise TypeError(f"values must be a one-dimensional float32 array, not {data.ndim}-dimensional {data.dtype}")
        native = _core.Csr.from_parts(
            _indices(indptr, "indptr"), _indices(indices, "indices"), np.ascontiguousarray(data), rows, cols
        )
        return cls(native)

    @classmethod
    def from_scipy(cls, matrix: Any) -> "CSRMatrix":
        """Build from any scipy sparse matrix or array; values become float32, duplicates are added up."""
        csr = matrix.tocsr(copy=True)
        csr.sum_duplicates()
        return cls.from_parts(csr.indptr, csr.indices, csr.data.astype(np.float32), csr.shape)

    def to_scipy(self) -> Any:
        """A new `scipy.sparse.csr_array`. Needs scipy."""
        from scipy.sparse import csr_array

        indptr, indices, values = self._native.to_parts()
        return csr_array((values, indices, indptr), shape=self.shape)

    def to_dense(self) -> NDArray[np.float32]:
        """A new (M, K) array with zeros where no weight is stored."""
        return self._native.to_dense()

    @property
    def shape(self) -> tuple[int, int]:
        """(M, K)."""
        return (self._native.rows, self._native.cols)

    @property
    def nnz(self) -> int:
        """Number of stored weights."""
        return self._native.nnz

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes, with the layouts packed so far."""
        return self._native.nbytes

    def __matmul__(self, x: Any) -> Any:
        """A @ X for X (K, N) or (K,), float32 of any strides: numpy in, numpy out; torch in, torch out."""
        view = float32_view(x, "X")
        if view.ndim not in (1, 2) or view.shape[0] != self.shape[1]:
            raise ValueError(
                f"X has shape {view.shape}; A of shape {self.shape} needs ({self.shape[1]},) or ({self.shape[1]}, N)"
            )
        wide = view if view.ndim == 2 else view[:, None]
        y = empty_like(x, (self.shape[0], wide.shape[1]))
        _core.multiply(self._native, wide, float32_view(y, "Y"))
        return y if view.ndim == 2 else y[:, 0]

    def __repr__(self) -> str:
        rows, cols = self.shape
        density = self.nnz / (rows * cols) if rows * cols else 1.0
        return f"CSRMatrix(shape={self.shape}, nnz={self.nnz}, density={density:.4f})"


def _index(value: Any, name: str) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or not -(2**63) <= value.__index__() < 2**63:
        raise TypeError(name)
    return int(value.__index__())


def _indices(value: Any, name: str) -> NDArray[np.int64]:
    array = np.asarray(value)
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions; it needs 1")
    if array.size == 0 and array.dtype == np.float64:  # what an empty list becomes
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}; indices are integers")
    # An unsigned value beyond 2^63 turns negative here and is refused as out of range.
    return np.array(array, dtype=np.int64, copy=True, order="C")

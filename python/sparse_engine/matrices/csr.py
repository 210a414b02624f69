"""Compressed sparse rows: unstructured sparsity."""

from typing import Any

from .. import _core
from .base import Matrix, dense_weights, float32_values, index_array, matrix_shape, value_type
from .interop import scipy_entries, torch_parts


class CSRMatrix(Matrix):
    """Compressed sparse rows: unstructured sparsity. Values are float32, bfloat16 or float16; arithmetic is float32.

    Make one with `from_dense`, `from_parts`, `from_scipy` or `from_torch`.
    """

    __slots__ = ()
    _native: _core.Csr

    @classmethod
    def from_dense(cls, weights: Any, dtype: str = "float32") -> "CSRMatrix":
        """Keep the entries of `weights` that are not 0.

        Args:
            weights: float32 (M, K), numpy or torch, any strides.
            dtype: what values are stored as: "float32", "bfloat16" or "float16" (to nearest, ties to even; what rounds to 0 is
                not stored). Sixteen bits halve the time of products with few columns; wide ones unpack them once.
        Raises:
            ValueError: a finite weight would become infinite.
        """
        return cls(_core.Csr.from_dense(dense_weights(weights), value_type(dtype)))

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
        rows, cols = matrix_shape(shape)
        native = _core.Csr.from_parts(
            index_array(indptr, "indptr"), index_array(indices, "indices"), float32_values(values, 1), rows, cols
        )
        return cls(native)

    @classmethod
    def from_scipy(cls, matrix: Any) -> "CSRMatrix":
        """Build from a scipy sparse matrix or array of any format, which is copied and validated; untrusted input is fine.

        Values become float32, duplicates are added up first; zeros that are stored stay stored.

        Args:
            matrix: real numbers of any type (M, K); left as it is.
        Raises:
            ValueError: a rule is broken, naming the entry; a finite value does not fit float32.
            TypeError: indices that are not integers, values that are not real (complex ones).
        """
        entries = scipy_entries(matrix).numbers()
        return cls.from_parts(*entries.compressed(), entries.shape)

    @classmethod
    def from_torch(cls, tensor: Any) -> "CSRMatrix":
        """Build from a tensor (M, K) of layout `torch.sparse_csr`, float32 on the CPU; copied and validated like `from_parts`.

        Raises:
            ValueError: a rule is broken, naming the entry.
            TypeError: no such tensor.
        """
        return cls.from_parts(*torch_parts(tensor, "sparse_csr"))

    def to_torch(self) -> Any:
        """A new tensor of layout `torch.sparse_csr`. Needs torch."""
        import torch

        indptr, indices, values = map(torch.from_numpy, self._native.to_parts())
        return torch.sparse_csr_tensor(indptr, indices, values, self.shape)

    @property
    def dtype(self) -> str:
        """What the values are stored as."""
        return self._native.value_type.name

    def _extra_repr(self) -> str:
        return f", dtype={self.dtype}"

    def to_scipy(self) -> Any:
        """A new `scipy.sparse.csr_array`. Needs scipy."""
        from scipy.sparse import csr_array

        indptr, indices, values = self._native.to_parts()
        return csr_array((values, indices, indptr), shape=self.shape)

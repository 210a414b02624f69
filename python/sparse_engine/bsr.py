"""Block compressed sparse rows: blocks of weights that stay or go together."""

from typing import Any

import numpy as np

from . import _core
from .matrix import Matrix, dense_weights, float32_values, index_array, matrix_shape, positive_pair


class BSRMatrix(Matrix):
    """Block compressed sparse rows, float32. Blocks of 4×1, 8×1 and 16×1 weights (of several rows in one column) are fastest.

    Make one with `from_dense`, `from_parts`, `from_scipy` or `from_torch`. Zeros inside a stored block may be multiplied like
    any other weight: Inf or NaN in an operand can reach an output through them.
    """

    __slots__ = ()
    _native: _core.Bsr

    @classmethod
    def from_dense(cls, weights: Any, block: tuple[int, int] = (4, 1)) -> "BSRMatrix":
        """Keep the blocks of `weights` that hold anything but 0.

        Args:
            weights: float32 (M, K), numpy or torch, any strides.
            block: (height, width) in weights; divides (M, K).
        Raises:
            ValueError: a block that does not divide the shape.
        """
        return cls(_core.Bsr.from_dense(dense_weights(weights), *positive_pair(block, "block")))

    @classmethod
    def from_parts(cls, indptr: Any, indices: Any, values: Any, shape: tuple[int, int]) -> "BSRMatrix":
        """Build from the three BSR arrays, which are copied and validated; untrusted input is fine.

        Args:
            indptr: integers (M / height + 1,), from 0 to the number of blocks, never decreasing.
            indices: integers (blocks,), block columns in [0, K / width); sorted here, a block twice in a row is refused.
            values: float32 (blocks, height, width).
            shape: (M, K).
        Raises:
            ValueError: a rule is broken, naming the entry.
            TypeError: indices that are not integers, values that are not float32.
        """
        rows, cols = matrix_shape(shape)
        data = float32_values(values, 3)
        native = _core.Bsr.from_parts(
            index_array(indptr, "indptr"), index_array(indices, "indices"), data.reshape(-1), rows, cols, *data.shape[1:]
        )
        return cls(native)

    @classmethod
    def from_scipy(cls, matrix: Any, block: tuple[int, int] | None = None) -> "BSRMatrix":
        """Build from any scipy sparse matrix or array; values become float32. `block` None takes scipy's own."""
        bsr = matrix.tobsr(blocksize=block, copy=True)
        bsr.sum_duplicates()
        return cls.from_parts(bsr.indptr, bsr.indices, bsr.data.astype(np.float32), bsr.shape)

    @classmethod
    def from_torch(cls, tensor: Any) -> "BSRMatrix":
        """Build from a two-dimensional tensor of layout `torch.sparse_bsr`, float32 on the CPU."""
        return cls.from_parts(
            tensor.crow_indices().numpy(), tensor.col_indices().numpy(), tensor.values().detach().numpy(), tuple(tensor.shape)
        )

    def to_scipy(self) -> Any:
        """A new `scipy.sparse.bsr_array`. Needs scipy."""
        from scipy.sparse import bsr_array

        indptr, indices, values = self._native.to_parts()
        return bsr_array((values.reshape(-1, *self.block), indices, indptr), shape=self.shape)

    def to_torch(self) -> Any:
        """A new tensor of layout `torch.sparse_bsr`. Needs torch."""
        import torch

        indptr, indices, values = map(torch.from_numpy, self._native.to_parts())
        return torch.sparse_bsr_tensor(indptr, indices, values.view(-1, *self.block), self.shape)

    @property
    def block(self) -> tuple[int, int]:
        """(height, width) of a block, in weights."""
        return self._native.block

    def _extra_repr(self) -> str:
        return f", block={self.block}"

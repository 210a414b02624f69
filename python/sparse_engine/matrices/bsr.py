"""Block compressed sparse rows: blocks of weights that stay or go together."""

from typing import Any

from .. import _core
from .base import Matrix, dense_weights, float32_values, index_array, matrix_shape, positive_pair
from .interop import Entries, scipy_entries, torch_parts


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
        """Build from a scipy sparse matrix or array of any format, which is copied and validated; untrusted input is fine.

        Values become float32, duplicates are added up first; blocks of zeros that are stored stay stored.

        Args:
            matrix: real numbers of any type (M, K); left as it is.
            block: (height, width) in weights, divides (M, K). None takes the matrix's own, or what scipy estimates for formats
                without blocks.
        Raises:
            ValueError: a rule is broken, naming the entry; a finite value does not fit float32.
            TypeError: indices that are not integers, values that are not real (complex ones).
        """
        size = None if block is None else positive_pair(block, "block")
        entries = scipy_entries(matrix)
        entries = entries.blocks(size or (entries.block if entries.values.ndim == 3 else _estimated_block(entries)))
        return cls.from_parts(*entries.compressed(), entries.shape)

    @classmethod
    def from_torch(cls, tensor: Any) -> "BSRMatrix":
        """Build from a tensor (M, K) of layout `torch.sparse_bsr`, float32 on the CPU; copied and validated like `from_parts`.

        Raises:
            ValueError: a rule is broken, naming the entry.
            TypeError: no such tensor.
        """
        return cls.from_parts(*torch_parts(tensor, "sparse_bsr"))

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


def _estimated_block(entries: Entries) -> tuple[int, int]:
    from scipy.sparse import csr_array

    indptr, indices, values = entries.compressed()
    height, width = csr_array((values, indices, indptr), shape=entries.shape).tobsr().blocksize
    return int(height), int(width)

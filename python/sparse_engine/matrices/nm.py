"""n:m sparsity: of every m neighbouring weights of a row, n are stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .base import Matrix, dense_weights, float32_values, matrix_shape, positive_pair


class NMMatrix(Matrix):
    """n:m sparsity, float32: of every m neighbouring weights of a row exactly n are stored. 2:4 and 1:2 are fastest.

    Make one with `from_dense` or `from_parts`. A group with fewer non-zeros is filled with zeros, which are stored and
    multiplied like any other weight: Inf or NaN in an operand can reach an output through them.
    """

    __slots__ = ()
    _native: _core.Nm

    @classmethod
    def from_dense(cls, weights: Any, n: int = 2, m: int = 4) -> "NMMatrix":
        """Keep `n` weights of every group of `m`: all that are not 0.

        Args:
            weights: float32 (M, K), numpy or torch, any strides.
            n, m: 1 <= n < m <= 16; m divides K.
        Raises:
            ValueError: a group holds more than `n` non-zeros (the message names it), or `m` does not divide K.
        """
        return cls(_core.Nm.from_dense(dense_weights(weights), *positive_pair((n, m), "(n, m)")))

    @classmethod
    def from_parts(cls, values: Any, indices: Any, shape: tuple[int, int], n: int = 2, m: int = 4) -> "NMMatrix":
        """Build from values and their positions, which are copied and validated; untrusted input is fine.

        Args:
            values: float32 (M, K · n / m), group by group.
            indices: uint8 of the same shape, positions within a group, increasing in it.
            shape: (M, K).
            n, m: as for `from_dense`.
        Raises:
            ValueError: a rule is broken, naming the entry.
            TypeError: indices that are not uint8, values that are not float32.
        """
        rows, cols = matrix_shape(shape)
        data, positions = float32_values(values, 2), np.asarray(indices)
        if positions.dtype != np.uint8:
            raise TypeError(f"indices has dtype {positions.dtype}; positions within a group are uint8")
        if positions.shape != data.shape:
            raise ValueError(f"indices has shape {positions.shape}, values {data.shape}; they must be equal")
        kept, group = positive_pair((n, m), "(n, m)")
        flat = np.ascontiguousarray(positions).reshape(-1)
        return cls(_core.Nm.from_parts(data.reshape(-1), flat, rows, cols, kept, group))

    def to_parts(self) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """New arrays as `from_parts` takes them: values and positions, both (M, K · n / m)."""
        values, positions = self._native.to_parts()
        shape = (self.shape[0], self.shape[1] // self.m * self.n)
        return values.reshape(shape), positions.reshape(shape)

    @property
    def n(self) -> int:
        """Weights stored of each group."""
        return self._native.group[0]

    @property
    def m(self) -> int:
        """Weights of a group."""
        return self._native.group[1]

    def _extra_repr(self) -> str:
        return f", {self.n}:{self.m}"

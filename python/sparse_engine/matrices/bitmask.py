"""One bit a weight, and the weights that stay: unstructured sparsity of 40 to 80%, at one to eight columns."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .base import Matrix, dense_weights, float32_values, matrix_shape, value_type


class BitmaskMatrix(Matrix):
    """One bit a weight and the values that stay, as float32, bfloat16, float16 or int8; arithmetic is float32.

    For products with one to eight columns, which take as long as reading W does: at 50% it reads half the bytes of float32, a
    third of 16-bit values. `to_dense` gives the values as they are stored, rounded.

    Make one with `from_dense` or `from_parts`.
    """

    __slots__ = ()
    _native: _core.Bitmask

    @classmethod
    def from_dense(cls, weights: Any, dtype: str = "float32") -> "BitmaskMatrix":
        """Keep the entries of `weights` that are not 0.

        Args:
            weights: float32 (M, K), numpy or torch, any strides.
            dtype: "float32", "bfloat16" or "float16" (to nearest, ties to even), or "int8": multiples −127 … 127 of one scale
                per row, at most half a scale away from the weight. What rounds to 0 is not stored.
        Raises:
            ValueError: a finite weight would become infinite, or int8 is to keep Inf or NaN.
        """
        return cls(_core.Bitmask.from_dense(dense_weights(weights), value_type(dtype)))

    @classmethod
    def from_parts(cls, mask: Any, values: Any, shape: tuple[int, int], dtype: str = "float32") -> "BitmaskMatrix":
        """Build from a mask and the values it keeps, which are copied and validated; untrusted input is fine.

        Args:
            mask: uint8 (⌈M·K / 8⌉,), weight i is bit i % 8 of byte i // 8 (`engine.masking.Mask.bits`, or `numpy.packbits` of
                the bool array with bitorder="little"); bits past the last weight are 0.
            values: float32 (nnz,), one per bit that is 1, in order. Rounded as `from_dense` does; a 0 stays stored.
            shape: (M, K).
        Raises:
            ValueError: a rule is broken, naming it.
            TypeError: a mask that is not uint8, values that are not float32.
        """
        rows, cols = matrix_shape(shape)
        native = _core.Bitmask.from_parts(_bytes(mask), float32_values(values, 1), rows, cols, value_type(dtype))
        return cls(native)

    def to_parts(self) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """New arrays (mask, values) as `from_parts` takes them."""
        return self._native.to_parts()

    @property
    def dtype(self) -> str:
        """What the values are stored as."""
        return self._native.value_type.name

    def _extra_repr(self) -> str:
        return f", dtype={self.dtype}"


def _bytes(mask: Any) -> NDArray[np.uint8]:
    data = np.asarray(mask)
    if data.dtype != np.uint8:
        raise TypeError(f"mask has dtype {data.dtype}; it must be uint8, one bit a weight (numpy.packbits, bitorder='little')")
    if data.ndim != 1:
        raise ValueError(f"mask has {data.ndim} dimensions; it needs 1")
    return np.ascontiguousarray(data)

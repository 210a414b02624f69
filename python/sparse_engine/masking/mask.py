"""Which weights stay: one bit a weight."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _core


class Mask:
    """One bit for each weight of a tensor; True keeps.

    Args:
        bits: uint8 array, weight i is bit i % 8 of byte i // 8 (`numpy.packbits(..., bitorder="little")`).
        shape: shape of the weight.
    """

    __slots__ = ("bits", "kept", "shape")

    def __init__(self, bits: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
        self.bits = bits
        self.shape = tuple(shape)
        self.kept = _core.count_kept(bits, self.size)

    @classmethod
    def from_numpy(cls, kept: NDArray[np.bool_]) -> "Mask":
        """The mask of a bool array of the weight's shape; the inverse of `to_numpy`."""
        return cls(np.packbits(kept.reshape(-1), bitorder="little"), kept.shape)

    @property
    def size(self) -> int:
        """Number of weights."""
        size = 1
        for side in self.shape:
            size *= side
        return size

    @property
    def density(self) -> float:
        """Share of weights that stay."""
        return self.kept / self.size if self.size else 1.0

    @property
    def nbytes(self) -> int:
        """Memory held, in bytes."""
        return int(self.bits.nbytes)

    def to_numpy(self) -> NDArray[np.bool_]:
        """A new bool array of the weight's shape."""
        return np.unpackbits(self.bits, count=self.size, bitorder="little").view(np.bool_).reshape(self.shape)

    def apply(self, array: NDArray[Any]) -> bool:
        """Write zero into `array` (C-contiguous, the weight's shape, any plain dtype) where the mask is False.

        Returns:
            Whether anything but zero stood there.
        """
        if array.shape != self.shape:
            raise ValueError(f"the mask has shape {self.shape}, the array {array.shape}; they must agree")
        return _core.apply_mask(self.bits, array.reshape(-1))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and self.shape == other.shape and bool(np.array_equal(self.bits, other.bits))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Mask(shape={self.shape}, kept={self.kept}, density={self.density:.4f})"


def keep_largest(scores: NDArray[np.floating], keep: int) -> NDArray[np.bool_]:
    """Mask of the `keep` entries with the largest |score|.

    Exactly `keep` entries are True. Of equal ones those stay that come first in a fixed order, which spreads them evenly: every
    row, which is what one index of the first axis holds, and every column gets its share of them to within one or two. So the
    result depends on neither threads nor instruction set, and what a smaller `keep` gives lies within what a larger one does.

    Args:
        scores: float32 or float64 array, any shape, C-contiguous.
        keep: number of entries to keep, 0 <= keep <= scores.size.
    Returns:
        bool array, shape of `scores`.
    Raises:
        ValueError: `keep` out of range, or NaN among the scores.
        TypeError: `scores` is neither float32 nor float64.
    Source: magnitude pruning, Han et al., NeurIPS 2015.
    """
    if not isinstance(scores, np.ndarray) or scores.dtype not in (np.float32, np.float64):
        raise TypeError(
            f"scores must be a float32 or float64 numpy array, not {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    if keep < 0 or keep > scores.size:
        raise ValueError(f"keep = {keep} is outside [0, {scores.size}], the number of scores")
    flat = np.ascontiguousarray(scores).reshape(-1)
    cols = row_length(scores.shape)
    selector = _core.LargestSelector(flat.size, keep)
    selector.feed(flat, cols)
    while selector.next_pass():
        selector.feed(flat, cols)
    return Mask(selector.mask(flat, cols), scores.shape).to_numpy()


def row_length(shape: tuple[int, ...]) -> int:
    """Entries that one index of the first axis holds; those of an array of one axis are one row."""
    return math.prod(shape[1:]) if len(shape) > 1 else math.prod(shape)

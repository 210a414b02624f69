"""Granularities of blocks of the weight as a matrix. To add one: a frozen class with a word and `block`; nothing else."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import _core
from ..masking.mask import Mask
from .granularity_value import Granularity, Scores, Shape, kernel_shape, matrix_of


class BlockGranularity(Granularity):
    """Whole blocks of the weight as a matrix, ranked by the mean of their scores: as many as fit into `keep` weights."""

    def block(self, shape: Shape) -> tuple[int, int]:
        """Height and width of a block of a weight of `shape`; ValueError saying why such a weight has none."""
        raise AssertionError("every granularity of blocks defines this")

    def refusal(self, shape: Shape) -> str | None:
        """What `block` says."""
        try:
            self.block(shape)
        except ValueError as error:
            return str(error)
        return None

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The largest groups over all layers; one that no longer fits is passed over for smaller ones."""
        views = [(matrix_of(shape), self.block(shape)) for shape in shapes]
        values = [_core.score_groups(s().reshape(-1), *view, norm) for s, view in zip(scores, views, strict=True)]
        sizes = [_core.group_sizes(*view) for view in views]
        grids = [(-(-rows // height), -(-cols // width)) for (rows, cols), (height, width) in views]
        bits, _ = _core.keep_largest_groups(np.concatenate(values), np.concatenate(sizes), grids, keep)
        flags = np.unpackbits(bits, count=sum(map(len, values)), bitorder="little")
        masks, first = [], 0
        for view, shape, own in zip(views, shapes, values, strict=True):
            kept = np.packbits(flags[first : first + len(own)], bitorder="little")
            masks.append(Mask(_core.spread_groups(kept, *view), shape))
            first += len(own)
        return masks


@dataclass(frozen=True, repr=False)
class Blocks(BlockGranularity):
    """Blocks of `height` outputs × `width` columns; those at the edges are smaller.

    Raises:
        ValueError, TypeError: a side that is no whole number of at least 1.
    """

    spelling = 'blocks "AxB" such as "4x1"'
    form = r"(\d+)x(\d+)"

    height: int
    width: int

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"

    def rule(self) -> str | None:
        """Both sides."""
        if self.height >= 1 and self.width >= 1:
            return None
        return "both sides of a block must be at least 1, such as '4x1'"

    @property
    def within_row(self) -> bool:
        """Those one row high."""
        return self.height == 1

    def block(self, shape: Shape) -> tuple[int, int]:
        """Its sides, whatever the shape."""
        return self.height, self.width


@dataclass(frozen=True, repr=False)
class Vector(BlockGranularity, word="vector"):
    """A row of a convolution kernel (Mao et al., CVPR workshops 2017)."""

    within_row = True

    def block(self, shape: Shape) -> tuple[int, int]:
        """1 × kw."""
        return 1, kernel_shape(shape, "vector")[-1]


@dataclass(frozen=True, repr=False)
class Kernel(BlockGranularity, word="kernel"):
    """A whole kernel: what one input channel gives one output channel."""

    within_row = True
    relative_dims = 2

    def block(self, shape: Shape) -> tuple[int, int]:
        """1 × kh·kw."""
        return 1, math.prod(kernel_shape(shape, "kernel"))


@dataclass(frozen=True, repr=False)
class Filter(BlockGranularity, word="filter"):
    """All weights of an output channel of a convolution (Li et al., ICLR 2017)."""

    whole_outputs = True
    relative_dims = 1

    def block(self, shape: Shape) -> tuple[int, int]:
        """A row of a convolution's weight as a matrix."""
        kernel_shape(shape, "filter")
        return 1, max(1, matrix_of(shape)[1])


@dataclass(frozen=True, repr=False)
class Row(BlockGranularity, word="row"):
    """All weights of an output of a linear layer."""

    whole_outputs = True
    relative_dims = 1

    def block(self, shape: Shape) -> tuple[int, int]:
        """A row of a linear layer's weight."""
        if len(shape) != 2:
            raise ValueError('"row" is an output of a linear layer; the output channel of a convolution is a "filter"')
        return 1, max(1, shape[1])

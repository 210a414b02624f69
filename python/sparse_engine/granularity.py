"""What is removed as one. To add a granularity of blocks: one decorated function; nothing else changes.

A weight (out, in, ...) is seen as the matrix (out, in · ...) that native kernels multiply. Most granularities are blocks of
that matrix: a row of a convolution kernel is 1 × kw, a kernel 1 × kh·kw, an output channel a whole row.
"""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from . import _core
from .mask import Mask

# Scores of one layer, made anew at each call so that no two layers need be held at once.
Scores = Callable[[], NDArray[np.float32]]
Shape = tuple[int, ...]
# Shape of a weight -> height and width of a block; ValueError saying why such a weight has none.
Block = Callable[[Shape], tuple[int, int]]

BLOCKS: dict[str, Block] = {}
FORMS = '"element", "N:M" such as "2:4", blocks "AxB" such as "4x1"'


class Granularity:
    """Which weights stay, over one or several layers that are ranked together."""

    def refusal(self, shape: Shape) -> str | None:
        """Why a weight of `shape` cannot be pruned so, or None."""
        return None

    def fixed(self, size: int) -> int | None:
        """How many of `size` weights stay, where the granularity alone decides that."""
        return None

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """A mask per layer, `keep` weights over all of them."""
        raise AssertionError("every granularity defines this")


class Element(Granularity):
    """Single weights: exactly `keep` of the largest magnitudes; ties keep the earliest layer, then the lowest index."""

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The largest scores over all layers."""
        selector = _core.LargestSelector(sum(math.prod(shape) for shape in shapes), keep)
        more = True
        while more:
            for layer in scores:
                selector.feed(layer().reshape(-1))
            more = selector.next_pass()
        return [Mask(selector.mask(layer().reshape(-1)), shape) for layer, shape in zip(scores, shapes, strict=True)]


class Blocks(Granularity):
    """Whole blocks, ranked by the mean of their scores: as many as fit into `keep` weights."""

    def __init__(self, block: Block) -> None:
        self.block = block

    def refusal(self, shape: Shape) -> str | None:
        """What the function of the granularity says."""
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
        bits, _ = _core.keep_largest_groups(np.concatenate(values), np.concatenate(sizes), keep)
        flags = np.unpackbits(bits, count=sum(map(len, values)), bitorder="little")
        masks, first = [], 0
        for view, shape, own in zip(views, shapes, values, strict=True):
            kept = np.packbits(flags[first : first + len(own)], bitorder="little")
            masks.append(Mask(_core.spread_groups(kept, *view), shape))
            first += len(own)
        return masks


class NofM(Granularity):
    """The n largest of every m neighbours along the input dimension: the share that stays is n / m in every layer.

    Source: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.
    """

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m

    def refusal(self, shape: Shape) -> str | None:
        """Rows must fall into groups."""
        cols = matrix_of(shape)[1]
        return None if cols % self.m == 0 else f"its rows of {cols} weights do not fall into groups of {self.m}"

    def fixed(self, size: int) -> int | None:
        """n / m of them."""
        return size // self.m * self.n

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The same in every layer, whatever the others hold."""
        return [
            Mask(_core.keep_n_of_m(s().reshape(-1), matrix_of(shape), self.n, self.m), shape)
            for s, shape in zip(scores, shapes, strict=True)
        ]


class Channels(Granularity):
    """Units of output channels, removed for good; channels.py chooses them, over whole models."""


def matrix_of(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix."""
    return shape[0], math.prod(shape[1:])


def granularity(name: str) -> Callable[[Block], Block]:
    """Register a function from the shape of a weight to the height and width of its blocks."""

    def register(function: Block) -> Block:
        BLOCKS[name] = function
        return function

    return register


@granularity("vector")
def vector(shape: Shape) -> tuple[int, int]:
    """A row of a convolution kernel (Mao et al., CVPR workshops 2017)."""
    return 1, _kernel(shape, "vector")[-1]


@granularity("kernel")
def kernel(shape: Shape) -> tuple[int, int]:
    """A whole kernel: what one input channel gives one output channel."""
    return 1, math.prod(_kernel(shape, "kernel"))


@granularity("filter")
def filter_(shape: Shape) -> tuple[int, int]:
    """All weights of an output channel of a convolution (Li et al., ICLR 2017)."""
    _kernel(shape, "filter")
    return 1, max(1, matrix_of(shape)[1])


@granularity("row")
def row(shape: Shape) -> tuple[int, int]:
    """All weights of an output of a linear layer."""
    if len(shape) != 2:
        raise ValueError('"row" is an output of a linear layer; the output channel of a convolution is a "filter"')
    return 1, max(1, shape[1])


def granularity_of(text: object) -> Granularity:
    """The granularity that `text` names.

    Raises:
        ValueError: it names none.
    """
    if text == "element":
        return Element()
    if text == "channel":
        return Channels()
    if isinstance(text, str):
        if text in BLOCKS:
            return Blocks(BLOCKS[text])
        of = re.fullmatch(r"(\d+):(\d+)", text)
        if of:
            n, m = int(of[1]), int(of[2])
            if not (0 < n < m <= 16):
                raise ValueError(f"granularity = {text!r}: n of m neighbours stay, 0 < n < m <= 16, such as '2:4'")
            return NofM(n, m)
        block = re.fullmatch(r"(\d+)x(\d+)", text)
        if block:
            height, width = int(block[1]), int(block[2])
            if height < 1 or width < 1:
                raise ValueError(f"granularity = {text!r}: both sides of a block must be at least 1, such as '4x1'")
            return Blocks(lambda shape: (height, width))
    known = ", ".join(f'"{name}"' for name in (*BLOCKS, "channel"))
    raise ValueError(f"granularity = {text!r} is not one of: {FORMS}, {known}")


def _kernel(shape: Shape, name: str) -> Shape:
    if len(shape) < 3:
        raise ValueError(f'a linear layer has no "{name}"; use "row", "element" or blocks such as "4x1"')
    return shape[2:]

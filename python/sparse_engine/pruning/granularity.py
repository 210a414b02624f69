"""What is removed as one. To add a granularity of blocks: one decorated function; nothing else changes.

A weight (out, in, ...) is seen as the matrix (out, in · ...) that native kernels multiply. Most granularities are blocks of
that matrix: a row of a convolution kernel is 1 × kw, a kernel 1 × kh·kw, an output channel a whole row.
"""

import math
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..masking.mask import Mask, row_length

# Scores of one layer, made anew at each call so that no two layers need be held at once: float32, or float64 for all layers.
Scores = Callable[[], NDArray[np.floating]]
Shape = tuple[int, ...]
# Shape of a weight -> height and width of a block; ValueError saying why such a weight has none.
Block = Callable[[Shape], tuple[int, int]]

BLOCKS: dict[str, Block] = {}
WITHIN_ROW: set[str] = set()  # the names of those whose blocks are a part of one row
FORMS = '"element", "N:M" such as "2:4", blocks "AxB" such as "4x1", "pattern" or "pattern:N:D"'


class Granularity:
    """Which weights stay, over one or several layers that are ranked together."""

    fixes: str | None = None  # what it removes, where it alone decides the amount
    share: float | None = None  # and the share of a layer that stays, where that is the same for all
    within_row = False  # whether what goes as one lies in one row of the weight as a matrix, and is not all of it

    def refusal(self, shape: Shape) -> str | None:
        """Why a weight of `shape` cannot be pruned so, or None."""
        return None

    def fixed(self, shape: Shape) -> int | None:
        """How many weights of `shape` stay, where the granularity alone decides that."""
        return None

    def least(self, shape: Shape) -> int:
        """How many weights of `shape` stay, whatever is asked for."""
        return 0

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """A mask per layer, `keep` weights over all of them."""
        raise AssertionError("every granularity defines this")


class Element(Granularity):
    """Single weights: exactly `keep` of the largest magnitudes; equal ones stay spread over layers, rows and columns."""

    within_row = True

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The largest scores over all layers."""
        selector = _core.LargestSelector(sum(math.prod(shape) for shape in shapes), keep)
        ranked = list(zip(scores, shapes, strict=True))
        more = True
        while more:
            for layer, shape in ranked:
                selector.feed(layer().reshape(-1), row_length(shape))
            more = selector.next_pass()
        return [Mask(selector.mask(layer().reshape(-1), row_length(shape)), shape) for layer, shape in ranked]


class Blocks(Granularity):
    """Whole blocks, ranked by the mean of their scores: as many as fit into `keep` weights."""

    def __init__(self, block: Block, within_row: bool = False) -> None:
        self.block, self.within_row = block, within_row

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
        grids = [(-(-rows // height), -(-cols // width)) for (rows, cols), (height, width) in views]
        bits, _ = _core.keep_largest_groups(np.concatenate(values), np.concatenate(sizes), grids, keep)
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
        self.share = n / m
        self.within_row = True
        self.fixes = f"removes {1 - self.share:.4g} of every layer"

    def refusal(self, shape: Shape) -> str | None:
        """Rows must fall into groups."""
        cols = matrix_of(shape)[1]
        return None if cols % self.m == 0 else f"its rows of {cols} weights do not fall into groups of {self.m}"

    def fixed(self, shape: Shape) -> int | None:
        """n / m of them."""
        return math.prod(shape) // self.m * self.n

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The same in every layer, whatever the others hold."""
        return [
            Mask(_core.keep_n_of_m(s().reshape(-1), matrix_of(shape), self.n, self.m), shape)
            for s, shape in zip(scores, shapes, strict=True)
        ]


class Pattern(Granularity):
    """n positions of every convolution kernel, which ones being one of few patterns that the kernels of a layer share.

    The patterns are the `size` sets of positions that are the best n, by score, of most kernels of the layer; every kernel
    then takes the one of them that keeps most of it.

    Source: Tan et al., "PCNN", DAC 2020; Niu et al., "PatDNN", ASPLOS 2020.
    """

    def __init__(self, n: int, size: int) -> None:
        self.n, self.size = n, size
        self.fixes = f"keeps {n} weights of every kernel"

    def refusal(self, shape: Shape) -> str | None:
        """Kernels must have more positions than stay, and no more than a pattern has bits."""
        try:
            positions = math.prod(_kernel(shape, "pattern"))
        except ValueError as error:
            return str(error)
        if self.n < positions <= 64:
            return None
        return f"its kernels have {positions} positions; patterns of {self.n} need {self.n + 1} to 64"

    def fixed(self, shape: Shape) -> int | None:
        """n of every kernel."""
        return shape[0] * shape[1] * self.n

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """A dictionary and a mask for each layer, whatever the others hold."""
        masks = []
        for layer, shape in zip(scores, shapes, strict=True):
            flat, positions = layer().reshape(-1), math.prod(shape[2:])
            dictionary = _core.frequent_patterns(flat, positions, self.n, self.size)
            masks.append(Mask(_core.keep_patterns(flat, positions, dictionary, norm), shape))
        return masks


class Head(Granularity):
    """Attention heads, a row of the ranked weight each: as many as fit, and at least the best one of every layer.

    Source: Michel, Levy, Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019.
    """

    def least(self, shape: Shape) -> int:
        """A head."""
        return shape[1]

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """The largest means, or roots of mean squares, over all layers."""
        views = [matrix_of(shape) for shape in shapes]
        worth = [_core.score_groups(s().reshape(-1), v, (1, v[1]), norm) for s, v in zip(scores, views, strict=True)]
        sizes = np.concatenate([_core.group_sizes(v, (1, v[1])) for v in views])
        first = np.cumsum([0, *map(len, worth)])
        stays = np.zeros(len(sizes), np.bool_)
        stays[[begin + int(np.argmax(own)) for begin, own in zip(first[:-1], worth, strict=True)]] = True
        others, left = np.flatnonzero(~stays), max(0, keep - int(sizes[stays].sum()))
        grids = [(len(own) - 1, 1) for own in worth]
        bits, _ = _core.keep_largest_groups(np.concatenate(worth)[others], sizes[others], grids, left)
        stays[others] = np.unpackbits(bits, count=len(others), bitorder="little").view(np.bool_)
        return [
            Mask.from_numpy(np.repeat(stays[begin : begin + heads, None], width, axis=1))
            for begin, (heads, width) in zip(first[:-1], views, strict=True)
        ]


class Channels(Granularity):
    """Units of output channels, removed for good; channels.py chooses them, over whole models."""


def matrix_of(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix."""
    return shape[0], math.prod(shape[1:])


def granularity(name: str, within_row: bool = False) -> Callable[[Block], Block]:
    """Register a function from the shape of a weight to the height and width of its blocks."""

    def register(function: Block) -> Block:
        BLOCKS[name] = function
        if within_row:
            WITHIN_ROW.add(name)
        return function

    return register


@granularity("vector", within_row=True)
def vector(shape: Shape) -> tuple[int, int]:
    """A row of a convolution kernel (Mao et al., CVPR workshops 2017)."""
    return 1, _kernel(shape, "vector")[-1]


@granularity("kernel", within_row=True)
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
    if text == "head":
        return Head()
    if isinstance(text, str):
        if text in BLOCKS:
            return Blocks(BLOCKS[text], text in WITHIN_ROW)
        of = re.fullmatch(r"(\d+):(\d+)", text)
        if of:
            n, m = int(of[1]), int(of[2])
            if not (0 < n < m <= 16):
                raise ValueError(f"granularity = {text!r}: n of m neighbours stay, 0 < n < m <= 16, such as '2:4'")
            return NofM(n, m)
        pattern = re.fullmatch(r"pattern(?::(\d+)(?::(\d+))?)?", text)
        if pattern:
            n, size = int(pattern[1] or 4), int(pattern[2] or 8)
            if not (0 < n < 64 and size > 0):
                raise ValueError(
                    f"granularity = {text!r}: N of a kernel's positions stay, 0 < N < 64, after one of D patterns, 0 < D, such "
                    f"as 'pattern:4:8', which 'pattern' means"
                )
            return Pattern(n, size)
        block = re.fullmatch(r"(\d+)x(\d+)", text)
        if block:
            height, width = int(block[1]), int(block[2])
            if height < 1 or width < 1:
                raise ValueError(f"granularity = {text!r}: both sides of a block must be at least 1, such as '4x1'")
            return Blocks(lambda shape: (height, width), height == 1)
    known = ", ".join(f'"{name}"' for name in (*BLOCKS, "channel", "head"))
    raise ValueError(f"granularity = {text!r} is not one of: {FORMS}, {known}")


def _kernel(shape: Shape, name: str) -> Shape:
    if len(shape) < 3:
        raise ValueError(f'a linear layer has no "{name}"; use "row", "element" or blocks such as "4x1"')
    return shape[2:]

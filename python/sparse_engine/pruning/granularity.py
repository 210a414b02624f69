"""Granularities that are not blocks, and `granularity_of`, which reads the words of all."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import _core
from ..masking.mask import Mask, row_length
from . import blocks  # noqa: F401  it fills the table of words
from .granularity_value import FORMS, WORDS, Granularity, Scores, Shape, kernel_shape, matrix_of


@dataclass(frozen=True, repr=False)
class Element(Granularity, word="element"):
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


@dataclass(frozen=True, repr=False)
class NofM(Granularity):
    """The n largest of every m neighbours along the input dimension: the share that stays is n / m in every layer.

    Raises:
        ValueError, TypeError: not whole numbers with 0 < n < m <= 16.
    Source: Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021.
    """

    spelling = '"N:M" such as "2:4"'
    form = r"(\d+):(\d+)"
    within_row = True

    n: int
    m: int

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"

    def rule(self) -> str | None:
        """0 < n < m <= 16."""
        return None if 0 < self.n < self.m <= 16 else "n of m neighbours stay, 0 < n < m <= 16, such as '2:4'"

    @property
    def fixes(self) -> str | None:
        """The others of every m."""
        return f"removes {1 - self.share:.4g} of every layer"

    @property
    def share(self) -> float:
        """n / m."""
        return self.n / self.m

    def refusal(self, shape: Shape) -> str | None:
        """Rows must fall into groups."""
        cols = matrix_of(shape)[1]
        return None if cols % self.m == 0 else f"its rows of {cols} weights do not fall into groups of {self.m}"

    def fixed(self, shape: Shape) -> int | None:
        """n / m of them."""
        return math.prod(shape) // self.m * self.n

    def pick(self, scores: Sequence[Scores], shapes: Sequence[Shape], keep: int, norm: _core.Norm) -> list[Mask]:
        """n of every m in each layer by itself; `keep` is what `fixed` gives."""
        return [
            Mask(_core.keep_n_of_m(s().reshape(-1), matrix_of(shape), self.n, self.m), shape)
            for s, shape in zip(scores, shapes, strict=True)
        ]


@dataclass(frozen=True, repr=False)
class Pattern(Granularity):
    """n positions of every convolution kernel, which ones being one of few patterns that the kernels of a layer share.

    The patterns are the `size` sets of positions that are the best n, by score, of most kernels of the layer; every kernel
    then takes the one of them that keeps most of it.

    Raises:
        ValueError, TypeError: not whole numbers with 0 < n < 64 and 0 < size.
    Source: Tan et al., "PCNN", DAC 2020; Niu et al., "PatDNN", ASPLOS 2020.
    """

    spelling = '"pattern" or "pattern:N:D"'
    form = r"pattern(?::(\d+)(?::(\d+))?)?"

    n: int = 4
    size: int = 8

    def __str__(self) -> str:
        return "pattern" if self == Pattern() else f"pattern:{self.n}:{self.size}"

    def rule(self) -> str | None:
        """0 < n < 64, 0 < size."""
        if 0 < self.n < 64 and self.size > 0:
            return None
        return (
            "N of a kernel's positions stay, 0 < N < 64, after one of D patterns, 0 < D, such as 'pattern:4:8', which "
            "'pattern' means"
        )

    @property
    def fixes(self) -> str | None:
        """The others of every kernel."""
        return f"keeps {self.n} weights of every kernel"

    def refusal(self, shape: Shape) -> str | None:
        """Kernels must have more positions than stay, and no more than a pattern has bits."""
        try:
            positions = math.prod(kernel_shape(shape, "pattern"))
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


@dataclass(frozen=True, repr=False)
class Head(Granularity, word="head"):
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


@dataclass(frozen=True, repr=False)
class Channels(Granularity, word="channel"):
    """Units of output channels, removed for good: `channels/select.py` chooses them, over whole models."""

    whole_outputs = True


def granularity_of(value: object) -> Granularity:
    """The granularity that a word names, or `value` itself where it is one.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, Granularity):
        return value
    if isinstance(value, str):
        if value in WORDS:
            return WORDS[value]()
        for kind in FORMS:
            found = re.fullmatch(kind.form or "", value)
            if found:
                return kind(*(int(number) for number in found.groups() if number is not None))
    forms, words = ", ".join(kind.spelling for kind in FORMS), ", ".join(f'"{word}"' for word in WORDS)
    raise ValueError(f"granularity = {value!r} is not one of: {words}, {forms}; nor a value such as engine.NofM(2, 4)")

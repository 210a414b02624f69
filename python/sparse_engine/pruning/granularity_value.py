"""`Granularity`, what is removed as one: small frozen values, each with a word.

A weight (out, in, ...) is seen as the matrix (out, in · ...) that native kernels multiply. Most granularities are blocks of
that matrix: a row of a convolution kernel is 1 × kw, a kernel 1 × kh·kw, an output channel a whole row.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from ..masking.mask import Mask

# Scores of one prune target, made anew at each call so that no two need be held at once: float32, or float64 for all.
Scores = Callable[[], NDArray[np.floating]]
Shape = tuple[int, ...]

WORDS: "dict[str, type[Granularity]]" = {}  # of those without numbers
FORMS: "list[type[Granularity]]" = []  # those with numbers, told by their form


class Granularity:
    """Which weights stay, over one or several prune targets that are ranked together.

    A value equals another of its class and numbers, and prints as its word, which `Spec` takes as well. A subclass is a
    frozen dataclass of whole numbers, with `word="filter"`, or with a `form`, an expression that gives the numbers.
    """

    spelling: ClassVar[str] = ""  # how messages call its words
    form: ClassVar[str | None] = None
    whole_outputs: ClassVar[bool] = False  # whether what goes as one is an output
    # Leading dimensions of a weight that count its groups, where these are compared relative to the mean of their layer.
    relative_dims: ClassVar[int] = 0

    def __init_subclass__(cls, word: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        if word:
            cls.spelling = word
            WORDS[word] = cls
        elif cls.form is not None:
            FORMS.append(cls)

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if not isinstance(value, Integral) or isinstance(value, bool):
                raise TypeError(f"{type(self).__name__}: {field.name} = {value!r} is not a whole number, as in {self.spelling}")
            object.__setattr__(self, field.name, int(value))
        if (rule := self.rule()) is not None:
            raise ValueError(f"granularity = {self!r}: {rule}")

    def __str__(self) -> str:
        return self.spelling

    def __repr__(self) -> str:
        return repr(str(self))

    def rule(self) -> str | None:
        """What its numbers break, with an example of some that do not, or None."""
        return None

    @property
    def within_row(self) -> bool:
        """Whether what goes as one lies in one row of the weight as a matrix, and is not all of it."""
        return False

    @property
    def fixes(self) -> str | None:
        """What it removes, where it alone decides the budget."""
        return None

    @property
    def share(self) -> float | None:
        """The share of a layer that stays, where it alone decides that and it is the same for all."""
        return None

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


def matrix_of(shape: Shape) -> tuple[int, int]:
    """Rows and columns of a weight as a matrix."""
    return shape[0], math.prod(shape[1:])


def kernel_shape(shape: Shape, word: str) -> Shape:
    """The kernel's sides; ValueError of a linear layer, which has none to be pruned by `word`."""
    if len(shape) < 3:
        raise ValueError(f'a linear layer has no "{word}"; use "row", "element" or blocks such as "4x1"')
    return shape[2:]

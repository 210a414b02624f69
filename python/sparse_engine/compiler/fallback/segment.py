"""What a model is made of where parts of it run in another runtime."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..unsupported import Refused

COMPILED = "compiled"


@dataclass(frozen=True)
class Contents:
    """What a segment does.

    Attributes:
        reads, makes: names of values, in the order they are given and returned.
        operations: by name, with how often they occur.
        refused: those that are not covered. The others are there because they lie between, and hold no product.
        multiply_adds: at the batch that was looked at; they are compared with one another.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    operations: "Counter[str]" = field(default_factory=Counter)
    refused: tuple[Refused, ...] = ()
    multiply_adds: int = 0

    @property
    def names(self) -> "Counter[str]":
        """Those of `operations` that are not covered."""
        return Counter(one.operation for one in self.refused)


class Segment(ABC):
    """A part of a model. Any number of threads may run it at once.

    Attributes:
        runtime: "compiled", "torch" or "onnxruntime".
        contents: what it does.
    """

    runtime: str

    def __init__(self, contents: Contents) -> None:
        self.contents = contents

    @abstractmethod
    def enter(self, values: Sequence[Any]) -> list[Any]:
        """Values of other segments, arrays or tensors, as this one takes them."""

    @abstractmethod
    def run(self, batch: int, given: list[Any]) -> list[Any]:
        """The results of what `enter` returned, in the order of `contents.makes`."""

    @abstractmethod
    def with_threads(self, threads: int) -> "Segment":
        """The same with another number of threads a call."""

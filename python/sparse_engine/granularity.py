"""What is removed as one. To add a granularity: one decorated function; nothing else changes."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from . import _core
from .mask import Mask

# Scores of one layer, made anew at each call so that no two layers need be held at once.
Scores = Callable[[], NDArray[np.float32]]
# (scores of each layer, their shapes, number of weights that stay over all of them) -> a mask for each layer
Granularity = Callable[[Sequence[Scores], Sequence[tuple[int, ...]], int], list[Mask]]

GRANULARITIES: dict[str, Granularity] = {}


def granularity(name: str) -> Callable[[Granularity], Granularity]:
    """Register a function that picks, over one or several layers together, which weights stay."""

    def register(function: Granularity) -> Granularity:
        GRANULARITIES[name] = function
        return function

    return register


@granularity("element")
def element(scores: Sequence[Scores], shapes: Sequence[tuple[int, ...]], keep: int) -> list[Mask]:
    """Single weights: the `keep` largest scores over all layers; ties keep the earliest layer, then the lowest index."""
    total = sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)
    selector = _core.LargestSelector(total, keep)
    more = True
    while more:
        for layer in scores:
            selector.feed(layer().reshape(-1))
        more = selector.next_pass()
    return [Mask(selector.mask(layer().reshape(-1)), shape) for layer, shape in zip(scores, shapes, strict=True)]

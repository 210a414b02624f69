"""Bisection over a stretch of numbers; for whole numbers `bisect` of the standard library does it, by its `key`."""

from collections.abc import Callable


def bisected(low: float, high: float, ends: Callable[[float], bool], times: int) -> float:
    """The largest tried number, from `low` on, at which `ends` does not hold; it holds from somewhere below `high` on.

    `ends` is asked `times` times, each time in the middle of what is left, so that the answer is exact to
    (high - low) / 2**times. Neither bound is asked about.
    """
    for _ in range(times):
        middle = (low + high) / 2
        if ends(middle):
            high = middle
        else:
            low = middle
    return low

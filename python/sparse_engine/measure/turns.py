"""Calls timed in turns: whatever else the machine does falls on all of them alike."""

import time
from collections.abc import Callable, Sequence


def taking_turns(
    calls: Sequence[Callable[[], object]], rounds: int, at_once: int = 1, *, warm_up: bool = True
) -> list[list[float]]:
    """Seconds of every timed call of each of `calls`.

    Args:
        rounds: turns of each.
        at_once: timed calls in a turn. With more than one, an untimed call opens the turn: it brings what it reads back into
            the caches, and so the median is of what a call finds that follows its like.
        warm_up: call each of them once before anything is timed.
    """
    if warm_up:
        for call in calls:
            call()
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds):
        for call, times in zip(calls, seconds, strict=True):
            if at_once > 1:
                call()
            for _ in range(at_once):
                start = time.perf_counter()
                call()
                times.append(time.perf_counter() - start)
    return seconds

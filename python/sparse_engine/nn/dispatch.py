"""Which kernel: each layer times its candidates, dense included, on its first inputs of a size and keeps the fastest one.

Timing is bounded. A call that decides may take about three times as long as a dense one, whatever is not known by then is
measured in later calls, and sizes near one that was measured take over its decision. A decision is looked at again after some
hundred calls, then ever more rarely, because the moment it was taken in may have been a disturbed one.
"""

import math
import os
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .. import _core
from ..measure.settling import is_settling
from .formats import DENSE, NARROW_COLUMNS
from .value_types import name_of

# Native must win by this much: a tie goes to dense, so that a pruned layer is not slower than it was.
MARGIN = 0.95
# And by this much where the cost model would not have thought so: what disturbs all rounds alike would decide.
MARGIN_AGAINST_MODEL = 0.85
# One round is enough outside these ratios, three outside those; between, one disturbed round would decide: look longer.
CLEAR = (0.6, 1.6)
CLOSE = (0.75, 1.15)
ROUNDS = 3
ROUNDS_WHEN_CLOSE = 9
# Short calls are timed some at a time: one of some microseconds says more about the machine than about itself.
SHORTEST_SECONDS = 0.1e-3
MOST_CALLS = 8
# What a call may spend on finding out, in dense calls and in seconds, whichever is more.
MOST_DENSE_CALLS = 2.75
MOST_SECONDS = 0.5e-3
SHARED_WITHIN = 2.0  # sizes that far apart share a decision
FIRST_LOOK_BACK = 200  # calls after which a decision is looked at again; then twice as many, and so on
MAX_REMEMBERED = 4096


@dataclass
class Choice:
    """What was decided for a bucket, and the median seconds a call it rests on; without any the cost model decided."""

    kernel: str
    seconds: Mapping[str, float]
    left: float = field(default=math.inf, compare=False, repr=False)  # calls until it is looked at again
    interval: int = field(default=FIRST_LOOK_BACK, compare=False, repr=False)

    @property
    def native(self) -> bool:
        """Whether a native kernel was chosen."""
        return self.kernel != DENSE


Ways = Mapping[str, Callable[[], Any]]
Where = tuple[int, int, str, str]  # threads of torch, threads here, instruction set, what values are
Bucket = tuple[tuple[int, ...], int, int, str, str]  # sizes, and where


def timing_enabled() -> bool:
    """False with SPARSE_ENGINE_AUTOTUNE=off: the cost model decides alone, the same way every time."""
    value = os.environ.get("SPARSE_ENGINE_AUTOTUNE", "on")
    if value not in ("on", "off"):
        raise ValueError(f"SPARSE_ENGINE_AUTOTUNE = '{value}' is neither 'on' nor 'off'")
    return value == "on"


class Trial:
    """Seconds of each way, measured a little in every call until they tell which is fastest.

    Attributes:
        mine: held while a call measures, so that no other thread disturbs it. The same thread may come again: a way may call
            the layer that it is a way of.
    """

    def __init__(self) -> None:
        self.mine = threading.RLock()
        self.first: dict[str, float] = {}  # of the first call, which packs, or has torch prepare for a size
        self.seconds: dict[str, list[float]] = {}  # of all later ones

    def run(self, ways: Ways, modelled: str, bounded: bool) -> "tuple[Choice | None, str, Any]":
        """Measure until it is decided, or this call took long enough.

        Returns:
            The decision or None, the way that seems best so far, and what its last call gave.
        """
        results: dict[str, Any] = {}
        start = time.perf_counter()
        while (decided := self._decided(ways, modelled)) is None:
            way = self._next(ways, modelled)
            if bounded and results and time.perf_counter() - start + self._expected(way) > self._limit():
                break
            results[way] = self._time(way, ways[way])
        best = decided.kernel if decided is not None else self.best_so_far(modelled)
        return decided, best, results.get(best)

    def _next(self, ways: Ways, modelled: str) -> str:
        # Dense first: everything else is held against it, and bounded by it.
        if DENSE not in self.first:
            return DENSE
        calls = {way: (way in self.first) + len(self.seconds.get(way, ())) for way in ways}
        return min(ways, key=lambda way: (calls[way], way != modelled))

    def _dense(self) -> float:
        return min(self.seconds.get(DENSE) or [self.first[DENSE]])

    def _expected(self, way: str) -> float:
        times = self.seconds.get(way)
        return min(times) if times else min(self.first.get(way, self._dense()), self._dense())

    def _limit(self) -> float:
        return max(MOST_DENSE_CALLS * self._dense(), MOST_SECONDS)

    def _time(self, way: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = call()
        taken, calls = time.perf_counter() - start, 1
        if way not in self.first:
            self.first[way] = taken
            return result
        if taken < SHORTEST_SECONDS:
            calls = max(1, min(MOST_CALLS, int(SHORTEST_SECONDS / max(taken, 1e-9))))
            start = time.perf_counter()
            for _ in range(calls):
                result = call()
            taken = time.perf_counter() - start
        self.seconds.setdefault(way, []).append(taken / calls)
        return result

    def medians(self) -> dict[str, float]:
        """Median seconds of each way that was measured."""
        return {way: statistics.median(times) for way, times in tuple(self.seconds.items())}

    def _decided(self, ways: Ways, modelled: str) -> Choice | None:
        if len(ways) == 1:
            return Choice(DENSE, {})
        medians = self.medians()
        if any(way not in medians for way in ways):
            return None
        best = min((way for way in ways if way != DENSE), key=medians.__getitem__)
        ratio = medians[best] / medians[DENSE]
        needed = 1
        if CLEAR[0] < ratio < CLEAR[1] or (ratio < 1) != (modelled != DENSE):
            needed = ROUNDS
        if CLOSE[0] < ratio < CLOSE[1]:
            needed = ROUNDS_WHEN_CLOSE
        if min(len(self.seconds[best]), len(self.seconds[DENSE])) < needed:
            return None
        return Choice(_fastest(medians, best, modelled), medians)

    def best_so_far(self, modelled: str) -> str:
        """The way to take until it is decided."""
        medians = self.medians()
        if DENSE in medians and len(medians) > 1:
            return _fastest(medians, min((way for way in medians if way != DENSE), key=medians.__getitem__), modelled)
        return DENSE


def _fastest(medians: Mapping[str, float], best: str, modelled: str) -> str:
    margin = MARGIN if modelled != DENSE else MARGIN_AGAINST_MODEL
    return best if medians[best] < margin * medians[DENSE] else DENSE


def _measure(trial: Trial, ways: Ways, modelled: str, bounded: bool) -> "tuple[Choice | None, str, Any]":
    """Where tests step in."""
    return trial.run(ways, modelled, bounded)


class Choices:
    """The decisions of one layer, by input size and number of threads.

    A decision is published once, when it is taken. Until then what was measured is known to its trial alone: a call that fails
    or is interrupted decides nothing, and other threads that call meanwhile take the way that is best so far.
    """

    def __init__(self) -> None:
        # By shape, threads and what values are, as they came: the fast look-up.
        self.exact: dict[tuple[tuple[int, ...], int, torch.dtype], Choice] = {}
        self.buckets: dict[Bucket, Choice] = {}
        self._trials: dict[Bucket, Trial] = {}

    def decide(
        self,
        shape: tuple[int, ...],
        size: tuple[int, ...],
        ways: Ways,
        modelled: str,
        dtype: torch.dtype = torch.float32,
    ) -> "tuple[str, Any]":
        """The kernel for an input of `shape`, whose bucket is that of `size`, and its result where one was computed.

        Args:
            ways: calls by kernel, dense among them.
            modelled: what the cost model takes.
            dtype: what values are; each type decides for itself.
        """
        threads = torch.get_num_threads()
        where: Where = (threads, _core.num_threads(), _core.isa(), name_of(dtype))
        bucket: Bucket = (tuple(map(bucket_of, size)), *where)
        choice = self.buckets.get(bucket)
        result: Any = None
        unbounded = is_settling()
        if choice is None and not timing_enabled():
            choice = self.buckets[bucket] = Choice(modelled, {})
        elif choice is None and bucket not in self._trials and not unbounded:
            choice = self._nearest(size, where)
        if choice is None:
            trial = self._trials.setdefault(bucket, Trial())
            if not trial.mine.acquire(blocking=unbounded):
                return trial.best_so_far(modelled), None
            try:
                choice = self.buckets.get(bucket)  # of who had the trial before
                if choice is None:
                    choice, kernel, result = _measure(trial, ways, modelled, not unbounded)
                    if choice is None:
                        return kernel, result
                    choice.left = math.inf if unbounded or len(ways) == 1 else choice.interval
                    self.buckets[bucket] = choice
                    self._trials.clear()  # what is near takes over this decision, and what is far begins again
            finally:
                trial.mine.release()
        if len(self.exact) >= MAX_REMEMBERED:
            self.exact.clear()
        self.exact[(shape, threads, dtype)] = choice
        return choice.kernel, result

    @property
    def undecided(self) -> bool:
        """Whether something is being measured."""
        return bool(self._trials)

    def look_again(self, choice: Choice, ways: Ways) -> Any:
        """Time the chosen way and the one it is held against once more; what looks wrong is decided anew.

        Returns:
            The result of the chosen way.
        """
        choice.interval *= 2
        choice.left = choice.interval
        native = [way for way in choice.seconds if way in ways and way != DENSE]
        if not native:
            return ways[choice.kernel]()
        other = DENSE if choice.native else min(native, key=choice.seconds.__getitem__)
        taken = {}
        for way in (other, choice.kernel):
            ways[way]()  # packs, warms up
            start = time.perf_counter()
            result = ways[way]()
            taken[way] = time.perf_counter() - start
        if taken[other] < MARGIN_AGAINST_MODEL * taken[choice.kernel]:
            self.forget(choice)
        return result

    def forget(self, choice: Choice) -> None:
        """Decide anew what `choice` said."""
        self.buckets = {bucket: other for bucket, other in tuple(self.buckets.items()) if other is not choice}
        self.exact = {key: other for key, other in tuple(self.exact.items()) if other is not choice}

    def clear(self) -> None:
        """Decide anew from here on."""
        self.exact.clear()
        self.buckets.clear()
        self._trials.clear()

    def put_back(self, buckets: Mapping[Bucket, Choice]) -> None:
        """Take up `buckets`, decided before, in place of all that is decided now."""
        self.clear()
        self.buckets.update(buckets)

    def _nearest(self, size: tuple[int, ...], where: Where) -> Choice | None:
        """The decision for a size near enough, if there is one."""
        near: dict[float, Choice] = {}
        for (other, *its), choice in tuple(self.buckets.items()):  # other threads may add to it
            if tuple(its) != where or len(other) != len(size):
                continue
            if any((a <= NARROW_COLUMNS) != (b <= NARROW_COLUMNS) for a, b in zip(size, other, strict=True)):
                continue
            apart = max(max(a, b) / max(1, min(a, b)) for a, b in zip(size, other, strict=True))
            if apart <= SHARED_WITHIN:
                near[apart] = choice
        return near[min(near)] if near else None


def bucket_of(count: int) -> int:
    """Sizes that share a decision: each its own up to 16, then four buckets to each doubling."""
    if count <= 16:
        return count
    shift = count.bit_length() - 3
    return (count >> shift) << shift

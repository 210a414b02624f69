"""Which kernel: each layer times its candidates, dense included, once per bucket of input sizes and keeps the fastest."""

import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from . import _core
from .formats import DENSE

# Native must win by this much: a tie goes to dense, so that a pruned layer is not slower than it was.
MARGIN = 0.95
# And by this much where the cost model would not have thought so: what disturbs all rounds alike would decide.
MARGIN_AGAINST_MODEL = 0.85
ROUNDS = 3
# Where the two are within these ratios of each other, one disturbed round would decide: look longer.
CLOSE = (0.75, 1.15)
ROUNDS_WHEN_CLOSE = 9
# Short calls are timed some at a time: one of some microseconds says more about the machine than about itself.
SHORTEST_SECONDS = 0.5e-3
MOST_CALLS = 16
MAX_REMEMBERED = 4096


@dataclass(frozen=True)
class Choice:
    """What was decided for a bucket, and the median seconds a call it rests on; without any the cost model decided."""

    kernel: str
    seconds: Mapping[str, float]

    @property
    def native(self) -> bool:
        """Whether a native kernel was chosen."""
        return self.kernel != DENSE


Bucket = tuple[tuple[int, ...], int, int, str]  # sizes, threads of torch, threads here, instruction set


def timing_enabled() -> bool:
    """False with SPARSE_ENGINE_AUTOTUNE=off: the cost model decides alone, the same way every time."""
    value = os.environ.get("SPARSE_ENGINE_AUTOTUNE", "on")
    if value not in ("on", "off"):
        raise ValueError(f"SPARSE_ENGINE_AUTOTUNE = '{value}' is neither 'on' nor 'off'")
    return value == "on"


class Choices:
    """The decisions of one layer, by input size and number of threads."""

    def __init__(self) -> None:
        self.exact: dict[tuple[tuple[int, ...], int], Choice] = {}  # by shape and threads as they came: the fast look-up
        self.buckets: dict[Bucket, Choice] = {}

    def decide(
        self, shape: tuple[int, ...], size: tuple[int, ...], ways: Mapping[str, Callable[[], object]], modelled: str
    ) -> Choice:
        """The decision for an input of `shape`, whose bucket is that of `size`; all `ways` are timed when it is new.

        `ways` are calls by kernel, dense among them; `modelled` is what the cost model takes.
        """
        threads = torch.get_num_threads()
        bucket = ((bucket_of(size[0]), *size[1:]), threads, _core.num_threads(), _core.isa())
        choice = self.buckets.get(bucket)
        if choice is None:
            choice = _measure(ways) if timing_enabled() else Choice(modelled, {})
            seconds = choice.seconds
            if choice.native and modelled == DENSE and seconds[choice.kernel] > MARGIN_AGAINST_MODEL * seconds[DENSE]:
                choice = Choice(DENSE, seconds)
            self.buckets[bucket] = choice
        if len(self.exact) >= MAX_REMEMBERED:
            self.exact.clear()
        self.exact[(shape, threads)] = choice
        return choice

    def clear(self) -> None:
        """Decide anew from here on."""
        self.exact.clear()
        self.buckets.clear()


def bucket_of(count: int) -> int:
    """Sizes that share a decision: each its own up to 16, then four buckets to each doubling."""
    if count <= 16:
        return count
    shift = count.bit_length() - 3
    return (count >> shift) << shift


def _measure(ways: Mapping[str, Callable[[], object]]) -> Choice:
    times: dict[str, list[float]] = {kernel: [] for kernel in ways}
    calls = 1
    for call in ways.values():  # packs, and brings all into the same state of warmth
        call()
        start = time.perf_counter()
        call()
        calls = max(calls, min(MOST_CALLS, int(SHORTEST_SECONDS / max(time.perf_counter() - start, 1e-9))))
    for taken in range(1, ROUNDS_WHEN_CLOSE + 1):
        for kernel, call in ways.items():
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[kernel].append((time.perf_counter() - start) / calls)
        medians = {kernel: statistics.median(seconds) for kernel, seconds in times.items()}
        best = min((kernel for kernel in ways if kernel != DENSE), key=medians.__getitem__, default=DENSE)
        if taken >= ROUNDS and not CLOSE[0] * medians[DENSE] < medians[best] < CLOSE[1] * medians[DENSE]:
            break
    return Choice(best if medians[best] < MARGIN * medians[DENSE] else DENSE, medians)

"""Native or dense: each layer times both once per bucket of input sizes and keeps the faster."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import _core

# Native must win by this much: a tie goes to dense, so that a pruned layer is not slower than it was.
MARGIN = 0.95
ROUNDS = 3
# Where the two are within these ratios of each other, one disturbed round would decide: look longer.
CLOSE = (0.75, 1.15)
ROUNDS_WHEN_CLOSE = 9
MAX_REMEMBERED = 4096


@dataclass(frozen=True)
class Choice:
    """What was decided for a bucket, and the times it rests on."""

    native: bool
    native_seconds: float
    dense_seconds: float


class Choices:
    """The decisions of one layer, by input size and number of threads."""

    def __init__(self) -> None:
        self.exact: dict[tuple[tuple[int, ...], int], Choice] = {}  # by shape and threads as they came: the fast look-up
        self.buckets: dict[tuple[object, ...], Choice] = {}

    def decide(
        self, shape: tuple[int, ...], size: tuple[int, ...], native: Callable[[], object], dense: Callable[[], object]
    ) -> Choice:
        """The decision for an input of `shape`, whose bucket is that of `size`; both ways are timed when it is new."""
        threads = torch.get_num_threads()
        bucket = (bucket_of(size[0]), size[1:], threads, _core.num_threads(), _core.isa())
        choice = self.buckets.get(bucket)
        if choice is None:
            choice = self.buckets[bucket] = _measure(native, dense)
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


def _measure(native: Callable[[], object], dense: Callable[[], object]) -> Choice:
    times: tuple[list[float], list[float]] = ([], [])
    native()  # packs, and brings both into the same state of warmth
    dense()
    for taken in range(1, ROUNDS_WHEN_CLOSE + 1):
        for seconds, call in zip(times, (native, dense), strict=True):
            start = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - start)
        medians = statistics.median(times[0]), statistics.median(times[1])
        if taken >= ROUNDS and not CLOSE[0] * medians[1] < medians[0] < CLOSE[1] * medians[1]:
            break
    return Choice(native=medians[0] < MARGIN * medians[1], native_seconds=medians[0], dense_seconds=medians[1])

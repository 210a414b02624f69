"""What this machine reaches: multiply-adds of a dense product, and reading and writing memory. Needs numpy only."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

SIDE, PRODUCTS = 384, 7  # of the square matrices that are multiplied, and how often: about a millisecond each
WORKING_SETS = (1 << 18, 1 << 21, 1 << 24, 1 << 26)  # bytes: in the caches of level two and three, and beyond
LEAST_BYTES, PASSES = 1 << 22, 3  # moved in a pass by each thread, and how often


class Reach(NamedTuple):
    """Rates of this machine on some threads.

    Attributes:
        gflops: 10⁹ multiplications and additions a second in a dense product of numpy's BLAS, times the threads.
        gbytes: for each working set of so many bytes, 10⁹ bytes a second read and written.
    """

    gflops: float
    gbytes: tuple[tuple[int, float], ...]

    def gbytes_at(self, nbytes: int) -> float:
        """The rate of a working set of `nbytes`."""
        return next((rate for size, rate in self.gbytes if nbytes <= size), self.gbytes[-1][1])

    def seconds(self, flops: float, nbytes: float, working_set: int) -> float:
        """The least time in which this machine does so much."""
        return max(flops / (self.gflops * 1e9), nbytes / (self.gbytes_at(working_set) * 1e9))


def reach(threads: int, most_bytes: int) -> Reach:
    """Measured within some 10 ms; the best of several tries counts, as all else that runs only makes them slower.

    Args:
        threads: that work at the same time.
        most_bytes: the largest working set to be asked for; larger caches are not filled.
    """
    needed = next((i for i, size in enumerate(WORKING_SETS) if most_bytes <= size), len(WORKING_SETS) - 1)
    rates = [_gbytes(size, threads) for size in WORKING_SETS[: needed + 1]]
    # What a larger working set reaches a smaller one does too.
    levels = [(size, max(rates[i:])) for i, size in enumerate(WORKING_SETS[: needed + 1])]
    return Reach(threads * _gflops_of_a_core(), tuple(levels))


def _gflops_of_a_core() -> float:
    """By the time that all threads of BLAS took together, however many they are."""
    a = np.ones((SIDE, SIDE), np.float32)
    out = np.empty_like(a)
    best = 0.0
    for _ in range(PRODUCTS):
        wall, cpu = time.perf_counter(), time.process_time()
        np.matmul(a, a, out=out)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best = max(best, 2e-9 * SIDE**3 / max(wall, cpu))
    return best


def _gbytes(working_set: int, threads: int) -> float:
    """Two arrays are read and one of them written, over and over."""
    count = working_set // 8 // threads
    passes = max(1, LEAST_BYTES // (12 * count))
    together = threading.Barrier(threads)

    def moved(_: int) -> float:
        rows = np.broadcast_to(np.ones(count, np.float32), (passes, count))
        out = np.zeros(count, np.float32)
        best = 0.0
        for _ in range(PASSES):
            together.wait()
            begin = time.perf_counter()
            np.maximum.reduce(rows, axis=0, out=out)
            best = max(best, 12e-9 * count * passes / (time.perf_counter() - begin))
        return best

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(moved, range(threads)))

"""What this machine reaches: multiply-adds in the densest product, and reading and writing memory. Needs numpy only."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from .. import _core

ROWS, INNER, COLUMNS = 512, 96, 64  # of a dense product whose X fits the L1 cache
IMAGES, ROUNDS = 4, 12  # such products of a thread at a time, and how often: a millisecond each at most
WORKING_SETS = (1 << 18, 1 << 21, 1 << 24, 1 << 26)  # bytes: in the caches of level two and three, and beyond
LEAST_BYTES, PASSES = 1 << 22, 3  # moved in a pass by each thread, and how often


class Reach(NamedTuple):
    """Rates of this machine on some threads.

    Attributes:
        gflops: 10⁹ multiplications and additions a second in the densest product of this engine, in the L1 cache.
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
    return Reach(_gflops(threads), tuple(levels))


def _gflops(threads: int) -> float:
    """Images of 64 columns, each multiplied by a dense matrix on one thread: bound by the fused multiply-add."""
    items = IMAGES * threads
    builder = _core.ProgramBuilder()
    x, y = (builder.add_value(name, [(0, 1), (size, 0), (1, 0), (COLUMNS, 0)]) for name, size in (("x", INNER), ("y", ROWS)))
    weight = builder.add_weight(np.ones((ROWS, INNER), np.float32))
    pointwise = [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    builder.add_node("conv2d", "", [x], y, weight, -1, -1, _core.Activation.none, 1.0, pointwise)
    session = _core.Session(builder.build([x], [y], ""), threads)
    inputs = [np.ones((items, INNER, 1, COLUMNS), np.float32)]
    outputs = [np.empty((items, ROWS, 1, COLUMNS), np.float32)]
    best = 0.0
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        session.run(items, inputs, outputs)
        best = max(best, 2e-9 * items * ROWS * INNER * COLUMNS / (time.perf_counter() - begin))
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

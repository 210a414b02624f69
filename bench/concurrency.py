"""One call on all cores, or as many calls as there are cores on one each: a compiled model under callers at once.

    python bench/concurrency.py --guide docs/guide.md
    python bench/concurrency.py --models mlp:1,16 resnet50:1 --cores 8

On k cores: 1 caller × k threads, k callers × 1 thread, every even split between, and k callers × k threads, which is what a
server does that nobody configured. Callers call without a pause, for some time in each round, all ways of calling in turns.
Latency is of one call; p50 and p99 are of all calls of a round; the table has medians over rounds. Outputs are verified: the
model's against the pruned one's in torch, to 1e-4, and against that every caller's last one of each round, to the bit.
"""

import argparse
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe
from models import check, pruned_to, with_batches
from networks import network
from readme import insert

import sparse_engine as engine

WARM_UP_CALLS = 2
HEAD = ["model", "batch", "callers × threads", "calls/s", "p50, ms", "p99, ms"]


def ways_of(cores: int) -> list[tuple[int, int]]:
    """Callers and threads of each."""
    return [(callers, cores // callers) for callers in range(1, cores + 1) if cores % callers == 0] + [(cores, cores)] * (
        cores > 1
    )


def called(model: Any, x: np.ndarray, expected: np.ndarray, callers: int, seconds: float) -> tuple[float, list[float]]:
    """Calls a second and sorted milliseconds of each call, while so many call for so long."""
    times: list[list[float]] = [[] for _ in range(callers)]
    last: list[np.ndarray] = [expected] * callers
    together = threading.Barrier(callers + 1)

    def work(number: int) -> None:
        for _ in range(WARM_UP_CALLS):
            model(x)
        together.wait()
        now = time.perf_counter()
        end = now + seconds
        while now < end:
            begin = now
            last[number] = model(x)
            now = time.perf_counter()
            times[number].append(1e3 * (now - begin))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(callers)]
    for thread in threads:
        thread.start()
    together.wait()
    begin = time.perf_counter()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - begin
    if not all(np.array_equal(found, expected) for found in last):
        raise SystemExit(f"{callers} callers × {model.threads} threads: an output differs from that of one caller")
    every = sorted(milliseconds for own in times for milliseconds in own)
    return len(every) / taken, every


def rows_of(name: str, batches: list[int], options: argparse.Namespace) -> list[list[str]]:
    """A row for each batch size and way of calling."""
    found_network = network(name)
    model = pruned_to(found_network.model, options.sparsity)
    compiled = engine.compile(model, found_network.inputs(1), threads=1)
    ways = {way: compiled.with_threads(way[1]) for way in ways_of(options.cores)}
    rows = []
    for batch in batches:
        x = found_network.inputs(batch)
        expected = compiled(x.numpy())
        with torch.inference_mode():
            check(name, expected, model(x).numpy())
        found: dict[tuple[int, int], list[tuple[float, float, float]]] = {way: [] for way in ways}
        for _ in range(options.rounds):
            for way, session in ways.items():
                rate, times = called(session, x.numpy(), expected, way[0], options.seconds)
                found[way].append((rate, times[len(times) // 2], times[len(times) * 99 // 100]))
        for (callers, threads), values in found.items():
            rate, median, slow = map(statistics.median, zip(*values, strict=True))
            rows.append([name, str(batch), f"{callers} × {threads}", f"{rate:.1f}", f"{median:.2f}", f"{slow:.2f}"])
            print(" ".join(f"{cell:>{len(head) + 2}}" for cell, head in zip(rows[-1], HEAD, strict=True)), flush=True)
    return rows


def main() -> None:
    """Print the table, and put it into the guide."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=with_batches, default=[("mlp", [1, 16]), ("resnet50", [1])])
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--cores", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.5, help="of each way of calling in each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--guide", type=Path, help="a file whose concurrency markers take the table")
    options = parser.parse_args()
    print(describe())
    print(" ".join(f"{head:>{len(head) + 2}}" for head in HEAD))
    rows = [row for name, batches in options.models for row in rows_of(name, batches, options)]
    if options.guide:
        lines = [f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|", *(f"| {' | '.join(row)} |" for row in rows)]
        insert(options.guide, "concurrency", "bench/concurrency.py", [*lines, "", describe()])


if __name__ == "__main__":
    main()

"""How calls fare beside a busy process: a pruned linear layer on one thread and on all, and torch's dense one.

    python bench/under_load.py [--seconds 0.3] [--rounds 9]

A process that computes without end is started, stopped while the machine is to be idle and continued while it is to be busy.
Idle and busy rounds alternate, in each all contestants have their turn. A row is the median over the rounds of the median call
and of the 99th percentile, in milliseconds. "beside torch" has one of torch's own parallel operations before every call, which
is not timed: its workers are still spinning then. Outputs are compared with the dense layer's under the same mask.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from machine import describe
from torch import nn

import sparse_engine as engine

SIDE, SPARSITY, BATCHES = 4096, 0.9, (1, 64)


def layers() -> tuple[nn.Module, nn.Module]:
    """A dense layer and its pruned copy, with the same zeros."""
    torch.manual_seed(0)
    dense = nn.Linear(SIDE, SIDE)
    pruned = nn.Linear(SIDE, SIDE)
    pruned.load_state_dict(dense.state_dict())
    engine.prune(pruned, engine.Spec(sparsity=SPARSITY))
    dense.load_state_dict(pruned.state_dict())
    return dense.eval(), pruned.eval()


def timed(call: Callable[[], object], before: Callable[[], object], seconds: float) -> list[float]:
    """Milliseconds of each call within so many seconds."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        before()
        begin = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each contestant in each round")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(describe())
    dense, pruned = layers()
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.kill(neighbour.pid, signal.SIGSTOP)  # the layer's kernel is chosen on an idle machine
    try:
        for batch in BATCHES:
            x = torch.randn(batch, SIDE)
            other = torch.randn(256, SIDE)
            with torch.inference_mode():
                error = float((pruned(x) - dense(x)).abs().max() / dense(x).abs().max())
                if error > 1e-5:
                    raise SystemExit(f"outputs differ by {error:.1e}")
                contestants: dict[str, tuple[int, Callable[[], object], Callable[[], object]]] = {
                    "ours, 1 thread": (1, lambda x=x: pruned(x), lambda: None),
                    "ours, all threads": (0, lambda x=x: pruned(x), lambda: None),
                    "ours, all threads, beside torch": (0, lambda x=x: pruned(x), lambda other=other: torch.tanh(other)),
                    "torch dense": (0, lambda x=x: dense(x), lambda: None),
                }
                found: dict[tuple[str, bool], list[tuple[float, float]]] = {}
                for _ in range(options.rounds):
                    for busy in (False, True):
                        os.kill(neighbour.pid, signal.SIGCONT if busy else signal.SIGSTOP)
                        for name, (threads, call, before) in contestants.items():
                            engine.runtime.set_num_threads(threads)
                            timed(call, before, 0.1)
                            times = timed(call, before, options.seconds)
                            result = times[len(times) // 2], times[len(times) * 99 // 100]
                            found.setdefault((name, busy), []).append(result)
            print(f"\nLinear({SIDE}, {SIDE}), {SPARSITY:.0%} removed, batch {batch}")
            print(f"{'':34}{'idle p50':>10}{'p99':>8}{'busy p50':>10}{'p99':>8}")
            for name in contestants:
                columns = [
                    statistics.median(column) for busy in (False, True) for column in zip(*found[name, busy], strict=True)
                ]
                print(f"{name:34}{columns[0]:10.2f}{columns[1]:8.2f}{columns[2]:10.2f}{columns[3]:8.2f}")
    finally:
        neighbour.kill()
        neighbour.wait()


if __name__ == "__main__":
    main()

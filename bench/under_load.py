"""How calls fare beside busy processes: a pruned linear layer, and a compiled model, each beside dense runtimes.

    python bench/under_load.py [--seconds 0.3] [--rounds 9] [--model mlp | resnet50 | none] [--no-layer]

Processes that compute without end are started, stopped while the machine is to be idle and continued while it is to be busy.
Rounds with none, one and two of them (the layer: none and one) alternate, in each all contestants have their turn. A row is the
median over the rounds of the median call and of the 99th percentile, in milliseconds. "beside torch" has one of torch's own
parallel operations before every call, which is not timed: its workers are still spinning then. Outputs are compared with the
dense model's under the same mask. ONNX Runtime's threads do not spin between calls, or the next contestant would suffer.

What several callers at once get is in bench/concurrency.py.
"""

import argparse
import copy
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from machine import describe
from model_rivals import Exported, onnx_runtime_calls
from models import check
from networks import Network, network
from torch import nn

import sparse_engine as engine
from sparse_engine.pruning.attachment import remove_masks

SIDE, SPARSITY, LAYER_BATCHES = 4096, 0.9, (1, 64)
MODEL_BATCHES = {"mlp": (1, 16), "resnet50": (1,)}
WARM_UP_SECONDS = 0.1


@dataclass
class Contestant:
    """A call, for which the runtime may use so many threads (0: all), and what precedes it untimed."""

    call: Callable[[], object]
    threads: int = 0
    before: Callable[[], object] = lambda: None


class Neighbours:
    """Processes that compute without end, stopped until they are wanted."""

    def __init__(self, count: int) -> None:
        self._processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        self.run(0)

    def run(self, count: int) -> None:
        """Let so many of them compute."""
        for i, process in enumerate(self._processes):
            os.kill(process.pid, signal.SIGCONT if i < count else signal.SIGSTOP)

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


@contextmanager
def neighbours(count: int) -> Iterator[Neighbours]:
    """For a while."""
    found = Neighbours(count)
    try:
        yield found
    finally:
        found.end()


def timed(contestant: Contestant, seconds: float) -> list[float]:
    """Milliseconds of each call within so many seconds, sorted."""
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        contestant.before()
        begin = time.perf_counter()
        contestant.call()
        times.append(1e3 * (time.perf_counter() - begin))
    return sorted(times)


def print_times(
    title: str, contestants: dict[str, Contestant], loads: Sequence[int], beside: Neighbours, options: argparse.Namespace
) -> None:
    """Time all of them at each number of busy processes, in turns, and print the rows."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for _ in range(options.rounds):
        for busy in loads:
            beside.run(busy)
            for name, contestant in contestants.items():
                engine.runtime.set_num_threads(contestant.threads)
                timed(contestant, WARM_UP_SECONDS)
                times = timed(contestant, options.seconds)
                found.setdefault((name, busy), []).append((times[len(times) // 2], times[len(times) * 99 // 100]))
    beside.run(0)
    engine.runtime.set_num_threads(0)
    print(f"\n{title}")
    print(f"{'':34}" + "".join(f"{f'{busy} busy: p50':>14}{'p99':>8}" for busy in loads))
    for name in contestants:
        columns = [statistics.median(column) for busy in loads for column in zip(*found[name, busy], strict=True)]
        print(f"{name:34}" + "".join(f"{a:14.2f}{b:8.2f}" for a, b in zip(columns[::2], columns[1::2], strict=True)))


def layer_tables(options: argparse.Namespace) -> None:
    """A pruned linear layer on one thread and on all, and torch's dense one with the same zeros."""
    torch.manual_seed(0)
    dense, pruned = nn.Linear(SIDE, SIDE).eval(), nn.Linear(SIDE, SIDE).eval()
    engine.prune(pruned, engine.Spec(sparsity=SPARSITY))
    dense.load_state_dict(pruned.state_dict())
    with neighbours(1) as beside, torch.inference_mode():
        for batch in LAYER_BATCHES:
            x, other = torch.randn(batch, SIDE), torch.randn(256, SIDE)
            check("layer", pruned(x).numpy(), dense(x).numpy())
            contestants = {
                "ours, 1 thread": Contestant(lambda x=x: pruned(x), 1),
                "ours, all threads": Contestant(lambda x=x: pruned(x)),
                "ours, all threads, beside torch": Contestant(
                    lambda x=x: pruned(x), before=lambda other=other: torch.tanh(other)
                ),
                "torch dense": Contestant(lambda x=x: dense(x)),
            }
            print_times(f"Linear({SIDE}, {SIDE}), {SPARSITY:.0%} removed, batch {batch}", contestants, (0, 1), beside, options)


def model_tables(options: argparse.Namespace) -> None:
    """A compiled model on one thread and on all; dense with the same zeros, torch and ONNX Runtime where it is installed."""
    chosen = network(options.model)
    model = chosen.model
    engine.prune(model, engine.Spec(sparsity=SPARSITY))
    model.eval()
    dense = remove_masks(copy.deepcopy(model)).eval()
    threads = torch.get_num_threads()
    compiled = engine.compile(model, chosen.inputs(1), threads=threads)
    alone = compiled.with_threads(1)
    try:
        exported = Exported(Network(dense, chosen.random))
    except ImportError:
        exported = None
    with neighbours(2) as beside, torch.inference_mode():
        for batch in MODEL_BATCHES[options.model]:
            given = chosen.inputs(batch)
            x = given.numpy()
            expected = dense(given).numpy()
            contestants = {
                "compiled, 1 thread": Contestant(lambda x=x: alone(x)),
                f"compiled, {threads} threads": Contestant(lambda x=x: compiled(x)),
                "torch dense": Contestant(lambda given=given: dense(given).numpy()),
            }
            if exported is not None:
                for name, call in onnx_runtime_calls("ONNX Runtime", exported.path, x, threads).items():
                    contestants[f"{name} dense"] = Contestant(call)
            for name, contestant in contestants.items():
                check(f"{options.model}, {name}", contestant.call(), expected)
            title = f"{options.model}, {SPARSITY:.0%} removed, batch {batch}"
            print_times(title, contestants, (0, 1, 2), beside, options)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each contestant in each round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--model", choices=[*MODEL_BATCHES, "none"], default="mlp", help="which one is compiled")
    parser.add_argument("--no-layer", action="store_true", help="without the linear layer")
    options = parser.parse_args()
    print(describe())
    if not options.no_layer:
        layer_tables(options)
    if options.model != "none":
        model_tables(options)


if __name__ == "__main__":
    main()

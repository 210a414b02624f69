"""Pruned models under torch.compile (inductor) against the same models run eagerly, in turns, every output verified.

    python bench/torch_compile.py
    python bench/torch_compile.py --models mlp:1,64 resnet50:1 --sparsity 0.9 --backend inductor

Ratios are eager's time over the compiled one's: above 1 compiling gained. The dense model compiled stands beside them, for what
pruning gains there. Inductor needs g++; what it compiled is kept in its cache from run to run.
"""

import argparse
import sys
from functools import partial

import torch
from machine import describe
from models import pruned_to, with_batches
from networks import network

import sparse_engine as engine
from sparse_engine.measure.timing import interleaved

TOLERANCE = 1e-4
AT_ONCE = 5  # calls in a turn


def check(name: str, found: torch.Tensor, expected: torch.Tensor) -> None:
    """Refuse to time what computes something else."""
    error = float((found - expected).abs().max() / expected.abs().max())
    if not error <= TOLERANCE:
        sys.exit(f"{name}: output differs by {error:.1e} of the largest, above {TOLERANCE}")


def row_of(name: str, batch: int, options: argparse.Namespace) -> str:
    """A line of the table."""
    dense = network(name)
    pruned = pruned_to(network(name).model, options.sparsity)
    torch._dynamo.reset()  # a graph for each batch size alone
    calls = {
        "pruned": pruned,
        "pruned, compiled": torch.compile(pruned, backend=options.backend),
        "dense, compiled": torch.compile(dense.model, backend=options.backend),
    }
    context = torch.no_grad if options.no_grad else torch.inference_mode
    with context():
        x = dense.inputs(batch)
        engine.autotune(pruned, x)
        for call in calls.values():
            call(x)
        check(f"{name}, compiled", calls["pruned, compiled"](x), pruned(x))
        check(f"{name}, dense compiled", calls["dense, compiled"](x), dense.model(x))
        times = interleaved([partial(call, x) for call in calls.values()], options.rounds, AT_ONCE)
    eager, compiled, without = (seconds * 1e3 for seconds in times)
    return f"| {name} | {batch} | {eager:.3f} | {compiled:.3f} ({eager / compiled:.2f}×) | {without:.3f} |"


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = list(map(with_batches, ("mlp:1,64", "resnet50:1")))
    parser.add_argument("--models", nargs="+", type=with_batches, default=defaults)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--backend", default="inductor")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-grad", action="store_true", help="under torch.no_grad() instead of torch.inference_mode()")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    print(f"| model | batch | pruned to {options.sparsity:.0%}, ms | compiled, ms | dense, compiled, ms |")
    print("|---" * 5 + "|")
    for name, batches in options.models:
        for batch in batches:
            print(row_of(name, batch, options), flush=True)
    print(f"\n{describe()}")


if __name__ == "__main__":
    main()

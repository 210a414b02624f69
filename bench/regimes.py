"""Operations against every baseline that is installed, regime by regime, over the sparsities that matter.

    python bench/regimes.py                                          the whole table to the terminal (some minutes)
    python bench/regimes.py --regimes product vector --sparsities 0.9
    python bench/regimes.py --markdown docs/regimes.md --json docs/regimes.json --plot docs/regimes.png

A cell is the geometric mean over a regime's shapes of the median ratio within a round: the fastest dense torch (for a
convolution of NCHW and channels_last) over the fastest format here. All calls of a case take turns in one process with the same
threads; the output is compared with float64 by the proven bound before anything is timed; packing and transposing are inside
the times; other
libraries (torch's, scipy's and MKL's CSR with 32-bit indices, dense ONNX Runtime) stand in tables of their own. Shares of the
physical limit: bench/limits.py.
"""

import argparse
import json
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import interleaved
from machine import describe
from patterns import pruned_pattern
from regime_list import REGIMES, SPARSITIES, Case
from regime_report import cell, markdown, plot
from rivals import RIVALS, Calls, dense_calls, rivals
from torch.nn import functional as F

import sparse_engine as engine


def pattern_for(kind: str, rows: int, cols: int, sparsity: float) -> np.ndarray:
    """Which weights stay, in the form the format stores."""
    if kind == "nm":
        groups = np.tile([True, True, False, False], (rows, cols // 4, 1))
        return np.random.default_rng(rows).permuted(groups, axis=2).reshape(rows, cols)
    height = int(kind[3:]) if kind.startswith("bsr") else 1
    return np.repeat(pruned_pattern(rows // height, cols, sparsity), height, axis=0)


def matrix(weights: np.ndarray, kind: str) -> Any:
    dtype = "bfloat16" if kind.endswith("16") else "float32"
    if kind.startswith("csr"):
        return engine.CSRMatrix.from_dense(weights, dtype=dtype)
    if kind == "nm":
        return engine.NMMatrix.from_dense(weights)
    if kind.startswith("bsr"):
        return engine.BSRMatrix.from_dense(weights, (int(kind[3:]), 1))
    return engine.BitmaskMatrix.from_dense(weights, dtype=dtype)


def check(y: torch.Tensor, w: torch.Tensor, x: torch.Tensor, apply: Callable[..., torch.Tensor], what: str) -> None:
    terms = w.ne(0).flatten(1).sum(1).max()
    roundings = (terms + 2) * 2.0**-24
    exact, size = apply(x.double(), w.double()), apply(x.double().abs(), w.double().abs())
    if not torch.all((y.double() - exact).abs() <= roundings / (1 - roundings) * size):
        raise SystemExit(f"{what} is outside the proven bound: nothing was measured")


def one_thread(call: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> None:
        engine.runtime.set_num_threads(1)
        call()
        engine.runtime.set_num_threads(0)

    return run


def measure(name: str, shape: tuple[Any, ...], sparsity: float, rounds: int) -> Case:
    regime = REGIMES[name]
    if regime.published is not None:
        *shape, sparsity = shape
    calls: Calls = {}
    if regime.operation == "conv":
        out, channels, kernel, size, batch = shape
        rows, cols = out, channels * kernel * kernel
        x = torch.randn(batch, channels, size, size)
    else:
        rows, cols, columns = shape
        x = torch.randn(cols, columns) if regime.operation == "product" else torch.randn(columns, cols)
    ours = []
    for kind in regime.formats:
        pattern = pattern_for(kind, rows, cols, sparsity)
        values = np.random.default_rng(1).standard_normal((rows, cols), np.float32) * pattern
        a = matrix(values.astype(np.float32), kind)
        stored = torch.from_numpy(np.ascontiguousarray(a.to_dense()))
        if regime.operation == "product":
            call, apply = (lambda a=a: a @ x), (lambda x, w: w @ x)
        elif regime.operation == "linear":
            call, apply = (lambda a=a: engine.linear(x, a)), (lambda x, w: x @ w.t())
        else:
            call = lambda a=a: engine.conv2d(x, a, kernel, padding=kernel // 2)  # noqa: E731
            apply = lambda x, w: F.conv2d(x, w, padding=kernel // 2)  # noqa: E731
            stored = stored.view(out, channels, kernel, kernel)
        check(call(), stored, x, apply, f"{name} {shape} {kind}")
        calls[f"ours {kind}"] = call
        ours.append(f"ours {kind}")
        dense = stored
    calls |= dense_calls(regime.operation, dense, x) | rivals(regime.operation, dense, x)
    times = interleaved(calls, rounds)
    seconds = {call: statistics.median(t) for call, t in times.items()}
    best = min(ours, key=seconds.__getitem__)
    baseline = min((c for c in calls if c not in RIVALS and c not in ours), key=seconds.__getitem__)

    alone = interleaved({"all": calls[best], "one": one_thread(calls[best])}, max(3, rounds // 2))

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[other], times[best], strict=True))

    return Case(
        regime=name,
        shape=tuple(shape),
        sparsity=sparsity,
        seconds=seconds,
        best=best,
        baseline=baseline,
        speedup=ratio(baseline),
        over_rivals={other: ratio(other) for other in RIVALS if other in calls},
        over_one_thread=statistics.median(a / b for a, b in zip(alone["one"], alone["all"], strict=True)),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regimes", nargs="+", default=list(REGIMES), choices=list(REGIMES))
    parser.add_argument("--sparsities", nargs="+", type=float, default=list(SPARSITIES))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    torch.set_grad_enabled(False)
    cases: list[Case] = []
    for name in options.regimes:
        for sparsity in options.sparsities if REGIMES[name].published is None else [0.0]:
            if sparsity not in REGIMES[name].goals and sparsity in SPARSITIES:
                continue
            here = [measure(name, shape, sparsity, options.rounds) for shape in REGIMES[name].shapes]
            cases += here
            each = " ".join(f"{c.speedup:.1f}" for c in here)
            print(f"{name:9} {sparsity:4.0%}  {cell(here, REGIMES[name].goals.get(sparsity)):18} {each}", flush=True)
    arguments = " " + shlex.join(sys.argv[1:])
    if options.markdown:
        options.markdown.write_text(markdown(cases, arguments))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(), "cases": [asdict(c) for c in cases]}, indent=1) + "\n")
    if options.plot:
        plot(cases, options.plot)


if __name__ == "__main__":
    main()

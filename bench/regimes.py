"""Operations against every baseline that is installed, regime by regime, over the sparsities that matter.

    python bench/regimes.py                                          the whole table to the terminal (some minutes)
    python bench/regimes.py --regimes product vector --sparsities 0.9
    python bench/regimes.py --markdown docs/regimes.md --json docs/regimes.json --plot docs/regimes.png

A cell is the geometric mean over a regime's shapes of the median ratio within a round: the fastest dense torch (for a
convolution of NCHW and channels_last) over the fastest format here. All calls of a case take turns in one process with the same
threads; the output is compared with float64 by the proven bound before anything is timed; packing and transposing are inside
the times; the
ratio to torch's own CSR (32-bit indices) stands in a table of its own. Shares of the physical limit: bench/cpp.
"""

import argparse
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from compare import interleaved
from machine import describe
from patterns import pruned_pattern, source
from torch.nn import functional as F

import sparse_engine as engine

Calls = dict[str, Callable[[], Any]]
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Regime:
    """What is multiplied, at which sizes, and the speed-up over dense to reach per sparsity."""

    title: str
    operation: str  # product: A @ X; linear; conv
    shapes: tuple[tuple[int, ...], ...]
    goals: dict[float, float]
    formats: tuple[str, ...] = ("csr",)


def goals(*values: float | None) -> dict[float, float]:
    return {s: v for s, v in zip(SPARSITIES, values, strict=True) if v is not None}


TRANSFORMER = ((512, 512), (2048, 512), (512, 2048), (768, 768), (3072, 768), (768, 3072))
DECODE = ((4096, 9216), (11008, 4096))


def sized(shapes: tuple[tuple[int, int], ...], *columns: int) -> tuple[tuple[int, ...], ...]:
    return tuple((*shape, n) for shape in shapes for n in columns)


# out, in, kernel, size, batch
CONV3 = ((64, 64, 3, 56), (128, 128, 3, 28), (256, 256, 3, 14), (512, 512, 3, 7))
CONV1 = ((64, 256, 1, 56), (256, 64, 1, 56), (128, 512, 1, 28), (512, 128, 1, 28), (256, 1024, 1, 14), (1024, 256, 1, 14),
         (512, 2048, 1, 7), (2048, 512, 1, 7))  # fmt: skip

REGIMES = {
    "product": Regime(
        "`A @ X`, N = 128, 512", "product", sized(TRANSFORMER, 128, 512), goals(1.7, 2.1, 2.8, 4.0, 7, 11.5, 19)
    ),
    "linear": Regime(
        "`linear`, batch 64, 256", "linear", sized(TRANSFORMER, 64, 256), goals(1.4, 1.7, 2.4, 3.4, 6, 9.5, 14)
    ),
    "vector": Regime(
        "N = 1, beyond L3", "linear", sized(DECODE, 1), goals(1.7, 2.1, 2.7, 3.8, 6.3, 11, 20), ("csr", "bitmask")
    ),
    "vector16": Regime(
        "N = 1, beyond L3, 16-bit values", "linear", sized(DECODE, 1), goals(3.0, 3.6, 4.8, 6.5, 9.5, 14, 22),
        ("csr16", "bitmask16"),
    ),
    "narrow": Regime(
        "N = 2–8, beyond L3", "linear", sized(DECODE, 2, 4, 8), goals(1.6, 1.9, 2.5, 3.4, 5.5, 9, 15), ("csr", "bitmask")
    ),
    "conv3": Regime(
        "conv 3×3, batch 1", "conv", tuple((*s, 1) for s in CONV3), goals(None, None, 1.9, 2.9, 5, 8.5, 13)
    ),
    "conv3x8": Regime(
        "conv 3×3, batch 8", "conv", tuple((*s, 8) for s in CONV3), goals(None, None, 1.8, 2.7, 4.8, 8, 12)
    ),
    "conv1": Regime(
        "conv 1×1, batch 1 and 8", "conv", tuple((*s, b) for b in (1, 8) for s in CONV1), goals(None, None, 1.9, 2.9, 5, 8, 12)
    ),
    "blocks": Regime(
        "blocks 4×1, 8×1, N = 128, 512", "product", sized(TRANSFORMER, 128, 512), goals(1.7, 2.1, 2.8, 4.4, 8.3, 14, None),
        ("bsr4", "bsr8"),
    ),
}  # fmt: skip


@dataclass
class Case:
    """One shape of a regime at one sparsity: seconds per call of everything that took turns."""

    regime: str
    shape: tuple[int, ...]
    sparsity: float
    seconds: dict[str, float]
    best: str
    baseline: str
    speedup: float
    over_torch_csr: float | None


def block_pattern(rows: int, cols: int, sparsity: float, height: int) -> np.ndarray:
    return np.repeat(pruned_pattern(rows // height, cols, sparsity), height, axis=0)


def matrix(weights: np.ndarray, kind: str) -> Any:
    dtype = "bfloat16" if kind.endswith("16") else "float32"
    if kind.startswith("csr"):
        return engine.CSRMatrix.from_dense(weights, dtype=dtype)
    if kind.startswith("bsr"):
        return engine.BSRMatrix.from_dense(weights, (int(kind[3:]), 1))
    return engine.BitmaskMatrix.from_dense(weights, dtype=dtype)


def check(y: torch.Tensor, w: torch.Tensor, x: torch.Tensor, apply: Callable[..., torch.Tensor], what: str) -> None:
    terms = w.ne(0).flatten(1).sum(1).max()
    roundings = (terms + 2) * 2.0**-24
    exact, size = apply(x.double(), w.double()), apply(x.double().abs(), w.double().abs())
    if not torch.all((y.double() - exact).abs() <= roundings / (1 - roundings) * size):
        raise SystemExit(f"{what} is outside the proven bound: nothing was measured")


def dense_calls(operation: str, w: torch.Tensor, x: torch.Tensor) -> Calls:
    if operation == "product":
        return {"torch mm": lambda: torch.mm(w, x)}
    if operation == "linear":
        return {"torch linear": lambda: F.linear(x, w)}
    pad = w.shape[-1] // 2
    w_last, x_last = w.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    return {
        "torch conv2d": lambda: F.conv2d(x, w, padding=pad),
        "torch conv2d channels_last": lambda: F.conv2d(x_last, w_last, padding=pad),
    }


def sparse_rivals(operation: str, w: torch.Tensor, x: torch.Tensor) -> Calls:
    """Other libraries' CSR products, those that are installed."""
    if operation == "conv":
        return {}
    columns = x if operation == "product" else x.t().contiguous()
    csr = w.to_sparse_csr()
    csr = torch.sparse_csr_tensor(csr.crow_indices().int(), csr.col_indices().int(), csr.values(), csr.shape)
    calls: Calls = {"torch CSR": lambda: csr @ columns}
    try:
        from scipy.sparse import csr_array

        scipy_csr, scipy_columns = csr_array(w.numpy()), columns.numpy()
        calls["scipy CSR"] = lambda: scipy_csr @ scipy_columns
        from sparse_dot_mkl import dot_product_mkl

        calls["MKL CSR"] = lambda: dot_product_mkl(scipy_csr, scipy_columns)
    except ImportError:
        pass
    return calls


def measure(name: str, shape: tuple[int, ...], sparsity: float, rounds: int) -> Case | None:
    regime = REGIMES[name]
    formats = [
        f for f in regime.formats if hasattr(engine, {"csr": "CSRMatrix", "bsr": "BSRMatrix"}.get(f[:3], "BitmaskMatrix"))
    ]
    if not formats:
        return None
    calls: Calls = {}
    if regime.operation == "conv":
        out, channels, kernel, size, batch = shape
        rows, cols = out, channels * kernel * kernel
        x = torch.randn(batch, channels, size, size)
    else:
        rows, cols, columns = shape
        x = torch.randn(cols, columns) if regime.operation == "product" else torch.randn(columns, cols)
    ours = []
    for kind in formats:
        height = int(kind[3:]) if kind.startswith("bsr") else 1
        pattern = block_pattern(rows, cols, sparsity, height)
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
    calls |= dense_calls(regime.operation, dense, x) | sparse_rivals(regime.operation, dense, x)
    times = interleaved(calls, rounds)
    seconds = {call: statistics.median(t) for call, t in times.items()}
    best = min(ours, key=seconds.__getitem__)
    baseline = min((c for c in calls if c.startswith("torch") and "CSR" not in c), key=seconds.__getitem__)

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[other], times[best], strict=True))

    return Case(
        regime=name,
        shape=shape,
        sparsity=sparsity,
        seconds=seconds,
        best=best,
        baseline=baseline,
        speedup=ratio(baseline),
        over_torch_csr=ratio("torch CSR") if "torch CSR" in calls else None,
    )


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def cell(cases: list[Case], goal: float | None) -> str:
    if not cases:
        return "–"
    speedup = mean([c.speedup for c in cases])
    mark = "" if goal is None else " ✓" if speedup >= goal else f" (< {goal:g})"
    return f"{speedup:.2f}×{mark}"


def markdown(cases: list[Case], arguments: str) -> str:
    sparsities = sorted({c.sparsity for c in cases})
    head = ["| regime | " + " | ".join(f"{s:.0%}" for s in sparsities) + " |", "|---" * (len(sparsities) + 1) + "|"]
    lines = ["# Speed by regime", "", f"Written by `python bench/regimes.py{arguments}`. {describe()}", ""]
    lines += [f"Geometric means over the shapes of a regime; {source()}.", "", "## Over dense torch", "", *head]
    for name, regime in REGIMES.items():
        mine = {s: [c for c in cases if c.regime == name and c.sparsity == s] for s in sparsities}
        if any(mine.values()):
            lines.append(f"| {regime.title} | " + " | ".join(cell(mine[s], regime.goals.get(s)) for s in sparsities) + " |")
    lines += ["", "## Over torch CSR (32-bit indices): the least over the shapes", "", *head]
    for name, regime in REGIMES.items():
        over = {s: [c.over_torch_csr for c in cases if c.regime == name and c.sparsity == s] for s in sparsities}
        if any(v and v[0] is not None for v in over.values()):
            lines.append(f"| {regime.title} | " + " | ".join(f"{min(v):.2f}×" if v else "–" for v in over.values()) + " |")
    return "\n".join(lines) + "\n"


def plot(cases: list[Case], path: Path) -> None:
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5))
    for name, regime in REGIMES.items():
        points = sorted({c.sparsity for c in cases if c.regime == name})
        if points:
            y = [mean([c.speedup for c in cases if c.regime == name and c.sparsity == s]) for s in points]
            axes.plot([100 * s for s in points], y, marker="o", label=regime.title.replace("`", ""))
    axes.axhline(1, color="grey", linewidth=1, linestyle="--")
    axes.set(xlabel="sparsity (%)", ylabel="speed-up over dense torch (×)", yscale="log", title="Speed-up by regime")
    ticks = [1, 2, 3, 5, 8, 12, 20]
    axes.set_yticks(ticks, [f"{t}×" for t in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


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
        for sparsity in options.sparsities:
            if sparsity not in REGIMES[name].goals and sparsity in SPARSITIES:
                continue
            found = [measure(name, shape, sparsity, options.rounds) for shape in REGIMES[name].shapes]
            here = [c for c in found if c is not None]
            if not here:
                continue
            cases += here
            each = " ".join(f"{c.speedup:.1f}" for c in here)
            print(f"{name:9} {sparsity:4.0%}  {cell(here, REGIMES[name].goals.get(sparsity)):18} {each}", flush=True)
    arguments = "".join(f" --{key} {getattr(options, key)}" for key in ("markdown", "json", "plot") if getattr(options, key))
    if options.markdown:
        options.markdown.write_text(markdown(cases, arguments))
    if options.json:
        options.json.write_text(json.dumps({"machine": describe(), "cases": [asdict(c) for c in cases]}, indent=1) + "\n")
    if options.plot:
        plot(cases, options.plot)


if __name__ == "__main__":
    main()

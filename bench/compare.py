"""Pruned layers against torch dense, in one process: interleaved, medians, same threads, every output verified.

    python bench/compare.py                                   the headline rows, to the terminal
    python bench/compare.py --shapes resnet50 bert --rounds 15
    python bench/compare.py --all --markdown docs/benchmarks.md --json docs/benchmarks.json --readme README.md

A row is what a user does: a torch layer, `engine.prune`, `layer(x)` in inference mode, conversion of layouts included. The
baseline is the same layer unpruned; for a convolution the faster of NCHW and channels_last (of volumes NCDHW and
channels_last_3d), input and weight alike. All sparsities of a shape are timed in the same rounds against one baseline. Times
are medians over the rounds, the speed-up is the median of the ratios within a round, so that a slow moment of the machine
strikes all sides. Outputs are compared with float64 by the proven bound.
"""

import argparse
import copy
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine import describe
from readme import insert
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine

SHAPES = Path(__file__).parent / "shapes"
SHORTEST_SECONDS = 2e-3  # calls are repeated until a measurement takes this long


Layer = nn.Linear | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d


@dataclass
class Row:
    """One measured case. Seconds for one call."""

    case: str
    sparsity: float
    baseline: str
    dense_seconds: float
    seconds: float
    speedup: float
    sparse_gflops: float
    dense_gflops: float
    kernel: str = "csr"
    goal: float | None = None

    @property
    def verdict(self) -> str:
        """The goal and whether it is met."""
        return "" if self.goal is None else f"≥ {self.goal:g}: {'yes' if self.speedup >= self.goal else 'NO'}"


def interleaved(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds per call of each of `calls`, one entry a round, in turn."""
    repeats = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        start = time.perf_counter()
        call()
        repeats[name] = max(1, round(SHORTEST_SECONDS / max(time.perf_counter() - start, 1e-9)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # untimed, for each alike: wakes the threads that a serial rival let sleep, and brings its own data back
            start = time.perf_counter()
            for _ in range(repeats[name]):
                call()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def compare(
    dense: dict[str, Callable[[], object]], sparse: list[Callable[[], object]], rounds: int
) -> tuple[str, float, list[tuple[float, float]]]:
    """The fastest of `dense` by median and its seconds; of each of `sparse` its seconds and the median ratio within a round."""
    times = interleaved(dense | {f"sparse {i}": call for i, call in enumerate(sparse)}, rounds)
    medians = {name: statistics.median(values) for name, values in times.items()}
    best = min(dense, key=medians.__getitem__)
    ratios = {
        name: statistics.median(a / b for a, b in zip(times[best], own, strict=True))
        for name, own in times.items()
        if name not in dense
    }
    return best, medians[best], [(medians[name], ratio) for name, ratio in ratios.items()]


@torch.inference_mode()
def check_output(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """layer(x); stops unless every output lies within γ(n + 2)·(Σ|w||x| + |b|) of the float64 result, n stored weights.

    The kernel is decided here, and not while anything is timed.
    """
    engine.autotune(layer, x)
    y = layer(x)
    weight, bias = layer.weight.double(), layer.bias.double()
    if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
        convolve = F.conv2d if isinstance(layer, nn.Conv2d) else F.conv3d
        exact = convolve(x.double(), weight, bias, layer.stride, layer.padding)
        size = convolve(x.double().abs(), weight.abs(), bias.abs(), layer.stride, layer.padding)
        terms = weight.ne(0).flatten(1).sum(1).view(1, -1, *[1] * (weight.dim() - 2))
    elif isinstance(layer, nn.ConvTranspose2d):
        exact = F.conv_transpose2d(x.double(), weight, bias, layer.stride, layer.padding)
        size = F.conv_transpose2d(x.double().abs(), weight.abs(), bias.abs(), layer.stride, layer.padding)
        terms = weight.ne(0).sum((0, 2, 3)).view(1, -1, 1, 1)
    else:
        exact = F.linear(x.double(), weight, bias)
        size = F.linear(x.double().abs(), weight.abs(), bias.abs())
        terms = weight.ne(0).sum(1)
    roundings = (terms + 2) * 2.0**-24
    if not torch.all((y.double() - exact).abs() <= roundings / (1 - roundings) * size):
        raise SystemExit(f"the output of {layer} is outside the proven bound: nothing was measured")
    return y


def pruned_copy(layer: nn.Module, sparsity: float) -> nn.Module:
    return engine.prune(copy.deepcopy(layer), engine.Spec(sparsity=sparsity)).eval()


@dataclass
class Wanted:
    """A sparsity of a shape, and the speed-up it has to reach."""

    sparsity: float
    goal: float | None = None


@torch.inference_mode()
def measured(
    case: str,
    dense: Layer,
    baselines: dict[str, Callable[[], object]],
    inputs: list[torch.Tensor],
    macs: int,
    wanted: list[Wanted],
    rounds: int,
) -> list[Row]:
    """A row for each sparsity of `dense`, called on the first of `inputs`; outputs are verified on all of them."""
    layers = [pruned_copy(dense, one.sparsity) for one in wanted]
    for layer in layers:
        for x in inputs:
            check_output(layer, x)
    calls = [lambda layer=layer: layer(inputs[0]) for layer in layers]
    baseline, dense_seconds, found = compare(baselines, calls, rounds)
    rows = []
    for one, layer, (seconds, speedup) in zip(wanted, layers, found, strict=True):
        told = engine.report(layer).layers[0]
        rows.append(
            Row(
                case=case,
                sparsity=one.sparsity,
                baseline=baseline,
                dense_seconds=dense_seconds,
                seconds=seconds,
                speedup=speedup,
                sparse_gflops=2e-9 * macs * told.nonzeros / told.parameters / seconds,
                dense_gflops=2e-9 * macs / dense_seconds,
                kernel=told.reason or told.kernel,
                goal=one.goal,
            )
        )
    return rows


def linear_rows(shape: list[int], wanted: list[Wanted], rounds: int) -> list[Row]:
    rows, cols, columns = shape
    dense, x = nn.Linear(cols, rows), torch.randn(columns, cols)
    case = f"linear {rows}×{cols}, x ({columns}, {cols})"
    return measured(case, dense, {"dense": lambda: dense(x)}, [x], rows * cols * columns, wanted, rounds)


def conv_rows(shape: list[int], wanted: list[Wanted], rounds: int) -> list[Row]:
    out, channels, kernel, stride, padding, height, width, batch = shape
    dense = nn.Conv2d(channels, out, kernel, stride, padding)
    last = nn.Conv2d(channels, out, kernel, stride, padding).to(memory_format=torch.channels_last)
    x = torch.randn(batch, channels, height, width)
    x_last = x.to(memory_format=torch.channels_last)
    baselines = {"dense NCHW": lambda: dense(x)}
    # A goal below 1 asks that pruning cost nothing: the baseline is then the very layer that was pruned.
    if any(one.goal is None or one.goal > 1 for one in wanted):
        baselines["dense channels_last"] = lambda: last(x_last)
    y_height, y_width = ((side + 2 * padding - kernel) // stride + 1 for side in (height, width))
    macs = batch * y_height * y_width * dense.weight.numel()
    case = f"conv {channels}→{out}, {kernel}×{kernel}/{stride}, {height}×{width}, batch {batch}"
    return measured(case, dense, baselines, [x, x_last], macs, wanted, rounds)


def conv3d_rows(shape: list[int], wanted: list[Wanted], rounds: int) -> list[Row]:
    out, channels, *sides = shape[:-1]
    kernel, stride, padding, size = (tuple(sides[i : i + 3]) for i in range(0, 12, 3))
    batch = shape[-1]
    dense = nn.Conv3d(channels, out, kernel, stride, padding)
    last = nn.Conv3d(channels, out, kernel, stride, padding).to(memory_format=torch.channels_last_3d)
    x = torch.randn(batch, channels, *size)
    x_last = x.to(memory_format=torch.channels_last_3d)
    made = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, padding, kernel, stride, strict=True)]
    macs = batch * math.prod(made) * dense.weight.numel()
    k, s, n = ("×".join(map(str, sides)) for sides in (kernel, stride, size))
    case = f"conv {channels}→{out}, {k}/{s}, {n}, batch {batch}"
    baselines = {"dense NCDHW": lambda: dense(x), "dense channels_last_3d": lambda: last(x_last)}
    return measured(case, dense, baselines, [x, x_last], macs, wanted, rounds)


def transposed_rows(shape: list[int], wanted: list[Wanted], rounds: int) -> list[Row]:
    out, channels, kernel, stride, padding, height, width, batch = shape
    dense = nn.ConvTranspose2d(channels, out, kernel, stride, padding)
    last = nn.ConvTranspose2d(channels, out, kernel, stride, padding).to(memory_format=torch.channels_last)
    x = torch.randn(batch, channels, height, width)
    x_last = x.to(memory_format=torch.channels_last)
    case = f"transposed conv {channels}→{out}, {kernel}×{kernel}/{stride}, {height}×{width}, batch {batch}"
    baselines = {"dense NCHW": lambda: dense(x), "dense channels_last": lambda: last(x_last)}
    return measured(case, dense, baselines, [x, x_last], batch * height * width * dense.weight.numel(), wanted, rounds)


# An operation, how many numbers its shape has, and what times it; other operations are those of bench/cpp.
MEASURED: dict[str, tuple[int, Callable[[list[int], list[Wanted], int], list[Row]]]] = {
    "linear": (3, linear_rows),
    "conv": (8, conv_rows),
    "conv3d": (15, conv3d_rows),
    "transposed": (8, transposed_rows),
}


def cases_in(text: str) -> dict[tuple[str, ...], list[Wanted]]:
    """The sparsities of each shape of a file of bench/shapes, in order; a shape is an operation and its numbers."""
    cases: dict[tuple[str, ...], list[Wanted]] = {}
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if fields:
            count = 1 + MEASURED[fields[0]][0]
            cases.setdefault(tuple(fields[:count]), []).append(Wanted(*map(float, fields[count:])))
    return cases


def selection_row() -> Row:
    """Exact global selection over 58 M weights, against torch's, on the same layers."""
    from torch.nn.utils import prune

    def layers() -> nn.Sequential:
        return nn.Sequential(nn.Linear(9216, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 1000))

    theirs, mine = layers(), layers()
    mine.load_state_dict(theirs.state_dict())
    start = time.perf_counter()
    prune.global_unstructured([(layer, "weight") for layer in theirs], pruning_method=prune.L1Unstructured, amount=0.9)
    dense_seconds = time.perf_counter() - start
    seconds = []
    for _ in range(3):
        ours = pruned_layers(mine, seconds)
    for a, b in zip(theirs, ours, strict=True):
        disagree = int(torch.count_nonzero(a.weight_mask.bool() != b.weight.ne(0)))
        if disagree > 2:  # the two may keep different ones of equal magnitude
            raise SystemExit(f"the selections differ in {disagree} weights")
    median = statistics.median(seconds)
    case = "global selection of 58 M weights, 90% (torch.nn.utils.prune)"
    return Row(case, 0.9, "global_unstructured", dense_seconds, median, dense_seconds / median, 0, 0, "native", 30.0)


def pruned_layers(model: nn.Module, seconds: list[float]) -> nn.Module:
    ours = copy.deepcopy(model)
    start = time.perf_counter()
    engine.prune(ours, engine.Spec(sparsity=0.9, scope="global"))
    seconds.append(time.perf_counter() - start)
    return ours


def overhead_row(rounds: int) -> Row:
    """A layer too small to gain: what a call through the pruned class costs more."""
    (row,) = linear_rows([64, 64, 1], [Wanted(0.9, 1 / 1.5)], max(rounds, 51))
    row.case = f"call of a small layer: {row.case}"
    return row


def table(rows: list[Row]) -> list[str]:
    return [
        "| case | sparsity | dense ms | sparse ms | speed-up | sparse GFLOP/s | dense GFLOP/s | baseline | kernel | goal |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {r.case} | {r.sparsity:.0%} | {r.dense_seconds * 1e3:.3f} | {r.seconds * 1e3:.3f} | {r.speedup:.2f}× | "
            f"{r.sparse_gflops:.1f} | {r.dense_gflops:.1f} | {r.baseline} | {r.kernel} | {r.verdict} |"
            for r in rows
        ),
    ]


def markdown(sections: dict[str, list[Row]], arguments: list[str]) -> str:
    lines = [
        "# Benchmarks",
        "",
        f"Written by `python bench/compare.py {' '.join(arguments)}`. {describe()}",
        "",
        "Dense is `torch`, for a convolution the faster of NCHW and channels_last. All sparsities of a shape are timed in the",
        "same rounds against one dense baseline. Times are medians of interleaved calls; speed-up is the median of the ratios",
        "within a round. Conversion of layouts is inside the times. GFLOP/s count the stored weights only for sparse. The",
        "kernel is the format chosen, or why the layer stayed dense.",
    ]
    for name, rows in sections.items():
        lines += ["", f"## {name}", "", *table(rows)]
    return "\n".join(lines) + "\n"


def headline(rows: list[Row]) -> list[str]:
    """The table of a README."""
    return [
        "| case | sparsity | dense ms | sparse ms | speed-up | goal |",
        "|---|---|---|---|---|---|",
        *(
            f"| {r.case} | {r.sparsity:.0%} | {r.dense_seconds * 1e3:.3f} | {r.seconds * 1e3:.3f} | {r.speedup:.2f}× "
            f"| {r.verdict} |"
            for r in rows
        ),
        "",
        describe(),
    ]


def main() -> None:
    names = sorted(path.stem for path in SHAPES.glob("*.txt") if path.read_text().split("\n")[-2].split()[0] in MEASURED)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["headline"], choices=names, help="files of bench/shapes")
    parser.add_argument("--all", action="store_true", help="every file of bench/shapes, the selection and the call overhead")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--readme", type=Path, help="a file whose benchmarks markers take the headline rows")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    chosen = ["headline", *(name for name in names if name != "headline")] if options.all else options.shapes
    sections: dict[str, list[Row]] = {name: [] for name in chosen}

    def add(name: str, row: Row) -> None:
        sections[name].append(row)
        print(
            f"{row.case:58} {row.sparsity:4.0%}  {row.dense_seconds * 1e3:9.3f} ms → {row.seconds * 1e3:8.3f} ms  "
            f"{row.speedup:6.2f}×  {row.sparse_gflops:5.1f} / {row.dense_gflops:5.1f} GFLOP/s  {row.baseline}; {row.kernel}  "
            f"{row.verdict}",
            flush=True,
        )

    for name in chosen:
        for (operation, *shape), wanted in cases_in((SHAPES / f"{name}.txt").read_text()).items():
            for row in MEASURED[operation][1]([int(side) for side in shape], wanted, options.rounds):
                add(name, row)
    if "headline" in chosen:
        add("headline", overhead_row(options.rounds))
        add("headline", selection_row())
    if options.json:
        content = {"machine": describe(), **{name: [asdict(row) for row in rows] for name, rows in sections.items()}}
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    if options.readme:
        insert(options.readme, "benchmarks", "bench/compare.py", headline(sections["headline"]))
    if options.markdown:
        options.markdown.write_text(markdown(sections, sys.argv[1:]))


if __name__ == "__main__":
    main()

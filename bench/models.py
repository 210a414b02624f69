"""Whole models: compiled by this library against dense runtimes, in one process, in turns, every output verified.

    python bench/models.py --markdown docs/models.md --readme README.md
    python bench/models.py --models resnet50:1,16 mlp:64 --sparsities 0.8 0.9

Rivals are those installed, on the same threads and the same weights before pruning: torch (NCHW, channels_last, and with
--torch-compile inductor, which compiles for minutes), ONNX Runtime and OpenVINO in float32, and both in int8: ONNX Runtime's
static quantization (QDQ, per channel), which OpenVINO reads too, and NNCF's, on a few random batches. At batches of twice the
threads and more OpenVINO also runs in throughput mode: a request on each thread with its share of the batch. ONNX Runtime's
threads must not spin while others are timed (session.intra_op.allow_spinning is 0), nor torch's for long (GOMP_SPINCOUNT), or
the next in turn suffers.

Times are medians over rounds in which everybody runs once. Ratios are to the fastest dense runtime of the row, once in float32
and once in int8. Float32 outputs are verified to 1e-4 of the largest. Those in int8 need a cosine of 0.9 with float32's, or are
left out: random weights have no margin for rounding, as trained ones do, and their outputs hardly depend on the image, so this
finds a network that is broken (an unrelated output has a cosine near 0), not a loss of accuracy. torchvision gives the
convolutional networks, with random weights.
"""

import argparse
import os
import statistics
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

# Before torch: its threads would spin through the others' turns. A tenth of a millisecond takes them from one operation to the
# next; "passive", without any, makes torch half as fast.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch
from machine import describe
from model_rivals import Array, Call, Exported, float32_calls, int8_calls
from networks import Network, network
from readme import insert
from torch import nn

import sparse_engine as engine

TOLERANCE, LEAST_COSINE = 1e-4, 0.9
MODELS = (
    "resnet50:1,16",
    "vgg16:1",
    "mobilenet_v2:1,16",
    "efficientnet_b0:1",
    "vit_b_16:1",
    "bert:1",
    "yolov8n:1",
    "mlp:1,64,256",
)
IN_README = (0.8, 0.9, 0.95)  # sparsities


@dataclass
class Row:
    """Milliseconds of everybody at one batch size; `ours` by sparsity."""

    model: str
    batch: int
    float32: dict[str, float]
    int8: dict[str, float]
    ours: dict[float, float]

    def cell(self, sparsity: float) -> str:
        """Time, and ratios to the fastest of both kinds."""
        taken = self.ours[sparsity]
        ratios = [min(times.values()) / taken for times in (self.float32, self.int8) if times]
        return f"{taken:.2f} ({' / '.join(f'{ratio:.2f}×' for ratio in ratios)})"


def measured(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median milliseconds of each, everybody once a round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def check(name: str, found: Array, expected: Array) -> None:
    """Refuse to time what computes something else."""
    error = np.abs(found - expected).max() / np.abs(expected).max()
    if not error <= TOLERANCE:
        sys.exit(f"{name}: output differs by {error:.1e} of the largest, above {TOLERANCE}")


def is_near(name: str, found: Array, expected: Array) -> bool:
    """Whether an output in int8 has the direction of the one in float32; one that has not is named."""
    a, b = found.astype(np.float64).ravel(), expected.astype(np.float64).ravel()
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    cosine = float(a @ b) / lengths if lengths else 0.0
    if cosine < LEAST_COSINE:
        print(
            f"{name} is left out: its output has a cosine of {cosine:.3f} with float32's, below {LEAST_COSINE}", file=sys.stderr
        )
    return cosine >= LEAST_COSINE


def exported_if_possible(dense: Network) -> Exported | None:
    """None where onnx is not installed."""
    try:
        import onnx  # noqa: F401
    except ImportError:
        return None
    return Exported(dense)


def with_batches(text: str) -> tuple[str, list[int]]:
    """A model and its batch sizes: `resnet50:1,16`, or the model alone for one image and sixteen."""
    name, _, batches = text.partition(":")
    return name, [int(batch) for batch in (batches or "1,16").split(",")]


def pruned_to(model: nn.Module, sparsity: float) -> nn.Module:
    """As `prune` does by itself: depthwise convolutions and the first one stay dense."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "left alone")
        return engine.prune(model, engine.Spec(sparsity=sparsity)).eval()


def rows_of(name: str, batches: list[int], options: argparse.Namespace) -> list[Row]:
    """A row for each batch size."""
    dense = network(name)
    pruned = {}
    for sparsity in options.sparsities:
        model = network(name).model
        if sparsity:
            model = pruned_to(model, sparsity)
        pruned[sparsity] = (model, engine.compile(model, dense.inputs(1), threads=options.threads))
    exported = exported_if_possible(dense)
    rows = []
    for batch in batches:
        x = dense.inputs(batch, seed=1)
        float32 = float32_calls(dense.model, exported, x, options.threads, options.torch_compile)
        int8 = {} if options.no_int8 else int8_calls(exported, x, options.threads)
        with torch.inference_mode():
            expected = dense.model(x).numpy()
            for rival, call in float32.items():
                check(f"{name}, {rival}", call(), expected)
            int8 = {rival: call for rival, call in int8.items() if is_near(f"{name}, {rival}", call(), expected)}
            for sparsity, (model, compiled) in pruned.items():
                check(f"{name} at {sparsity:.0%}", compiled(x.numpy()), model(x).numpy())
        ours: dict[str, Call] = {str(s): partial(c, x.numpy()) for s, (_, c) in pruned.items()}
        times = measured(float32 | int8 | ours, options.rounds)
        rows.append(
            Row(
                name,
                batch,
                {rival: times[rival] for rival in float32},
                {rival: times[rival] for rival in int8},
                {s: times[str(s)] for s in pruned},
            )
        )
        print(line_of(rows[-1]), flush=True)
    return rows


def line_of(row: Row) -> str:
    """The row in full."""
    rivals = [", ".join(f"{name} {taken:.2f}" for name, taken in times.items()) or "–" for times in (row.float32, row.int8)]
    return f"| {row.model} | {row.batch} | {' | '.join(rivals)} | {' | '.join(row.cell(s) for s in row.ours)} |"


def full_table(rows: list[Row]) -> list[str]:
    """Every rival and every sparsity."""
    heads = [f"compiled, {s:.0%}" for s in rows[0].ours]
    return [
        f"| model | batch | dense float32, ms | dense int8, ms | {' | '.join(heads)} |",
        "|---" * (4 + len(heads)) + "|",
        *map(line_of, rows),
    ]


def summary(rows: list[Row]) -> list[str]:
    """The fastest rivals alone, and the sparsities that a README shows."""
    shown = [s for s in rows[0].ours if s in IN_README] or list(rows[0].ours)
    heads = [f"compiled, {s:.0%}" for s in shown]
    lines = [
        f"| model | batch | fastest dense float32, ms | fastest dense int8, ms | {' | '.join(heads)} |",
        "|---" * (4 + len(shown)) + "|",
    ]
    for row in rows:
        best = [min((taken, name) for name, taken in times.items()) if times else None for times in (row.float32, row.int8)]
        cells = ["–" if one is None else f"{one[0]:.2f} ({one[1]})" for one in best]
        lines.append(f"| {row.model} | {row.batch} | {' | '.join([*cells, *(row.cell(s) for s in shown)])} |")
    return [*lines, "", describe()]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=with_batches, default=list(map(with_batches, MODELS)))
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.0, 0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch-compile", action="store_true", help="torch.compile among the rivals; it compiles for long")
    parser.add_argument("--no-int8", action="store_true", help="without the rivals in int8, which are quantized first")
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--readme", type=Path, help="a file whose models markers take the summary")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    rows = [row for name, batches in options.models for row in rows_of(name, batches, options)]
    if options.readme:
        insert(options.readme, "models", "bench/models.py", summary(rows))
    if options.markdown:
        about = [
            "# Whole models",
            "",
            "Milliseconds, and in brackets the ratios to the fastest dense runtime of the row in float32 and in int8.",
            "Medians in one process, in turns; every output verified.",
            "",
            f"{describe()} Written by `python bench/models.py {' '.join(sys.argv[1:])}`.",
            "",
        ]
        options.markdown.write_text("\n".join([*about, *full_table(rows), ""]))


if __name__ == "__main__":
    main()

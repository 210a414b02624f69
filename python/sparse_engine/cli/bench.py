"""`sparse-engine bench`: a model in this engine and in others, in turns, its outputs compared."""

import argparse
import statistics
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from .. import runtime
from ..compiler.compiled import is_compiled
from ..measure.difference import difference
from ..measure.text_table import table
from ..measure.turns import taking_turns
from .engines import RIVALS, Call, feeds_of, opened, sparse
from .output import UserError, add_fallback, add_shape, existing, importable, print_json, shapes_of, whole_number, whole_numbers

DESCRIPTION = """\
Time a model in this engine and, from its ONNX file, in others that are installed. All take turns in one process with the same
threads, on the same random inputs; their outputs are compared first. Weights keep the zeros that the file has.
"""
SECONDS, LEAST_ROUNDS, MOST_ROUNDS = 2.0, 5, 200  # for all engines of a row together
LARGEST_DIFFERENCE = 1e-3  # of the largest output


@dataclass(frozen=True)
class Row:
    """An engine at a batch and a number of threads.

    Attributes:
        median_ms, p99_ms: of a call.
        per_second: items of the batch.
        ratio: the median of the fastest other engine over this one's; None where there is no other.
    """

    engine: str
    batch: int
    threads: int
    median_ms: float
    p99_ms: float
    per_second: float
    ratio: "float | None"


def add(commands: Any) -> None:
    """The command's arguments."""
    parser = commands.add_parser("bench", help="time a model here and in other engines", description=DESCRIPTION)
    parser.set_defaults(run=run)
    parser.add_argument("model", type=existing, metavar="MODEL", help="an ONNX file, or one that was compiled")
    parser.add_argument("--dense", type=existing, metavar="ONNX", help="what the other engines run (default: MODEL itself)")
    batches, counts = whole_numbers(1, 65536), whole_numbers(1, 4096)
    parser.add_argument("--batch", type=batches, default=[1], metavar="N,N", help="batch sizes (default: 1)")
    parser.add_argument("--threads", type=counts, metavar="N,N", help="threads of a call (default: as `info` shows)")
    parser.add_argument("--engine", metavar="A,B", help=f"of sparse, {', '.join(RIVALS)} (default: all that are installed)")
    add_shape(parser)
    add_fallback(parser)
    parser.add_argument("--rounds", type=whole_number(1, 100_000), metavar="N", help="timed calls (default: two seconds a row)")
    parser.add_argument("--json", action="store_true", help="print JSON, and nothing else, on standard output")


def run(options: argparse.Namespace) -> int:
    """Time, print; 1 where outputs differ."""
    names = _chosen(options)
    model = opened(options.model, shapes=shapes_of(options.shape), fallback=options.fallback)
    rows: list[Row] = []
    for batch in options.batch:
        for threads in options.threads or [runtime.num_threads()]:
            rows += _rows(options, names, model, batch, threads)
    if options.json:
        print_json([asdict(row) for row in rows])
        return 0
    head = ["engine", "batch", "threads", "median ms", "p99 ms", "items/s", "against the fastest other"]
    print(table(head, [_cells(row) for row in rows]), flush=True)
    return 0


def _cells(row: Row) -> list[str]:
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}×"
    times = (f"{row.median_ms:.3f}", f"{row.p99_ms:.3f}", f"{row.per_second:.1f}")
    return [row.engine, str(row.batch), str(row.threads), *times, ratio]


def _chosen(options: argparse.Namespace) -> list[str]:
    source = options.dense or options.model
    possible = [name for name in RIVALS if importable(name)]
    if options.engine is None:
        return ["sparse", *(possible if not is_compiled(source) else [])]
    names = options.engine.split(",")
    for name in names:
        if name != "sparse" and name not in RIVALS:
            raise UserError(f"--engine {name!r} is none of sparse, {', '.join(RIVALS)}")
        if name in RIVALS and name not in possible:
            raise UserError(f"{name} is not installed: pip install {name}")
        if name in RIVALS and is_compiled(source):
            raise UserError(f"{name} cannot run a compiled file: give the ONNX file with --dense")
    return list(dict.fromkeys(names))


def _rows(options: argparse.Namespace, names: list[str], model: Any, batch: int, threads: int) -> list[Row]:
    feeds = feeds_of(model, batch)
    if any("N" not in str(tensor.shape) for tensor in model.inputs) and batch != 1:
        raise UserError(f"--batch {batch}: the file fixes the batch of its inputs; give 1, or export it with the batch open")
    calls: dict[str, Call] = {}
    for name in names:
        try:
            calls[name] = sparse(model, threads) if name == "sparse" else RIVALS[name](options.dense or options.model, threads)
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{name} cannot run the model: {str(error).splitlines()[0]}") from error
    outputs = {name: call(feeds) for name, call in calls.items()}
    first, *others = names
    for name in others:
        off = max(difference(a, b) for a, b in zip(outputs[name], outputs[first], strict=True))
        if off > LARGEST_DIFFERENCE and not options.dense:
            raise UserError(f"{name} and {first} differ by {off:.1e} of the largest output; nothing was timed")
    timed = [partial(call, feeds) for call in calls.values()]
    rounds = options.rounds
    if rounds is None:
        once = sum(times[0] for times in taking_turns(timed, 1))
        rounds = max(LEAST_ROUNDS, min(MOST_ROUNDS, int(SECONDS / max(once, 1e-6))))
    samples = dict(zip(calls, taking_turns(timed, rounds), strict=True))
    medians = {name: statistics.median(times) for name, times in samples.items()}
    rows = []
    for name, times in samples.items():
        rest = [seconds for other, seconds in medians.items() if other != name]
        ratio = min(rest) / medians[name] if rest else None
        p99 = float(np.quantile(times, 0.99))
        rows.append(Row(name, batch, threads, 1e3 * medians[name], 1e3 * p99, batch / medians[name], ratio))
    return rows

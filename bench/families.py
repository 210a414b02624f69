"""Every model family that is deployed, compiled: what of it is sparse, what it takes, or which operation refuses.

    python bench/families.py --markdown docs/families.md
    python bench/families.py --families swin yolo

Definitions are those of the families' own packages, with random weights; a family whose package is not installed has a row that
says so. Layers are pruned to 90%, but for what `prune` leaves alone (depthwise convolutions, those of an image's channels).
Then batch norms get random weights, and the statistics of a random batch as their model sees it, so that signals neither die
nor explode. The compiled model is compared with torch on the same weights at a batch of 2 and timed in turns with it and, where
torch.onnx exports the model, with ONNX Runtime: medians over rounds in which everybody runs once, torch's OpenMP threads
spinning no longer than from one operation to the next (GOMP_SPINCOUNT), ONNX Runtime's not at all.
"""

import argparse
import contextlib
import gc
import io
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

# Before torch, as in models.py.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch
from family_networks import BUILD
from machine import describe
from model_rivals import onnx_runtime_session
from networks import Network
from torch import nn

import sparse_engine as engine
from sparse_engine.channels.export import plain_copy

BATCH, SPARSITY, TOLERANCE = 2, 0.9, 1e-4
OPSET = 17  # of the files that ONNX Runtime gets
FEW, SECONDS = 5, 1.0  # rounds: at least so many, and as many as fit in so long

Given = tuple[torch.Tensor, ...]


@dataclass
class Row:
    """What is known of a family; `refused` says why there is nothing else.

    Attributes:
        sparse_share: multiply-adds of the dense model in layers of which less than half the weights are stored, of all.
        reorders: steps of a run that only copy elements into another order.
        error: relative to the largest of each output.
        ours, eager, onnx: milliseconds; the last None where the model cannot be exported or ONNX Runtime is not installed.
    """

    family: str
    refused: str = ""
    nodes: int = 0
    sparse_share: float = 0.0
    reorders: int = 0
    error: float = 0.0
    ours: float = 0.0
    eager: float = 0.0
    onnx: "float | None" = None

    def line(self) -> str:
        """Of the table."""
        if self.refused:
            return f"| {self.family} | {self.refused.replace('|', '/')} | | | | | | |"
        dense = "–" if self.onnx is None else f"{self.onnx:.1f} ({self.onnx / self.ours:.2f}×)"
        cells = [self.family, self.nodes, f"{self.sparse_share:.0%}", self.reorders, f"{self.error:.0e}", f"{self.ours:.1f}"]
        return f"| {' | '.join(map(str, cells))} | {self.eager:.1f} ({self.eager / self.ours:.2f}×) | {dense} |"


HEAD = [
    "| family | nodes | of the multiply-adds sparse | reorders | error | compiled, ms | torch, ms | ONNX Runtime, ms |",
    "|---|---|---|---|---|---|---|---|",
]


def inputs_of(network: Network, batch: int, seed: int = 0) -> Given:
    """Always a tuple."""
    given = network.inputs(batch, seed)
    return given if isinstance(given, tuple) else (given,)


def prepared(network: Network) -> nn.Module:
    """The model with zeros among its weights and batch norms that saw a batch, of torch's own layers."""
    network.model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruned = engine.prune(network.model, engine.Spec(sparsity=SPARSITY))
    model = plain_copy(pruned)
    settle(model, inputs_of(network, 4))
    return model


def settle(model: nn.Module, given: Given) -> None:
    """Random weights for batch norms and the statistics of what reaches them; what starts at 0, or close to it, counts."""
    generator = torch.Generator().manual_seed(3)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.copy_(0.5 + torch.rand(norm.weight.shape, generator=generator))
            norm.bias.copy_(0.2 * torch.randn(norm.bias.shape, generator=generator))
            norm.reset_running_stats()
            norm.momentum = 1.0  # the statistics of the one batch
            norm.train()
        for name, parameter in model.named_parameters():
            scale = "layer_scale" in name
            if scale or (parameter.ndim > 1 and not parameter.any()):
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator) + float(scale))
        if norms:
            model(*given)
    model.eval()


def tensors_of(found: Any) -> list[np.ndarray[Any, Any]]:
    """Outputs as arrays, in order, of mappings, tuples and lists."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, (tuple, list)):
        return [array for one in found for array in tensors_of(one)]
    return [np.asarray(found)]


def difference(found: Any, expected: Any) -> float:
    """The largest over all outputs, each relative to its own largest."""
    pairs = zip(tensors_of(found), tensors_of(expected), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def steps_of(compiled: engine.CompiledModel, given: Given) -> list[tuple[Any, ...]]:
    """Of a run: number of the node, kernel, how often, seconds, multiply-adds, bytes."""
    arrays = [np.ascontiguousarray(x.numpy(), np.float32) for x in given]
    results = [np.empty([BATCH if size == "N" else size for size in y.shape], np.float32) for y in compiled.outputs]
    return list(compiled._session.profile(BATCH, arrays, results))


def shares(compiled: engine.CompiledModel, given: Given) -> tuple[float, int]:
    """Share of the multiply-adds that is sparse, and the number of reorders."""
    sparse = whole = 0.0
    reorders = 0
    for number, kernel, often, _, multiply_adds, _ in steps_of(compiled, given):
        reorders += kernel == "copy"
        weight = compiled.nodes[number]["weight"]
        density = 1.0 if weight is None else weight[2] / (weight[0] * weight[1])
        dense = multiply_adds * often / max(density, 1e-9)
        whole += dense
        sparse += dense if density < 0.5 else 0.0
    return sparse / max(whole, 1.0), reorders


def in_onnx_runtime(model: nn.Module, given: Given, folder: str, threads: int) -> "Callable[[], Any] | None":
    """The model in ONNX Runtime at this batch, None where that does not go."""
    path = Path(folder, "model.onnx")
    names = [f"x{i}" for i in range(len(given))]
    fast = torch.backends.mha.get_fastpath_enabled()  # torch's fused encoder is no operation of ONNX
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(model, given, str(path), dynamo=False, opset_version=OPSET, input_names=names)
        session = onnx_runtime_session(path, threads)
    except Exception:  # exporters raise whatever they come across
        return None
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    arrays = {name: x.numpy() for name, x in zip(names, given, strict=True)}
    return partial(session.run, None, {one.name: arrays[one.name] for one in session.get_inputs()})


def measured(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median milliseconds of each, everybody once a round."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    begun = time.perf_counter()
    while len(next(iter(times.values()))) < FEW or time.perf_counter() - begun < SECONDS:
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def row_of(family: str, threads: int) -> Row:
    """Build, prune, compile, compare and time; whatever is in the way stands in the row."""
    torch.manual_seed(0)
    try:
        network = BUILD[family]()
    except Exception as error:  # packages that are missing, or that miss others
        return Row(family, refused=f"cannot be built here: {first_line(error)}")
    model = prepared(network)
    given = inputs_of(network, BATCH, seed=1)
    try:
        compiled = engine.compile(model, inputs_of(network, 1), threads=threads)
    except ValueError as error:
        return Row(family, refused=f"refused: {first_line(error)}")
    with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
        error = difference(compiled(*given), model(*given))
        if not error <= TOLERANCE:
            return Row(family, refused=f"differs from torch by {error:.1e} of the largest output, above {TOLERANCE}")
        share, reorders = shares(compiled, given)
        calls: dict[str, Callable[[], Any]] = {"ours": partial(compiled, *given), "eager": partial(model, *given)}
        dense = in_onnx_runtime(model, given, folder, threads)
        if dense is not None:
            onnx_error = difference(dense(), model(*given))
            if onnx_error <= TOLERANCE:
                calls["onnx"] = dense
            else:
                print(f"{family}: ONNX Runtime differs by {onnx_error:.1e} and is left out", file=sys.stderr)
        times = measured(calls)
    return Row(family, "", len(compiled.nodes), share, reorders, error, times["ours"], times["eager"], times.get("onnx"))


def first_line(error: BaseException) -> str:
    """Of a message, without the advice behind it."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].split(". fallback=")[0][:300]


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--families", nargs="+", default=[], help="those whose name has one of these words in it; all by default"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path, help="a file that takes the table; rows of families not run now are kept")
    parser.add_argument("--note", default="", help="a sentence above the table, such as what else the machine did")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    chosen = [name for name in BUILD if not options.families or any(w.lower() in name.lower() for w in options.families)]
    lines = kept_lines(options.markdown)
    for name in chosen:
        lines[name] = row_of(name, options.threads).line()
        print(lines[name], flush=True)
        gc.collect()
        if options.markdown:
            rows = [lines[known] for known in BUILD if known in lines]
            notes = [describe(), *([options.note] if options.note else []), ""]
            options.markdown.write_text("\n".join([*ABOUT, *notes, *HEAD, *rows, ""]))


ABOUT = [
    "# Model families",
    "",
    "Written by `python bench/families.py --markdown docs/families.md`, whose head says what is done: definitions of the",
    "families' own packages, random weights, 90% pruned but for what `prune` leaves dense by itself. Batch of 2; in",
    "brackets how much longer the dense runtime takes, on as many threads. Detectors are without their post-processing, such",
    "as non-maximum suppression. Sparse multiply-adds are those of the dense model in layers of which less than half the",
    "weights are stored; reorders are steps that only copy elements into another order. ONNX Runtime is float32 and dense; –",
    "where `torch.onnx` does not export the model as it does here.",
    "",
]


def kept_lines(path: "Path | None") -> dict[str, str]:
    """Rows of an earlier run, by family."""
    if path is None or not path.exists():
        return {}
    rows = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    return {line.split(" | ")[0].removeprefix("| "): line for line in rows if not line.startswith("| family")}


if __name__ == "__main__":
    main()

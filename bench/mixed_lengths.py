"""Sequences of different lengths: a compiled model beside dense runtimes, in one process, in turns, every output verified.

    python bench/mixed_lengths.py --sparsities 0.8 0.9 0.95

BERT-base without its pooler, sixteen sequences of 16 to 256 tokens. Nobody pads: ONNX Runtime and OpenVINO take a model whose
batch and tokens are both open, one sequence at a time, which is faster for them than a batch padded to the longest (that is
timed too). Times are medians over rounds in which everybody runs once, after a round that is not counted: OpenVINO compiles a
length when it sees it first, we plan it.
"""

import argparse
import os
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

# Before torch, as in models.py.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np
import torch
from machine import describe
from model_rivals import Array, Call, installed_openvino, onnx_runtime_session, openvino_compiled
from models import TOLERANCE, measured, pruned_to
from networks import network
from torch import nn

import sparse_engine as engine
from sparse_engine.measure.difference import difference
from sparse_engine.measure.text_table import table

LONGEST = 256


class Masked(nn.Module):
    """The same with a mask, for padded batches."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """(N, tokens) numbers and truth values to (N, tokens, features)."""
        return self.model.model(input_ids=ids, attention_mask=mask).last_hidden_state


def exported(model: nn.Module, given: tuple[torch.Tensor, ...], names: list[str], path: Path) -> Path:
    """In ONNX, batch and tokens open."""
    axes = {name: {0: "n", 1: "t"} for name in [*names, "y"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, given, str(path), input_names=names, output_names=["y"], dynamic_axes=axes, dynamo=False)
    return path


def rivals(model: nn.Module, sequences: list[Array], folder: Path, threads: int) -> dict[str, Call]:
    """By name, what computes all sequences, dense; those that are installed."""
    calls: dict[str, Any] = {}
    path = exported(model, (torch.zeros(2, 9, dtype=torch.int64),), ["ids"], folder / "one.onnx")
    ones = torch.ones(2, 9, dtype=torch.int64)
    padded = exported(Masked(model).eval(), (ones, ones), ["ids", "mask"], folder / "padded.onnx")
    try:
        session, wide = onnx_runtime_session(path, threads), onnx_runtime_session(padded, threads)
    except ImportError:
        return calls
    calls["ONNX Runtime"] = lambda: [session.run(None, {"ids": ids})[0] for ids in sequences]
    ids, mask = (np.zeros((len(sequences), max(s.shape[1] for s in sequences)), np.int64) for _ in range(2))
    for row, sequence in enumerate(sequences):
        ids[row, : sequence.shape[1]], mask[row, : sequence.shape[1]] = sequence[0], 1

    def of_padded() -> Any:
        found = wide.run(None, {"ids": ids, "mask": mask})[0]
        return [found[row : row + 1, : sequence.shape[1]] for row, sequence in enumerate(sequences)]

    calls["ONNX Runtime, padded"] = of_padded
    if (openvino := installed_openvino()) is not None:
        compiled = openvino_compiled(openvino, openvino.Core().read_model(str(path)), threads)
        calls["OpenVINO"] = lambda: [np.array(compiled(one)[0]) for one in sequences]
    return calls


def main() -> None:
    """Print one line for everybody."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.8, 0.9, 0.95])
    parser.add_argument("--sequences", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    lengths = (
        torch.linspace(16, LONGEST, options.sequences).round().int()[torch.randperm(options.sequences, generator=generator)]
    )
    sequences = [torch.randint(0, 30000, (1, int(n)), generator=generator).numpy() for n in lengths]
    with tempfile.TemporaryDirectory() as folder:
        dense = network("bert").model
        calls = rivals(dense, sequences, Path(folder), options.threads)
        answers: dict[str, nn.Module] = dict.fromkeys(calls, dense)
        for sparsity in options.sparsities:
            model = pruned_to(network("bert").model, sparsity) if sparsity else network("bert").model
            compiled = engine.compile(
                model, torch.from_numpy(sequences[0]), threads=options.threads, open_axis=1, longest=LONGEST
            )
            calls[f"compiled, {sparsity:.0%}"] = partial(compiled, list(sequences))
            answers[f"compiled, {sparsity:.0%}"] = model
        for name, call in calls.items():
            with torch.inference_mode():
                for found, given in zip(call(), sequences, strict=True):
                    error = difference(np.asarray(found), answers[name](torch.from_numpy(given)).numpy())
                    if not error <= TOLERANCE:
                        sys.exit(f"{name}: output differs by {error:.1e} of the largest, above {TOLERANCE}")
        times = measured(calls, options.rounds)
    best = min((taken for name, taken in times.items() if not name.startswith("compiled")), default=float("nan"))
    print(
        f"{describe()} {options.sequences} sequences of {int(min(lengths))} to {int(max(lengths))} tokens, "
        f"{int(sum(lengths))} in all."
    )
    print(table(["engine", "ms", "× fastest dense"], [[n, f"{t:.1f}", f"{best / t:.2f}"] for n, t in times.items()]))


if __name__ == "__main__":
    main()

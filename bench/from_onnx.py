"""Pruned models compiled from torch and from the ONNX files made of them: in turns, outputs compared.

    python bench/from_onnx.py
    python bench/from_onnx.py --models resnet50:1,16 mlp:64 --sparsity 0.9

Needs onnx. The ratio is the time from ONNX over the one from torch.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import describe
from models import pruned_to, with_batches
from networks import network

import sparse_engine as engine
from sparse_engine.measure.difference import difference
from sparse_engine.measure.text_table import table
from sparse_engine.measure.timing import interleaved

TOLERANCE = 1e-4
AT_ONCE = 3  # calls in a turn


def row_of(name: str, batch: int, options: argparse.Namespace) -> list[str]:
    """A line of the table."""
    dense = network(name)
    model = pruned_to(dense.model, options.sparsity)
    engine.remove_masks(model)
    x = dense.inputs(max(batch, 2))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        open_batch = {"x": {0: "n"}, "y": {0: "n"}}
        torch.onnx.export(model, (x,), str(path), input_names=["x"], output_names=["y"], dynamic_axes=open_batch, dynamo=False)
        programs = [engine.compile(model, x), engine.compile(path, x)]
    given = x[:batch].numpy()
    first, second = (np.asarray(program(given)) for program in programs)
    error = difference(second, first)
    if not error <= TOLERANCE:
        sys.exit(f"{name}: outputs differ by {error:.1e} of the largest, above {TOLERANCE}")
    times = interleaved([partial(program, given) for program in programs], options.rounds, AT_ONCE)
    return [name, str(batch), *(f"{1e3 * t:.2f}" for t in times), f"{times[1] / times[0]:.3f}"]


def main() -> None:
    """Print one line for each model and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=with_batches, default=[("resnet50", [1]), ("vgg16", [1]), ("mlp", [64])])
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    print(describe())
    rows = [row_of(name, batch, options) for name, batches in options.models for batch in batches]
    print(table(["model", "batch", "torch ms", "ONNX ms", "ratio"], rows))


if __name__ == "__main__":
    main()

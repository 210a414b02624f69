"""Whole models: compiled by this library against dense runtimes, in one process, in turns, every output verified.

    python bench/models.py --models resnet50 mlp --batches 1 16 --sparsities 0 0.7 0.8 0.9 0.95 --markdown docs/models.md

Rivals are those installed: torch (NCHW and channels_last), ONNX Runtime, OpenVINO for one request at a time, all dense float32
on the same threads and the same weights before pruning. Times are medians over rounds in which everybody runs once; the ratio
is that of the fastest dense rival. torchvision gives the convolutional networks, with random weights.
"""

import argparse
import copy
import io
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from machine import describe
from torch import nn

import sparse_engine as engine

TOLERANCE = 1e-4


def mlp() -> nn.Module:
    """Two blocks of a transformer's width."""
    sizes = [(768, 3072), (3072, 768), (768, 3072), (3072, 768)]
    return nn.Sequential(*[m for i, o in sizes for m in (nn.Linear(i, o), nn.ReLU())][:-1])


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A model in eval mode and the shape of one item."""
    torch.manual_seed(0)
    if name == "mlp":
        return mlp().eval(), (768,)
    import torchvision

    return getattr(torchvision.models, name)(weights=None).eval(), (3, 224, 224)


Call = Callable[[], "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


def rivals(model: nn.Module, x: torch.Tensor, threads: int) -> dict[str, Call]:
    """Dense runtimes, by name."""
    calls: dict[str, Call] = {}

    def eager(module: nn.Module, given: torch.Tensor) -> Call:
        def call() -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
            with torch.inference_mode():
                return np.asarray(module(given).numpy())

        return call

    calls["torch"] = eager(model, x)
    if x.ndim == 4:
        other = copy.deepcopy(model)
        calls["torch channels_last"] = eager(
            other.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        )
    try:
        content = onnx_of(model, x)
    except ImportError:
        return calls
    given = x.numpy()
    try:
        import onnxruntime
    except ImportError:
        pass
    else:
        onnxruntime.set_default_logger_severity(3)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        calls["ONNX Runtime"] = lambda: session.run(None, {"x": given})[0]
    try:
        import openvino
    except ImportError:
        pass
    else:
        core = openvino.Core()
        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(io.BytesIO(content)), "CPU", settings)
        calls["OpenVINO"] = lambda: np.asarray(compiled(given)[0])
    return calls


def onnx_of(model: nn.Module, x: torch.Tensor) -> bytes:
    """The model in ONNX, for this batch size."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), buffer, dynamo=False, input_names=["x"], output_names=["y"])
    return buffer.getvalue()


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


def check(name: str, found: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]", expected: torch.Tensor) -> None:
    """Refuse to time what computes something else."""
    error = np.abs(found - expected.numpy()).max() / np.abs(expected.numpy()).max()
    if not error <= TOLERANCE:
        sys.exit(f"{name}: output differs by {error:.1e} of the largest, above {TOLERANCE}")


def rows_of(name: str, batches: list[int], sparsities: list[float], rounds: int, threads: int) -> list[str]:
    """Lines of the table."""
    dense, item = network(name)
    pruned = {}
    for sparsity in sparsities:
        model, _ = network(name)
        if sparsity:
            model = engine.prune(model, engine.Spec(sparsity=sparsity)).eval()
        pruned[sparsity] = (model, engine.compile(model, torch.randn(1, *item), threads=threads))
    lines = []
    for batch in batches:
        x = torch.randn(batch, *item)
        calls = rivals(dense, x, threads)
        with torch.inference_mode():
            expected = dense(x)
            for rival, call in calls.items():
                check(f"{name}, {rival}", call(), expected)
            for sparsity, (model, compiled) in pruned.items():
                check(f"{name} at {sparsity:.0%}", compiled(x.numpy()), model(x))
        given = x.numpy()
        ours = {f"{s:.0%}": partial(c, given) for s, (_, c) in pruned.items()}
        times = measured(calls | ours, rounds)
        best = min(calls, key=times.__getitem__)
        cells = [f"{times[key]:.2f} ({times[best] / times[key]:.2f}×)" for key in ours]
        others = ", ".join(f"{rival} {times[rival]:.2f}" for rival in calls)
        lines.append(f"| {name} | {batch} | {others} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet50", "vgg16", "mobilenet_v2", "mlp"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--sparsities", nargs="+", type=float, default=[0.0, 0.7, 0.8, 0.9, 0.95])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    engine.runtime.set_num_threads(options.threads)
    heads = " | ".join(f"compiled, {s:.0%}" for s in options.sparsities)
    lines = [f"| model | batch | dense, ms | {heads} |", "|---" * (3 + len(options.sparsities)) + "|"]
    for name in options.models:
        lines += rows_of(name, options.batches, options.sparsities, options.rounds, options.threads)
    if options.markdown:
        text = "\n".join(
            [
                "# Whole models",
                "",
                "Milliseconds, and in brackets the ratio to the fastest dense runtime of the row. Medians in one process, in",
                f"turns; every output verified. {describe()}. Written by `bench/models.py`.",
                "",
                *lines,
                "",
            ]
        )
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()

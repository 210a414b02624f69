"""Models with operations that no program has, and whether they run in segments as they do whole."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine


class Sorted(nn.Module):
    """Convolutions with in-place activations and a sum, a sort, a layer, a selection of the largest, a layer."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.relu = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True)
        self.middle, self.last = nn.Linear(8, 10), nn.Linear(10, 4)

    def forward(self, x):
        x = self.relu(self.norm(self.first(x)))
        x = self.relu(self.second(x) + x)
        x = torch.sort(x.mean((2, 3)), -1)[0]
        x = self.relu(self.middle(x))
        values, indices = torch.topk(x, 3, -1)
        x = torch.zeros(x.shape[0], 10).scatter(1, indices, values)
        return self.last(x), indices


def runtimes(compiled):
    """Where each segment runs."""
    return [segment.runtime for segment in compiled.segments]


def equal(found, expected):
    """Whether outputs agree to 1e-5 of the largest, indices exactly."""
    found = found if isinstance(found, tuple) else (found,)
    expected = expected if isinstance(expected, (tuple, list)) else (expected,)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(b).max(initial=0))))


def check_torch(model, *example, batches=range(1, 6), **options):
    """Compile with torch beside it and compare at several batch sizes; the result."""
    model = model.eval()
    compiled = engine.compile(model, example, fallback="torch", **options)
    for batch in batches:
        rows = [torch.arange(batch) % len(x) for x in example]
        given = [x[i] * (1.0 + 0.1 * batch) if x.is_floating_point() else x[i] for x, i in zip(example, rows, strict=True)]
        with torch.no_grad():
            expected = model(*[x.clone() for x in given])
        equal(compiled(*given), expected)
    return compiled


def check_onnxruntime(model, *example, batches=range(1, 6), **options):
    """Compile with ONNX Runtime beside it and compare at several batch sizes; the result."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model.ir_version = min(model.ir_version, 10)
    compiled = engine.compile(model, example, fallback="onnxruntime", **options)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in batches:
        given = [np.concatenate([x] * batch)[:batch] for x in example]
        equal(compiled(*given), session.run(None, dict(zip([t.name for t in compiled.inputs], given, strict=True))))
    return compiled


def at_once(compiled, *given, callers=2, calls=50):
    """How many of the calls of several threads return something else than one alone."""
    expected = compiled(*given)
    expected = expected if isinstance(expected, tuple) else (expected,)
    wrong = []

    def call():
        for _ in range(calls):
            found = compiled(*given)
            found = found if isinstance(found, tuple) else (found,)
            if not all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)):
                wrong.append(1)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(wrong)

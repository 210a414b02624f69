import numpy as np
import pytest
import torch
from torch import nn

from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes import PASSES
from sparse_engine.compiler.verification import difference, verify


def test_a_rewrite_that_changes_the_result_is_found():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    x = torch.randn(2, 3, 8, 8)
    g = capture(model, (x,), {})
    for rewrite in PASSES:
        rewrite(g)
    assert verify(g, model, (x,), {}) < 1e-6
    g.nodes[0].bias = g.nodes[0].bias + 0.01
    with pytest.raises(ValueError, match="differs from the model"):
        verify(g, model, (x,), {})


def test_differences_count_shapes_and_nans():
    a = np.array([1.0, 2.0], np.float32)
    assert difference(a, a) == 0
    assert difference(a, np.array([1.0, 4.0], np.float32)) == 0.5
    assert difference(a, a[:1]) == np.inf
    assert difference(a, np.array([1.0, np.nan], np.float32)) == np.inf
    assert difference(np.full(2, np.nan, np.float32), np.full(2, np.nan, np.float32)) == 0

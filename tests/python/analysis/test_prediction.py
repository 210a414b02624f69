import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def test_what_if_leaves_the_model_as_it_is():
    model = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 8))
    before = [p.clone() for p in model.parameters()]
    found = engine.analysis.what_if(model, 0.9, torch.randn(3, 64))
    assert [row.nonzeros for row in found.layers] == [819, 102]
    assert found.seconds > 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert not engine.masks(model)
    found = engine.analysis.what_if(model, 0.5, torch.randn(3, 64), engine.Spec(sparsity=0.1, granularity="4x1", include="0"))
    assert [row.nonzeros for row in found.layers] == [4096, 1024]

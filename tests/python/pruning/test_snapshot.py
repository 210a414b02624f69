"""What fails halfway leaves a model as it was: weights, masks, decisions, classes."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.snapshot import Snapshot  # noqa: E402


@pytest.mark.parametrize(
    ("make", "shape"), [(lambda: nn.Linear(16, 16), (3, 16)), (lambda: nn.LSTM(16, 16), (5, 3, 16))], ids=["one", "several"]
)
def test_masks_decisions_and_weights_come_back(make, shape):
    model = engine.prune(nn.Sequential(make()), engine.Spec(sparsity=0.5)).eval()
    with torch.inference_mode():
        engine.autotune(model, torch.randn(shape))
    decided = engine.nn.decisions(model)
    masks, values = engine.masks(model), {name: value.clone() for name, value in model.state_dict().items()}
    kind = type(model[0])
    snapshot = Snapshot(model)
    engine.prune(model, engine.Spec(sparsity=0.9))
    engine.autotune(model, torch.randn(shape[0] * 9, *shape[1:]))
    model[0]._sparse.choices.clear()
    engine.remove_masks(model)
    snapshot.restore()
    assert type(model[0]) is kind
    assert engine.nn.decisions(model) == decided
    for name, mask in masks.items():
        assert torch.equal(engine.masks(model)[name], mask)
    for name, value in values.items():
        assert torch.equal(model.state_dict()[name], value)


def test_decisions_dropped_without_another_mask_come_back_too():
    model = engine.prune(nn.Linear(16, 16), engine.Spec(sparsity=0.5)).eval()
    decided = engine.autotune(model, torch.randn(3, 16))
    snapshot = Snapshot(model)
    model._sparse.choices.clear()
    snapshot.restore()
    assert engine.nn.decisions(model) == decided

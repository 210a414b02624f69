import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def test_penalties_are_their_sums():
    model = network()
    conv, norm, linear = model[0].weight, model[1].weight, model[3].weight
    assert torch.isclose(engine.pruning.penalty(model, "l1"), conv.abs().sum() + linear.abs().sum())
    assert torch.isclose(engine.pruning.penalty(model, "l2", include="0"), conv.square().sum())
    assert torch.isclose(engine.pruning.penalty(model, "bn_l1"), norm.abs().sum())
    filters = sum((27**0.5) * conv[i].norm() for i in range(4))
    assert torch.isclose(engine.pruning.penalty(model, "group"), filters)
    blocks = sum((rows.numel() ** 0.5) * rows.norm() for first in (0, 4) for rows in linear[first : first + 4].t())
    assert torch.isclose(engine.pruning.penalty(model, "group", granularity="4x1", exclude="0"), blocks)


def test_gradients_are_finite_where_groups_are_zero():
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0
    engine.pruning.penalty(model, "group").backward()
    assert torch.isfinite(model[0].weight.grad).all()
    assert (model[0].weight.grad[1] == 0).all()


def test_group_lasso_empties_groups_that_pruning_then_removes():
    torch.manual_seed(0)
    model = nn.Linear(8, 16)
    x = torch.randn(256, 8)
    target = torch.zeros(256, 16)
    target[:, :4] = x @ torch.randn(8, 4)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        (nn.functional.mse_loss(model(x), target) + 0.02 * engine.pruning.penalty(model, "group", granularity="row")).backward()
        optimizer.step()
    engine.prune(model, engine.Spec(sparsity=0.75, granularity="row"))
    assert model.mask.to_numpy().any(1).tolist() == [True] * 4 + [False] * 12
    assert nn.functional.mse_loss(model(x), target) < 0.1 * target.square().mean()


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="kind = 'l3' is not one of"):
        engine.pruning.penalty(network(), "l3")
    with pytest.raises(ValueError, match="has no groups"):
        engine.pruning.penalty(network(), "group", granularity="2:4")
    with pytest.raises(ValueError, match="nothing to add up"):
        engine.pruning.penalty(nn.Sequential(nn.ReLU()), "l1")

import itertools

import pytest

import sparse_engine as engine
from sparse_engine.measure import latency

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32))


def milliseconds(model):
    """A call takes 10 ms times the share of weights that is left, and 1 ms."""
    weights = [layer.weight for layer in model if isinstance(layer, nn.Linear)]
    return 1 + 10 * sum(int(w.count_nonzero()) for w in weights) / sum(w.numel() for w in weights)


@pytest.fixture(params=[0.0, 0.5], ids=["steady", "changing"])
def proportional(request, monkeypatch):
    """A machine on which that is so, or which is up to half as slow again every other second."""
    turn = itertools.count()

    def alternating(models, inputs):
        slower = 1 + request.param * (next(turn) % 3 == 2)
        return [slower * milliseconds(model) for model in models]

    monkeypatch.setattr(latency, "alternating", alternating)
    return milliseconds


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("budget", [1.5, 3.0, 8.0, 10.9])
def test_the_budget_is_met_within_five_percent(proportional, scope, budget):
    model = engine.prune(network(), engine.Spec(latency_ms=budget, scope=scope), example_inputs=torch.randn(1, 64))
    assert 0.95 * budget <= proportional(model) <= budget * (1 + 1e-9)


def test_a_model_that_is_fast_enough_stays_whole_and_an_impossible_budget_is_refused(proportional):
    model = engine.prune(network(), engine.Spec(latency_ms=20.0), example_inputs=torch.randn(1, 64))
    assert all(layer.mask.density == 1 for layer in model if isinstance(layer, nn.Linear))
    model = network()
    with pytest.raises(ValueError, match=r"latency_ms = 1 cannot be met: at a sparsity of 99% a call takes 1\."):
        engine.prune(model, engine.Spec(latency_ms=1.0), example_inputs=torch.randn(1, 64))
    assert not engine.masks(model)
    with pytest.raises(ValueError, match="pass example_inputs="):
        engine.prune(model, engine.Spec(latency_ms=1.0))


def test_the_meeting_point_is_that_of_a_never_rising_curve():
    falling = [(0.0, 1.0), (0.5, 0.6), (1.0, 0.1)]
    assert latency._meeting(falling, 0.6) == pytest.approx(0.5)
    assert latency._meeting(falling, 0.8) == pytest.approx(0.25)
    assert latency._meeting([*falling, (0.6, 0.7)], 0.65) == pytest.approx(0.55)  # 0.6 and 0.7 count as 0.65 halfway
    rising = [(0.0, 0.1), (1.0, 0.9)]
    assert latency._meeting(rising, 0.3) == pytest.approx(0.5)  # nothing is known but their mean


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_four_percent_moves_the_answer_by_less_than_five(monkeypatch, seed):
    noise = torch.Generator().manual_seed(seed)

    def alternating(models, inputs):
        return [milliseconds(model) * (1 + 0.04 * (2 * float(torch.rand((), generator=noise)) - 1)) for model in models]

    monkeypatch.setattr(latency, "alternating", alternating)
    model = engine.prune(network(), engine.Spec(latency_ms=5.0), example_inputs=torch.randn(1, 64))
    assert milliseconds(model) == pytest.approx(5.0, rel=0.05)


def test_a_call_is_measured_in_eval_mode_and_flags_come_back():
    model = network().train()
    assert 0 < latency.milliseconds(model, torch.randn(4, 64)) < 1000
    assert model.training

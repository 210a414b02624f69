import pytest

import sparse_engine as engine
from sparse_engine.masking.encoding import stored_bytes

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

SHAPES = ((8, 3, 3, 3), (16, 8, 3, 3), (20, 16 * 36))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 36, 20)
    )


X = torch.zeros(2, 3, 8, 8)
USES = (2 * 64, 2 * 36, 2)


def weights(model):
    return [model[i] for i in (0, 2, 5)]


def macs(model):
    return sum(int((layer.weight != 0).sum()) * use for layer, use in zip(weights(model), USES, strict=True))


@pytest.mark.parametrize("scope", ["layer", "global", ("0", "2")])
@pytest.mark.parametrize("share", [0.1, 0.37, 0.9])
def test_macs_are_met_to_less_than_one_weight(scope, share):
    dense = macs(network())
    budget = int(dense * share)
    model = engine.prune(network(), engine.Spec(macs=budget, scope=scope), example_inputs=X)
    assert budget - max(USES) < macs(model) <= budget
    assert engine.report(model, X).nonzero_macs == macs(model)


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_bytes_are_met_to_less_than_a_few_weights(scope, share):
    dense = sum(layer.weight.numel() for layer in weights(network())) * 4
    budget = int(dense * share)
    model = engine.prune(network(), engine.Spec(bytes=budget, scope=scope))
    assert budget - 20 < sum(stored_bytes(layer.mask) for layer in weights(model)) <= budget


def test_macs_need_inputs_and_budgets_must_be_possible():
    with pytest.raises(ValueError, match="pass example_inputs="):
        engine.prune(network(), engine.Spec(macs=100))
    with pytest.raises(ValueError, match="bytes = 10 cannot be met"):
        engine.prune(network(), engine.Spec(bytes=10))
    with pytest.raises(ValueError, match="nonzeros = 99999999 exceeds"):
        engine.prune(network(), engine.Spec(nonzeros=99999999))


@pytest.mark.parametrize("quality", [0.0, 0.5, 1.0, 2.0])
def test_threshold_is_a_number_of_standard_deviations_of_the_layer(quality):
    model, reference = network(), network()
    engine.prune(model, engine.Spec(threshold=quality))
    for layer, before in zip(weights(model), weights(reference), strict=True):
        w = before.weight.detach().double()
        assert torch.equal(torch.from_numpy(layer.mask.to_numpy()), w.abs() > quality * w.std(correction=0))


def test_patterns_as_scope_rank_their_layers_together_and_others_alone():
    model = engine.prune(network(), engine.Spec(sparsity=0.5, scope=["[02]"]))
    together = weights(network())[:2]
    every = torch.cat([layer.weight.detach().abs().flatten() for layer in together])
    kept = torch.cat([torch.from_numpy(layer.mask.to_numpy()).flatten() for layer in weights(model)[:2]])
    assert int(kept.sum()) == every.numel() - round(0.5 * every.numel())
    assert every[kept].min() >= every[~kept].max()
    assert weights(model)[2].mask.kept == 20 * 16 * 36 // 2
    with pytest.raises(ValueError, match="scope: pattern 'features' matches no selected layer"):
        engine.prune(network(), engine.Spec(sparsity=0.5, scope=["features"]))


def test_no_layer_leaves_its_bounds_and_the_total_stays_exact():
    model = network()
    with torch.no_grad():
        model[0].weight *= 100
        model[5].weight /= 100
    total = sum(layer.weight.numel() for layer in weights(model))
    engine.prune(model, engine.Spec(sparsity=0.8, scope="global", min_density={"5": 0.15}, max_density={"0": 0.6, "*": 0.9}))
    kept = [layer.mask.kept for layer in weights(model)]
    assert sum(kept) == total - round(0.8 * total)
    assert kept[0] == int(0.6 * 216)
    assert kept[2] == 0.15 * 11520
    with pytest.raises(ValueError, match="min_density and max_density allow"):
        engine.prune(network(), engine.Spec(sparsity=0.8, scope="global", min_density=0.3))
    for layer in weights(engine.prune(network(), engine.Spec(macs=200_000, min_density=0.1), example_inputs=X)):
        assert layer.mask.density >= 0.1


@pytest.mark.parametrize("granularity", ["element", "4x1", "kernel"])
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("amount", [{"sparsity": 0.7}, {"nonzeros": 1234}, {"macs": 60_000}, {"bytes": 9_000}])
def test_every_amount_works_with_every_granularity_and_scope(granularity, scope, amount):
    model = network()
    spec = engine.Spec(
        granularity=granularity, scope=scope, include=("0", "2"), **({"nonzeros": 800} if "nonzeros" in amount else amount)
    )
    if "bytes" in amount:
        spec = engine.Spec(granularity=granularity, scope=scope, include=("0", "2"), bytes=2_500)
    engine.prune(model, spec, example_inputs=X)
    kept = [layer.mask.kept for layer in weights(model)[:2]]
    group = {"element": 1, "4x1": 4, "kernel": 9}[granularity]
    assert all(count % group == 0 for count in kept)
    if "nonzeros" in amount:
        assert 800 - 2 * group < sum(kept) <= 800
    if "macs" in amount:
        assert 60_000 - 2 * group * USES[0] < sum(k * u for k, u in zip(kept, USES, strict=False)) <= 60_000

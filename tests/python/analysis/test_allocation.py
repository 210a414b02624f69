import itertools

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")

LEVELS = (0.25, 0.5, 0.75)
DROPS = {"a": (0.0, 0.1, 0.9), "b": (0.0, 0.02, 0.05), "c": (0.3, 0.5, 0.6)}
WEIGHTS = {"a": 1000, "b": 2000, "c": 3000}


def found():
    scores = {n: {s: 1 - d for s, d in zip(LEVELS, row, strict=True)} for n, row in DROPS.items()}
    seconds = {n: {0.0: 4e-3, **{s: 4e-3 * (1 - s) for s in LEVELS}} for n in DROPS}
    return engine.analysis.Sensitivity(1.0, scores, WEIGHTS, {"a": 50, "b": 5, "c": 1}, seconds)


def removed(shares):
    return sum(WEIGHTS[n] * s for n, s in shares.items())


def lost(shares):
    """What the convex curves predict."""
    total = 0.0
    for name, share in shares.items():
        points = [(0.0, 0.0), *zip(LEVELS, DROPS[name], strict=True)]
        total += min(
            a[1] + (b[1] - a[1]) * (share - a[0]) / (b[0] - a[0])
            for a, b in itertools.combinations(points, 2)
            if a[0] <= share <= b[0]
        )
    return total


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.33, 0.5, 0.7, 0.75])
def test_the_budget_is_met_exactly_and_nothing_on_the_grid_loses_less(sparsity):
    shares = engine.allocate(found(), sparsity=sparsity)
    assert removed(shares) == pytest.approx(sparsity * 6000)
    grid = [i / 20 * 0.75 for i in range(21)]
    for other in itertools.product(grid, repeat=3):
        candidate = dict(zip("abc", other, strict=True))
        if removed(candidate) >= sparsity * 6000:
            assert lost(candidate) >= lost(shares) - 1e-9


def test_other_budgets_count_what_they_name():
    shares = engine.allocate(found(), nonzeros=4000)
    assert removed(shares) == pytest.approx(2000)
    shares = engine.allocate(found(), macs=40_000)
    assert sum(WEIGHTS[n] * u * (1 - shares[n]) for n, u in {"a": 50, "b": 5, "c": 1}.items()) == pytest.approx(40_000)
    shares = engine.allocate(found(), latency_ms=8.0)
    assert sum(4 * (1 - s) for s in shares.values()) == pytest.approx(8.0)


def test_max_drop_takes_what_the_score_allows():
    assert lost(engine.allocate(found(), max_drop=0.2)) == pytest.approx(0.2)
    assert lost(engine.allocate(found(), max_drop=0.0)) == 0
    tried = []

    def evaluate(shares):
        tried.append(shares)
        return 1.0 - 2 * lost(shares)  # worse than predicted

    shares = engine.allocate(found(), max_drop=0.2, evaluate=evaluate)
    assert 0.17 < 2 * lost(shares) <= 0.2
    assert len(tried) == 8


def test_a_layer_that_gets_no_faster_is_left_alone_for_latency():
    slow = found()
    slow.seconds["b"] = {0.0: 4e-3, 0.25: 5e-3, 0.5: 4.5e-3, 0.75: 4e-3}
    shares = engine.allocate(slow, latency_ms=9.0)
    assert shares["b"] == 0
    assert shares["a"] > 0


def test_impossible_and_ambiguous_budgets_are_refused():
    for wrong in ({}, {"sparsity": 0.5, "macs": 3}):
        with pytest.raises(ValueError, match="exactly one of"):
            engine.allocate(found(), **wrong)
    for wrong in ({"sparsity": 0.8}, {"nonzeros": 100}, {"latency_ms": 1.0}):
        with pytest.raises(ValueError, match="cannot be met"):
            engine.allocate(found(), **wrong)
    with pytest.raises(ValueError, match="max_drop"):
        engine.allocate(found(), max_drop=-1.0)
    bare = engine.analysis.Sensitivity(1.0, found().scores, WEIGHTS)
    for budget in ("macs", "latency_ms"):
        with pytest.raises(ValueError, match="example_inputs"):
            engine.allocate(bare, **{budget: 1})

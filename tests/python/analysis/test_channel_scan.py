"""Sensitivity of channels, and channels allocated by it."""

import copy
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

import sparse_engine as engine
from topologies import network

SPEC = engine.Spec(sparsity=0.5, granularity="channel")


def size(model):
    return sum(p.numel() for p in model.parameters())


def likeness(name):
    """How near a model's outputs stay to the original's, at most 0."""
    model, x = network(name)
    reference = model(x).detach()
    return torch.no_grad()(lambda other: -float((other(x) - reference).square().mean()))


@pytest.fixture(scope="module")
def scanned():
    model, x = network("resnet20")
    return (
        model,
        x,
        engine.sensitivity(
            model, likeness("resnet20"), sparsities=(0.25, 0.5, 0.75), spec=SPEC, example_inputs=x[:1], progress=False
        ),
    )


def test_a_scan_leaves_the_model_as_it_is_and_scores_every_layer(scanned):
    model, _, found = scanned
    fresh, _ = network("resnet20")
    assert engine.channels.removed_channels(model) == {}
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), fresh.state_dict().values(), strict=True))
    assert list(found.scores) == ["conv1", *(f"layer{i}.{j}.conv1" for i in (1, 2, 3) for j in (0, 1))]
    assert all(sorted(row) == [0.25, 0.5, 0.75] for row in found.scores.values())
    assert "layer2.0.conv1" in str(found)


def test_a_score_is_that_of_the_model_pruned_so(scanned):
    model, x, found = scanned
    spec = engine.Spec(sparsity={"layer2.0.conv1": 0.5}, granularity="channel")
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x)
    assert likeness("resnet20")(smaller) == pytest.approx(found.scores["layer2.0.conv1"][0.5], rel=1e-5)


@pytest.mark.parametrize("budget", ["macs", "nonzeros", "sparsity"])
def test_allocated_channels_meet_the_budget_by_exact_count(scanned, budget):
    model, x, found = scanned
    parameters, macs = size(model), engine.analysis.count_macs(model, [x[:1]]).total("macs")
    amount = {"macs": int(0.6 * macs), "nonzeros": int(0.7 * parameters), "sparsity": 0.3}[budget]
    shares = engine.allocate(found, **{budget: amount})
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=shares, granularity="channel"), example_inputs=x[:1])
    if budget == "macs":
        left = engine.analysis.count_macs(smaller, [x[:1]]).total("macs")
        assert (
            found.channels.left({name: round(share * found.channels.channels[name]) for name, share in shares.items()})[1]
            == left
        )
        assert amount - 543_754 < left <= amount
    else:
        assert 0.7 * parameters - 2_067 < size(smaller) <= 0.7 * parameters


def test_allocated_channels_lose_less_than_the_same_share_everywhere(scanned):
    model, x, found = scanned
    bound = int(0.6 * engine.analysis.count_macs(model, [x[:1]]).total("macs"))
    shares = engine.allocate(found, macs=bound)
    ours = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=shares, granularity="channel"), example_inputs=x)
    uniform = engine.prune(copy.deepcopy(model), engine.Spec(macs=bound, granularity="channel"), example_inputs=x)
    assert likeness("resnet20")(ours) > likeness("resnet20")(uniform)


def test_scans_resume_and_come_back_from_plain_values(scanned, tmp_path):
    model, x, found = scanned
    again = engine.analysis.Sensitivity.from_dict(json.loads(json.dumps(found.to_dict())))
    assert engine.allocate(again, sparsity=0.3) == engine.allocate(found, sparsity=0.3)
    calls = []

    def evaluate(other):
        calls.append(other)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return likeness("resnet20")(other)

    options = {"sparsities": (0.25, 0.5, 0.75), "spec": SPEC, "example_inputs": x[:1], "resume": tmp_path / "scan.json"}
    with pytest.raises(KeyboardInterrupt):
        engine.sensitivity(model, evaluate, **options, progress=False)
    assert engine.channels.removed_channels(model) == {}
    resumed = engine.sensitivity(model, evaluate, **options, progress=False)
    assert len(calls) == 5 + 7 * 3 - 3
    assert resumed.scores == found.scores


def test_a_scan_on_threads_finds_what_one_in_turn_finds(scanned):
    model, x, found = scanned
    with ThreadPoolExecutor(4) as pool:
        options = {"sparsities": (0.25, 0.5, 0.75), "spec": SPEC, "example_inputs": x[:1], "progress": False}
        assert engine.sensitivity(model, likeness("resnet20"), map=pool.map, **options).scores == found.scores
    assert engine.channels.removed_channels(model) == {}


def test_what_a_scan_of_channels_cannot_answer_is_refused(scanned):
    model, _, found = scanned
    with pytest.raises(ValueError, match="scanned without times"):
        engine.allocate(found, latency_ms=1.0)
    with pytest.raises(ValueError, match="cannot be met"):
        engine.allocate(found, sparsity=0.99)
    with pytest.raises(ValueError, match="pass example_inputs="):
        engine.sensitivity(model, likeness("resnet20"), spec=SPEC, progress=False)


def test_channels_within_an_accuracy_budget():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        model[0].weight[:4] = 0
        model[0].bias[:4] = 0  # half of the first layer does nothing
    x = torch.randn(16, 4)
    reference = model(x).detach()
    options = {"sparsities": (0.5, 0.75), "spec": SPEC, "example_inputs": x, "progress": False}
    found = engine.sensitivity(model, lambda m: -float((m(x) - reference).abs().max()), **options)
    shares = engine.allocate(found, max_drop=1e-6)
    assert shares["0"] == pytest.approx(0.5, abs=1e-3)
    assert shares["2"] < 0.01

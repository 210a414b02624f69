import copy
import json
import pickle

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn import dispatch as choice  # noqa: E402


def pruned(rows=64, cols=48, sparsity=0.9):
    return engine.prune(nn.Linear(cols, rows), engine.Spec(sparsity=sparsity)).eval()


@pytest.fixture
def untimed(monkeypatch):
    monkeypatch.setenv("SPARSE_ENGINE_AUTOTUNE", "off")


def test_without_timing_the_model_decides_the_same_every_time(untimed, monkeypatch):
    monkeypatch.setattr(choice, "_measure", lambda *_: pytest.fail("timed"))
    model = nn.Sequential(pruned(64, 48, 0.95), nn.ReLU(), pruned(32, 64, 0.05))
    found = [engine.autotune(model, torch.randn(n, 48)) for n in (1, 100, 100)]
    assert found[1] == found[2]
    assert [entry["kernel"] for layer in found[1].values() for entry in layer] == ["csr", "dense"]
    assert all(entry["seconds"] == {} for layer in found[0].values() for entry in layer)
    assert "cost model" in engine.report(model, torch.randn(100, 48)).layers[1].reason


@pytest.mark.parametrize(("sparsity", "seconds", "taken"), [(0.05, 0.9, "dense"), (0.05, 0.8, "csr"), (0.95, 0.9, "csr")])
def test_against_the_cost_model_native_must_win_by_more(monkeypatch, sparsity, seconds, taken):
    times = {"csr": seconds, "dense": 1.0}

    def timed(trial, way, call):
        trial.first[way] = times.get(way, 9.0)
        trial.seconds[way] = [trial.first[way]] * choice.ROUNDS_WHEN_CLOSE

    monkeypatch.setattr(choice.Trial, "_time", timed)
    model = pruned(32, 64, sparsity)
    (decided,) = engine.autotune(model, torch.randn(100, 64))[""]
    assert decided["kernel"] == taken
    assert decided["seconds"]["csr"] == seconds


def test_another_word_for_timing_is_refused(monkeypatch):
    monkeypatch.setenv("SPARSE_ENGINE_AUTOTUNE", "maybe")
    layer = pruned()
    with torch.inference_mode(), pytest.raises(ValueError, match="SPARSE_ENGINE_AUTOTUNE = 'maybe' is neither"):
        layer(torch.randn(3, 48))


def test_decisions_survive_json_and_are_not_timed_again(monkeypatch):
    model, x = pruned(), torch.randn(20, 48)
    saved = json.loads(json.dumps(engine.autotune(model, x)))
    assert set(saved[""][0]["seconds"]) >= {"dense", "csr"}
    again = pruned()
    again.load_state_dict(model.state_dict())
    engine.nn.set_decisions(again, saved)
    monkeypatch.setattr(choice, "_measure", lambda *_: pytest.fail("timed again"))
    with torch.inference_mode():
        again(x)
    assert engine.nn.decisions(again) == engine.nn.decisions(model)
    for copied in (copy.deepcopy(again), pickle.loads(pickle.dumps(again))):
        assert engine.nn.decisions(copied) == engine.nn.decisions(model)


def test_autotune_says_how_many_layers_have_decided_recurrent_ones_and_own_forwards_too(capsys):
    class Own(nn.Linear):
        def forward(self, input):
            return nn.functional.linear(input, self.weight, self.bias).relu()

    class Last(nn.Module):
        def forward(self, x):
            return x[0]

    model = nn.Sequential(nn.Linear(48, 16), Own(16, 16), nn.LSTM(16, 8), Last())
    engine.prune(model, engine.Spec(sparsity=0.5))
    engine.autotune(model, torch.randn(20, 48))
    assert not capsys.readouterr().err
    engine.autotune(model, torch.randn(20, 48), progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("100%")
    assert all(any(f"%  {name}  (" in line for line in lines) for name in "012")
    assert all(len(layer._sparse.choices.buckets) == 1 for layer in model[:3])
    assert not any(layer._forward_hooks for layer in model)


def test_autotune_drops_earlier_decisions_and_keeps_training_flags(untimed):
    model = pruned().train()
    engine.autotune(model, torch.randn(3, 48))
    found = engine.autotune(model, torch.randn(50, 48))
    assert len(found[""]) == 1
    assert model.training


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: {"nowhere": d[""]}, "no such pruned layer"),
        (lambda d: {"": [d[""][0] | {"kernel": "magic"}]}, "known are"),
        (lambda d: {"": [d[""][0] | {"kernel": "nm2:4"}]}, "mask fits"),
        (lambda d: {"": [{"size": [1]}]}, "not of the form"),
        (lambda d: {"": [d[""][0] | {"seconds": 3}]}, "not of the form"),
        (lambda d: {"": ["text"]}, "not of the form"),
    ],
)
def test_decisions_that_make_no_sense_are_refused_and_change_nothing(untimed, change, message):
    model = pruned()
    before = engine.autotune(model, torch.randn(3, 48))
    with pytest.raises(ValueError, match=message):
        engine.nn.set_decisions(model, change(copy.deepcopy(before)))
    assert engine.nn.decisions(model) == before

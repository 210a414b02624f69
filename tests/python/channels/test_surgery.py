"""What is kept of removed channels: rebuilt, copied, saved, and records that do not fit."""

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine
from smaller_networks import SPEC, assert_same, size
from topologies import network

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:left alone:UserWarning")]


@pytest.mark.parametrize("name", ["vgg", "resnet20", "mobilenet", "transformer"])
def test_a_smaller_network_is_rebuilt_from_its_original_code(name, tmp_path):
    model, x = network(name)
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x[:1])
    engine.prune(smaller, engine.Spec(sparsity=0.5))
    engine.save(smaller, tmp_path / "model.safetensors")
    again = engine.load(tmp_path / "model.safetensors", network(name)[0])
    assert engine.channels.removed_channels(again) == engine.channels.removed_channels(smaller)
    for (n, a), (m, b) in zip(smaller.state_dict().items(), again.state_dict().items(), strict=True):
        assert n == m
        assert torch.equal(a, b)
    with torch.no_grad(), engine.nn.dense_only():
        assert torch.equal(smaller(x), again(x))
    assert size(engine.load(tmp_path / "model.safetensors", again)) == size(smaller)  # into one of these sizes too
    rebuilt = engine.channels.remove_channels(
        network(name)[0], json.loads(json.dumps(engine.channels.removed_channels(smaller)))
    )
    assert [p.shape for p in rebuilt.parameters()] == [p.shape for p in smaller.parameters()]


def test_removing_again_counts_from_the_original_indices():
    model, x = network("resnet50")
    smaller = copy.deepcopy(model)
    for _ in range(3):
        engine.prune(smaller, engine.Spec(sparsity=0.2, granularity="channel"), example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    again = engine.channels.remove_channels(copy.deepcopy(model), engine.channels.removed_channels(smaller))
    assert [p.shape for p in again.parameters()] == [p.shape for p in smaller.parameters()]
    assert size(smaller) < 0.6 * size(model)


def test_smaller_models_are_copied_and_pickled_with_their_record():
    import pickle

    model, x = network("squeezenet")
    engine.prune(model, SPEC, example_inputs=x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert engine.channels.removed_channels(other) == engine.channels.removed_channels(model)
        assert torch.equal(other(x), model(x))


HOSTILE = {
    "not a mapping": [],
    "another tensor": {"nothing.weight": {"0": {"size": 8, "left": [0]}}},
    "another size": {"features.0.weight": {"0": {"size": 9, "left": [0]}}},
    "no such dimension": {"features.0.weight": {"4": {"size": 8, "left": [0]}}},
    "a negative dimension": {"features.0.weight": {"-1": {"size": 3, "left": [0]}}},
    "nothing left": {"features.0.weight": {"0": {"size": 8, "left": []}}},
    "out of range": {"features.0.weight": {"0": {"size": 8, "left": [0, 8]}}},
    "twice": {"features.0.weight": {"0": {"size": 8, "left": [1, 1]}}},
    "no number": {"features.0.weight": {"0": {"size": 8, "left": [0, "1"]}}},
    "a bool": {"features.0.weight": {"0": {"size": 8, "left": [False, True]}}},
    "no entry": {"features.0.weight": {"0": 3}},
    "no dimensions": {"features.0.weight": 3},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_record_that_does_not_fit_is_refused_and_changes_nothing(case):
    model, _ = network("vgg")
    before = [p.shape for p in model.parameters()]
    with pytest.raises(ValueError, match=r"removed|size|dimension|indices"):
        engine.channels.remove_channels(model, HOSTILE[case])
    assert [p.shape for p in model.parameters()] == before


def test_a_file_whose_weights_do_not_fit_its_record_leaves_the_model_alone(tmp_path):
    from safetensors.torch import load_file, save_file

    model, x = network("vgg")
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x)
    path = tmp_path / "model.safetensors"
    engine.save(smaller, path)
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["features.0.weight"] = tensors["features.0.weight"][:-1].clone()
    save_file(tensors, path, metadata)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"features\.0\.weight"):
        engine.load(path, model)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert model.features[0].out_channels == 8
    assert engine.channels.removed_channels(model) == {}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.Linear, nn.Conv2d])
def test_a_record_whose_parts_disagree_ends_in_an_error_or_a_result_but_never_in_a_crash(kind, monkeypatch):
    monkeypatch.setenv("SPARSE_ENGINE_AUTOTUNE", "off")
    random, outcomes = np.random.default_rng(0), []
    for _ in range(25):
        if kind is nn.Linear:
            model, x = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4)), torch.randn(2, 8)
        elif kind is nn.Conv2d:
            model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8))
            x = torch.randn(1, 4, 9, 9)
        else:
            model, x = kind(6, 8, num_layers=2, bidirectional=True), torch.randn(3, 2, 6)
        record = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            for dim, side in enumerate(tensor.shape):
                if random.random() < 0.3:
                    left = sorted(random.choice(side, random.integers(1, side + 1), replace=False).tolist())
                    record.setdefault(name, {})[str(dim)] = {"size": side, "left": left}
        try:
            engine.channels.remove_channels(model, record)
            engine.prune(model, engine.Spec(sparsity=0.5)).eval()
            with torch.inference_mode():
                model(x)
            outcomes.append("ran")
        except (ValueError, RuntimeError) as error:
            outcomes.append(type(error).__name__)
    assert len(outcomes) == 25
    assert set(outcomes) - {"ran"}

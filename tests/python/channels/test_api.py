"""Channels removed for good: the smaller model computes what zeros in these channels give."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import SPEC, assert_same, size
from topologies import NETWORKS, network

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_smaller_network_computes_what_zeros_in_its_channels_give(name, scope):
    model, x = network(name)
    spec = engine.Spec(sparsity=0.3, granularity="channel", scope=scope)
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    assert size(smaller) <= size(model) - round(0.3 * size(model))
    removed = engine.channels.removed_channels(smaller)
    assert removed
    assert all(0 < len(e["left"]) < e["size"] for dims in removed.values() for e in dims.values())
    shapes = {n: t.shape for n, t in [*model.named_parameters(), *model.named_buffers()]}
    for n, tensor in [*smaller.named_parameters(), *smaller.named_buffers()]:
        left = {int(dim): len(entry["left"]) for dim, entry in removed.get(n, {}).items()}
        assert list(tensor.shape) == [left.get(dim, side) for dim, side in enumerate(shapes[n])]


@pytest.mark.parametrize("amount", ["macs", "nonzeros", "bytes", "sparsity"])
def test_amounts_are_of_the_whole_model_and_missed_by_less_than_a_channel(amount):
    model, x = network("resnet50")
    parameters, macs = size(model), engine.analysis.count_macs(model, [x[:1]]).total("macs")
    bound = {"macs": int(0.6 * macs), "nonzeros": parameters // 2, "bytes": 2 * parameters, "sparsity": 0.5}[amount]
    spec = engine.Spec(**{amount: bound}, granularity="channel", scope="global")
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    if amount == "macs":
        left = engine.analysis.count_macs(smaller, [x[:1]]).total("macs")
        assert bound - 38_912 < left <= bound  # of a channel of the first layer, the largest
    else:
        assert parameters / 2 - 169 < size(smaller) <= parameters / 2


def test_a_mapping_gives_the_share_of_channels_layer_by_layer():
    model, x = network("vgg")
    engine.prune(
        model, engine.Spec(sparsity={"features.2": 0.5, "classifier.*": 0.25}, granularity="channel"), example_inputs=x
    )
    assert model.features[2].out_channels == 4
    assert model.features[5].in_channels == 4
    assert model.classifier[0].out_features == 36
    assert model.features[0].out_channels == 8


def test_smallest_filters_go_first_and_ties_keep_the_lowest_index():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, 1.0, 2.0, 1.0]).view(4, 1, 1, 1))
        nn.init.ones_(model[2].weight)  # which reads them and counts, too
    engine.prune(model, engine.Spec(sparsity={"0": 0.5}, granularity="channel"), example_inputs=torch.zeros(1, 1, 4, 4))
    assert engine.channels.removed_channels(model)["0.weight"]["0"]["left"] == [0, 2]
    tied = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    nn.init.ones_(tied[0].weight)
    engine.prune(tied, engine.Spec(sparsity={"0": 0.5}, granularity="channel"), example_inputs=torch.zeros(1, 1, 4, 4))
    assert len(engine.channels.removed_channels(tied)["0.weight"]["0"]["left"]) == 2


@pytest.mark.parametrize("criterion", ["l2", "random", "taylor", "wanda", "bn_scale", "fpgm", lambda w: w.abs()])
def test_every_criterion_scores_channels(criterion):
    model, x = network("resnet20")
    spec = engine.Spec(sparsity=0.3, granularity="channel", criterion=criterion)
    batches = [(x, torch.tensor([0, 1]))]
    smaller = engine.prune(copy.deepcopy(model), spec, data=batches, loss=F.cross_entropy, example_inputs=x[:1])
    assert_same(model, smaller, x.double())


def test_bn_scale_removes_the_channels_of_the_smallest_scales():
    model, x = network("resnet20")
    with torch.no_grad():
        model.layer1[0].bn1.weight.copy_(torch.tensor([1.0, 0.1, 1.0, 0.2, 1.0, 1.0, 1.0, 1.0]))
    spec = engine.Spec(sparsity={"layer1.0.conv1": 0.25}, granularity="channel", criterion="bn_scale")
    engine.prune(model, spec, example_inputs=x)
    assert engine.channels.removed_channels(model)["layer1.0.bn1.weight"]["0"]["left"] == [0, 2, 4, 5, 6, 7]


def test_bounds_hold_and_excluded_layers_keep_their_channels():
    model, x = network("vgg")
    spec = engine.Spec(
        sparsity=0.6,
        granularity="channel",
        scope="global",
        exclude=["features.0"],
        min_density={"features.12": 0.9, "*": 0.2},
        max_density={"features.7": 0.5},
    )
    engine.prune(model, spec, example_inputs=x)
    assert model.features[0].out_channels == 8
    assert model.features[12].out_channels >= 29
    assert 4 <= model.features[7].out_channels <= 8
    assert all(m.weight.shape[0] >= 1 for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear)))


def test_scope_patterns_rank_their_layers_together():
    model, x = network("vgg")
    with torch.no_grad():
        model.features[7].weight[:12] *= 0.01  # beside those of features.5 these go first
        model.features[10].weight[:, :12] *= 0.01
    spec = engine.Spec(sparsity=0.2, granularity="channel", scope=["features.[57]"])
    engine.prune(model, spec, example_inputs=x)
    assert model.features[7].out_channels < model.features[5].out_channels  # alone each loses the same share


def test_masks_shrink_with_their_weights_and_still_hold():
    model, x = network("vgg")
    engine.prune(model, engine.Spec(sparsity=0.6, include="?*"))
    before = engine.masks(model)
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x[:1]).train()
    removed = engine.channels.removed_channels(smaller)
    for name, mask in engine.masks(smaller).items():
        expected = before[name]
        for dim, entry in removed.get(name, {}).items():
            expected = expected.index_select(int(dim), torch.tensor(entry["left"]))
        assert torch.equal(mask, expected)
    optimizer = torch.optim.SGD(smaller.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(smaller(x), torch.tensor([0, 1])).backward()
        optimizer.step()
    for name, mask in engine.masks(smaller).items():
        assert not dict(smaller.named_parameters())[name][~mask].any()


@pytest.mark.parametrize("groups", ["include", "exclude"])
def test_a_selection_without_channels_names_what_there_is(groups):
    model, x = network("vgg")
    chosen = {"include": ["nothing"]} if groups == "include" else {"exclude": ["*"]}
    with pytest.raises(
        ValueError, match=r"removable: features\.0; .*kept whole: classifier\.3: it is part of the model's output"
    ):
        engine.prune(model, engine.Spec(sparsity=0.3, granularity="channel", **chosen), example_inputs=x)


def test_what_cannot_be_met_or_makes_no_sense_is_refused():
    model, x = network("vgg")
    before = size(model)
    with pytest.raises(ValueError, match="parameters cannot come down to"):
        engine.prune(model, engine.Spec(nonzeros=10, granularity="channel"), example_inputs=x)
    with pytest.raises(ValueError, match="pass example_inputs="):
        engine.prune(model, SPEC)
    with pytest.raises(ValueError, match="needs granularity"):
        engine.Spec(threshold=1.0, granularity="channel")
    with pytest.raises(ValueError, match="make the optimizer again"):
        engine.Pruner(model, SPEC)
    spec = engine.Spec(sparsity={"feature.*": 0.1, "*": 0.2}, granularity="channel")
    with pytest.raises(ValueError, match=r"pattern 'feature\.\*' matches no layer"):
        engine.prune(model, spec, example_inputs=x)
    assert size(model) == before


def test_a_time_budget_is_met_by_measurement(monkeypatch):
    model, x = network("vgg")
    from sparse_engine.measure import latency

    monkeypatch.setattr(latency, "alternating", lambda models, inputs: [size(model) / 1000 for model in models])
    engine.prune(model, engine.Spec(latency_ms=30.0, granularity="channel"), example_inputs=x)
    assert 28_900 < size(model) <= 30_000
    with pytest.raises(ValueError, match="cannot be met"):
        engine.prune(model, engine.Spec(latency_ms=0.001, granularity="channel"), example_inputs=x)


def test_smaller_networks_train():
    model, x = network("densenet")
    engine.prune(model, SPEC, example_inputs=x)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), torch.tensor([3, 4]))
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert np.isfinite(losses).all()

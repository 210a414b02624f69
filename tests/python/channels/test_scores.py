"""Which channels go: groups ranked together by scores relative to their means, floors, multiples, and how far amounts reach."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import assert_same, size
from topologies import network

pytestmark = pytest.mark.usefixtures("one_thread")


def left(model):
    return {name: dims for name, dims in engine.channels.removed_channels(model).items() if "running" not in name}


@pytest.mark.parametrize("criterion", ["l1", "l2", "taylor"])
@pytest.mark.parametrize("scope", ["layer", "global"])
def test_scaling_a_layer_whose_output_is_normalised_changes_nothing_about_what_is_chosen(criterion, scope):
    model, x = network("resnet50")
    spec = engine.Spec(sparsity=0.4, granularity="channel", criterion=criterion, scope=scope)
    options = {"data": [(x, torch.tensor([0, 1]))], "loss": F.cross_entropy, "example_inputs": x[:1]}
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        for block, factor in ((scaled.layer1[0], 8.0), (scaled.layer2[1], 0.25)):
            for conv, norm in ((block.conv2, block.bn2), (block.conv3, block.bn3)):
                conv.weight *= factor  # powers of two, and no eps, so that not a bit of the outputs changes
                norm.running_mean *= factor
                norm.running_var *= factor**2
    for both in (model, scaled):
        for module in both.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = 0.0
    assert left(engine.prune(model, spec, **options)) == left(engine.prune(scaled, spec, **options))


@pytest.mark.parametrize("granularity", ["filter", "kernel"])
def test_global_masks_of_groups_do_not_follow_the_scale_of_a_layer(granularity):
    model, _ = network("vgg")
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled.features[5].weight *= 64
        scaled.features[12].weight /= 64
    spec = engine.Spec(sparsity=0.5, granularity=granularity, scope="global", include="features.*")
    masks, expected = (engine.masks(engine.prune(m, spec)) for m in (scaled, model))
    assert all(torch.equal(masks[name], expected[name]) for name in expected)


def test_global_masks_of_rows_leave_a_tenth_of_every_layer_where_the_amount_allows():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 40))
    with torch.no_grad():
        model[2].weight[2:] *= 1e-3  # two rows hold nearly all of it
    spec = engine.Spec(sparsity=0.7, granularity="row", scope="global")
    masks = engine.masks(engine.prune(copy.deepcopy(model), spec))
    assert min(int(mask.any(1).sum()) for mask in masks.values()) >= 4
    engine.prune(model, engine.Spec(sparsity=0.7, granularity="row", scope="global", min_density={"*": 0.0}))
    assert int(engine.masks(model)["2.weight"].any(1).sum()) < 4


def test_readers_count_as_makers_do():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 6))
    with torch.no_grad():
        nn.init.ones_(model[0].weight)
        model[2].weight.copy_(torch.tensor([1.0, 2.0, 0.5, 2.0]).expand(6, 4))
    engine.prune(model, engine.Spec(sparsity={"0": 0.5}, granularity="channel"), example_inputs=torch.zeros(1, 3))
    assert engine.channels.removed_channels(model)["0.weight"]["0"]["left"] == [1, 3]


def lopsided():
    """Two hidden layers, the second with two channels that outweigh all others by far."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 3))
    with torch.no_grad():
        model[2].weight[2:] *= 1e-3
        model[4].weight[:, 2:] *= 1e-3
    return model, torch.randn(1, 8)


def test_the_best_tenth_of_a_layer_goes_after_everything_else():
    model, x = lopsided()
    spec = engine.Spec(sparsity=0.94, granularity="channel", scope="global")
    assert engine.prune(copy.deepcopy(model), spec, example_inputs=x)[2].out_features == 4
    told = engine.Spec(sparsity=0.94, granularity="channel", scope="global", min_density={"*": 0.0})
    assert engine.prune(copy.deepcopy(model), told, example_inputs=x)[2].out_features < 4
    beyond = engine.Spec(sparsity=0.99, granularity="channel", scope="global")
    assert engine.prune(model, beyond, example_inputs=x)[2].out_features < 4


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("name", ["vgg", "resnet50", "alexnet", "googlenet"])
def test_round_to_leaves_multiples_and_meets_the_amount(name, scope):
    model, x = network(name)
    spec = engine.Spec(sparsity=0.4, granularity="channel", scope=scope, round_to=4)
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    assert size(smaller) <= 0.6 * size(model)
    assert_same(model, smaller, x.double())
    before = {n: m.weight.shape[0] for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    after = {n: m.weight.shape[0] for n, m in smaller.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert after != before
    assert all(after[n] % 4 == 0 or after[n] == before[n] for n in after)


def test_round_to_leaves_layers_of_fewer_channels_whole_and_holds_for_mappings():
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 2))
    spec = engine.Spec(sparsity={"*": 0.3}, granularity="channel", round_to=8)
    engine.prune(model, spec, example_inputs=torch.zeros(1, 3))
    assert [model[i].out_features for i in (0, 2)] == [6, 8]
    with pytest.raises(ValueError, match=r'round_to = 8 is of channels that really go: it needs granularity="channel"'):
        engine.Spec(sparsity=0.5, round_to=8)
    with pytest.raises(ValueError, match="round_to = 0 must be a whole number"):
        engine.Spec(sparsity=0.5, granularity="channel", round_to=0)


def test_an_amount_out_of_reach_says_how_far_it_can_come_down_and_what_stays():
    model = nn.Sequential(nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 40), nn.ReLU(), nn.Linear(40, 5))
    x, spec = torch.zeros(1, 10), engine.Spec(nonzeros=10, granularity="channel", min_density={"2": 0.5})
    why = r"cannot come down to 10 .* 156 are left .* 4\.weight 100 of 200 \(it is part of"
    with pytest.raises(ValueError, match=why) as error:
        engine.prune(model, spec, example_inputs=x)
    reachable = int(re.search(r"([\d,]+) are left", str(error.value))[1].replace(",", ""))
    exact = engine.Spec(nonzeros=reachable, granularity="channel", min_density={"2": 0.5})
    assert size(engine.prune(model, exact, example_inputs=x)) == reachable

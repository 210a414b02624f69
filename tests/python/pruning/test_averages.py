"""Averages made by torch follow the masks of their model; other copies stay what they were."""

import copy
import io
import pickle

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 8))


def average(model):
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))


def train(model, pruner, after=lambda: None, last=59, first=0):
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for i in range(first, last):
        x = torch.randn(16, 32, generator=torch.Generator().manual_seed(i))
        optimizer.zero_grad()
        (model(x).square().mean() + 0.01 * model(x + 1).sum()).backward()
        optimizer.step()
        pruner.step()
        after()


def assert_follows(ema, model):
    with torch.inference_mode():
        ema.eval()(torch.randn(2, 32))
    weights, own = dict(ema.module.named_parameters()), dict(model.named_parameters())
    assert engine.masks(ema.module).keys() == engine.masks(model).keys()
    for name, mask in engine.masks(model).items():
        assert torch.equal(engine.masks(ema.module)[name], mask)
        assert not weights[name][~mask].any()
        assert (weights[name][own[name] != 0] != 0).all(), "a weight that the model has is lost"


SCHEDULES = {
    "cubic": engine.schedules.Cubic(0, 20, 4),
    "rigl": engine.schedules.RigL(0, 100, 3),
    "set": engine.schedules.SET(0, 100, 3),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_an_average_has_every_weight_that_its_model_has_and_no_other(name, evaluated, first):
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), SCHEDULES[name])
    if first or name != "cubic":
        pruner.step()
    ema = average(model)

    def after():
        ema.update_parameters(model)
        if evaluated:
            with torch.inference_mode():
                ema.eval()(torch.randn(2, 32))

    train(model, pruner, after)
    assert_follows(ema, model)


def test_an_average_that_is_updated_now_and_then_loses_nothing():
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    ema = average(model)  # before the pruner
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), engine.schedules.RigL(0, 100, 2))
    train(model, pruner)
    ema.update_parameters(model)
    train(model, pruner, last=64, first=59)
    with torch.inference_mode():
        ema.eval()(torch.randn(2, 32))
    ema.update_parameters(model)
    assert_follows(ema, model)


def test_other_copies_stay_what_they_were():
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    snapshot, before = copy.deepcopy(model), engine.masks(model)
    values = copy.deepcopy(snapshot.state_dict())
    ema = average(model)
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), engine.schedules.SET(0, 100, 2))
    train(model, pruner, lambda: ema.update_parameters(model), last=9)
    assert all(torch.equal(mask, before[name]) for name, mask in engine.masks(snapshot).items())
    assert all(torch.equal(value, values[name]) for name, value in snapshot.state_dict().items())
    assert not torch.equal(engine.masks(model)["0.weight"], before["0.weight"])


def test_the_average_of_a_copy_follows_the_copy():
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    twin = copy.deepcopy(model)
    pruner = engine.Pruner(twin, engine.Spec(sparsity=0.9), engine.schedules.SET(0, 100, 2))
    ema = average(twin)
    train(twin, pruner, lambda: ema.update_parameters(twin), last=9)
    assert_follows(ema, twin)
    read = pickle.loads(pickle.dumps(AveragedModel(twin)))  # knows nobody any more
    read.update_parameters(twin)
    assert all(torch.equal(mask, engine.masks(twin)[name]) for name, mask in engine.masks(read.module).items())


def test_a_part_that_was_pruned_alone_is_followed_in_the_average_of_the_whole():
    model = network()
    pruner = engine.Pruner(model[0], engine.Spec(sparsity=0.9), engine.schedules.SET(0, 100, 2))
    ema = average(model)
    train(model, pruner, lambda: ema.update_parameters(model), last=9)
    assert_follows(ema, model)


def test_layers_whose_mask_did_not_change_keep_their_decisions():
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9, include="0"), engine.schedules.SET(0, 100, 2))
    pruner.step()
    engine.set_masks(model, {"2.weight": torch.rand(8, 64) < 0.2})
    ema = average(model).eval()
    engine.autotune(ema, torch.randn(2, 32))
    train(model, pruner, last=3)
    ema.update_parameters(model)
    decisions = engine.nn.decisions(ema.module)
    assert not decisions["0"]
    assert decisions["2"]


def test_averages_of_other_classes_follow_by_set_masks():
    model = network()
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), engine.schedules.RigL(0, 100, 3))
    pruner.step()
    ema = copy.deepcopy(model)  # as timm and ultralytics do

    def update():
        engine.set_masks(ema, model)
        with torch.no_grad():
            for own, other in zip(ema.parameters(), model.parameters(), strict=True):
                own.lerp_(other, 0.1)
            ema.eval()(torch.randn(2, 32))

    train(model, pruner, update)
    for name, mask in engine.masks(model).items():
        weight = dict(ema.named_parameters())[name]
        assert not weight[~mask].any()
        assert (weight[dict(model.named_parameters())[name] != 0] != 0).all()


def test_what_averages_need_is_gone_with_the_masks_and_neither_saved_nor_in_the_way():
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    assert torch.load(file, weights_only=True).keys() == network().state_dict().keys()
    assert vars(engine.remove_masks(model)).keys() == vars(network()).keys()
    engine.Pruner(model, engine.Spec(sparsity=0.5)).step()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert compiled(torch.randn(2, 32)).shape == (2, 8)

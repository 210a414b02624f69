"""Optimizers made before channels went go on with what they kept of the channels that stay."""

import copy

import pytest
import torch
from torch import nn

import sparse_engine as engine

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {
    "sgd": lambda p: torch.optim.SGD(p, 0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, amsgrad=True),
    "adafactor": lambda p: torch.optim.Adafactor(p),
    "rmsprop, one by one": lambda p: torch.optim.RMSprop(p, momentum=0.5, foreach=False),
}
SPEC = engine.Spec(sparsity=0.3, granularity="channel")


def step(model, optimizer, x):
    optimizer.zero_grad()
    model(x).square().sum().backward()
    optimizer.step()


def two_layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 4, 1)), torch.randn(2, 3, 8, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_made_before_goes_on_with_the_state_of_the_channels_that_stay(kind):
    model, x = two_layers()
    optimizer = KINDS[kind](model.parameters())
    step(model, optimizer, x)
    before = copy.deepcopy(optimizer.state_dict()["state"])
    for _ in range(2):
        engine.prune(model, SPEC, example_inputs=x)
    removed = engine.channels.removed_channels(model)
    expected = {}
    for index, (name, parameter) in enumerate(model.named_parameters()):
        for key, value in before.get(index, {}).items():
            for dim, entry in removed.get(name, {}).items():
                if torch.is_tensor(value) and value.dim() == parameter.dim() and value.shape[int(dim)] == entry["size"]:
                    value = value.index_select(int(dim), torch.tensor(entry["left"]))
            expected[index, key] = value
    again = copy.deepcopy(model)
    fresh = KINDS[kind](again.parameters())
    state = {i: {key: expected[i, key] for key in values} for i, values in before.items()}
    fresh.load_state_dict({"state": state, "param_groups": fresh.state_dict()["param_groups"]})
    for _ in range(2):
        step(model, optimizer, x)
        step(again, fresh, x)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_state_made_after_channels_went_is_not_cut_again():
    model, x = two_layers()
    engine.prune(model, SPEC, example_inputs=x)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):
        step(model, optimizer, x)
    assert all(state["exp_avg"].shape == p.shape for p, state in optimizer.state.items())


def test_a_prune_that_fails_or_is_only_tried_leaves_the_optimizer_as_it_was():
    model, x = two_layers()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer, x)
    engine.channels.channel_groups(model, x)
    engine.sensitivity(model, lambda m: float(m(x).sum().detach()), sparsities=(0.5,), spec=SPEC, example_inputs=x)
    with pytest.raises(ValueError, match="cannot come down"):
        engine.prune(model, engine.Spec(nonzeros=1, granularity="channel"), example_inputs=x)
    step(model, optimizer, x)
    assert optimizer.state[model[0].weight]["exp_avg"].shape == (16, 3, 3, 3)

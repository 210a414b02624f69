"""What the traced forward does not show: auxiliary classifiers, other methods, frozen weights, names."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import SPEC, assert_same

pytestmark = pytest.mark.usefixtures("one_thread")


class Auxiliary(nn.Module):
    """A classifier on the way that runs in training only, and a head that another method runs."""

    def __init__(self, head=False):
        super().__init__()
        self.a, self.norm, self.b = nn.Conv2d(3, 12, 1), nn.BatchNorm2d(12), nn.Conv2d(12, 3, 1)
        self.side, self.classifier = nn.Conv2d(12, 6, 1), nn.Linear(6, 2)
        if head:
            self.head = nn.Linear(12, 7)

    def forward(self, x):
        y = F.relu(self.norm(self.a(x)))
        if self.training:
            return self.b(y), self.classifier(F.dropout(self.side(y)).mean((2, 3)))
        return self.b(y)

    def embed(self, x):
        return self.head(self.a(x).mean((2, 3)))


def test_what_runs_in_training_only_loses_the_channels_that_it_reads_and_keeps_its_own():
    model, x = Auxiliary().eval(), torch.randn(2, 3, 4, 4)
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x)
    assert smaller.side.in_channels == smaller.a.out_channels < 12
    assert smaller.side.out_channels == 6
    assert_same(model, smaller, x.double())
    outputs = smaller.train()(x)
    sum(y.sum() for y in outputs).backward()
    assert smaller.classifier.weight.grad is not None


@pytest.mark.parametrize("criterion", ["taylor", "wanda"])
def test_criteria_that_look_at_data_pass_over_what_evaluation_does_not_run(criterion):
    model, x = Auxiliary().eval(), torch.randn(2, 3, 4, 4)
    spec = engine.Spec(sparsity=0.3, granularity="channel", criterion=criterion)
    data = [(x, torch.zeros(2, 3, 4, 4))]
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x, data=data, loss=F.mse_loss)
    assert_same(model, smaller, x.double())


def test_what_was_never_run_is_named_once_and_not_when_it_is_excluded():
    model, x = Auxiliary(head=True), torch.randn(2, 3, 4, 4)
    with pytest.warns(UserWarning, match=r"never run on example_inputs, .* of what they read: head; .*exclude="):
        engine.prune(copy.deepcopy(model), SPEC, example_inputs=x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.prune(model, engine.Spec(sparsity=0.3, granularity="channel", exclude=["head"]), example_inputs=x)


class Fixed(nn.Module):
    """A convolution that takes a fixed mean over places, and is frozen, in front of others."""

    def __init__(self):
        super().__init__()
        self.a, self.mean, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1, bias=False), nn.Conv2d(6, 8, 1)
        self.c = nn.Conv2d(8, 2, 1)
        self.mean.weight.requires_grad_(False)

    def forward(self, x):
        return self.c(F.relu(self.b(self.mean(F.relu(self.a(x))))))


def test_frozen_weights_keep_their_channels_unless_all_are_frozen():
    model, x = Fixed().eval(), torch.randn(1, 3, 4, 4)
    assert "mean.weight is frozen (requires_grad=False)" in str(engine.channels.channel_groups(model, x))
    smaller = engine.prune(copy.deepcopy(model), SPEC, example_inputs=x)
    assert torch.equal(smaller.mean.weight, model.mean.weight)
    assert smaller.b.out_channels < 8
    frozen = engine.prune(copy.deepcopy(model).requires_grad_(False), SPEC, example_inputs=x)
    assert frozen.mean.weight.numel() < model.mean.weight.numel()


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 12), nn.Linear(12, 4)

    def forward(self, x, *, scale=None, deep=False):
        y = self.b(F.relu(self.a(x)))
        return y if scale is None else y * scale


@pytest.mark.parametrize("criterion", ["l1", "random"])
def test_example_inputs_by_name(criterion):
    model, x = Named().eval(), torch.randn(2, 4)
    inputs = {"x": x, "scale": torch.ones(4)}
    assert "a" in str(engine.channels.channel_groups(model, inputs))
    spec = engine.Spec(macs=60, granularity="channel", criterion=criterion)
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=inputs)
    assert smaller.a.out_features == 3
    assert_same(model, smaller, x.double())

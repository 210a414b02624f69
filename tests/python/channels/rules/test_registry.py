"""Operations between layers, by their names: element by element, positions by themselves, norms, reductions, and others."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import Between, Does, assert_same, shrunk
from sparse_engine.channels.rules import registry

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_rule_is_found_by_each_of_its_names(monkeypatch):
    monkeypatch.setattr(registry, "RULES", {})

    @registry.rule("one", "other")
    def passes(tracer, node):
        return None

    assert {"one": passes, "other": passes} == registry.RULES


@pytest.mark.parametrize("name", (registry.ELEMENTWISE + registry.POSITIONWISE).split())
def test_every_name_in_a_list_is_an_operation_of_torch_and_has_a_rule(name):
    assert hasattr(torch.ops.aten, name)
    assert name in registry.RULES


def test_an_argument_is_found_by_place_and_by_name():
    graph = torch.fx.Graph()
    node = graph.call_function(torch.nn.functional.glu, (graph.placeholder("x"),), {"dim": 1})
    assert registry.argument(node, 1, "dim", -1) == 1
    assert registry.argument(node, 0, "input").name == "x"
    assert registry.argument(node, 2, "other", "nothing") == "nothing"


def test_channels_that_meet_in_a_sum_go_together_also_where_one_is_broadcast():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.gate, self.b = nn.Conv2d(3, 12, 1), nn.Linear(3, 12), nn.Conv2d(12, 4, 1)
            self.scale = nn.Parameter(torch.randn(12, 1, 1))

        def forward(self, x):
            gate = self.gate(x.mean((2, 3)))[:, :, None, None].sigmoid()
            return self.b(self.a(x) * gate * self.scale)

    smaller = shrunk(Gated(), torch.randn(2, 3, 4, 4))
    assert smaller.a.out_channels == smaller.gate.out_features == len(smaller.scale) < 12


def test_a_constant_for_every_channel_keeps_them():
    model = Between(Does(lambda x: x + torch.arange(12.0).view(12, 1, 1))).eval()
    found = str(engine.channels.channel_groups(model, torch.randn(1, 3, 4, 4)))
    assert "add in between (Does) joins it with channels of a fixed number" in found


MIXES = {
    "layer_norm": (lambda x: F.layer_norm(x, (12, 4, 4)), lambda x: F.layer_norm(x, (4, 4))),
    "softmax": (lambda x: x.softmax(1), lambda x: x.softmax(-1)),
    "mean": (lambda x: x.mean(1, keepdim=True) + x, lambda x: x.mean(3, keepdim=True) + x),
}


@pytest.mark.parametrize("name", MIXES)
def test_what_is_taken_over_channels_keeps_them_and_over_positions_it_does_not(name):
    over_channels, over_positions = MIXES[name]
    model = Between(Does(over_channels)).eval()
    assert f"{name} in between (Does) mixes its channels" in str(engine.channels.channel_groups(model, torch.randn(1, 3, 4, 4)))
    assert shrunk(Between(Does(over_positions)), torch.randn(2, 3, 4, 4)).a.out_channels < 12


REDUCES = {
    "positions at once": (lambda x: x.mean((2, 3)), nn.Linear(12, 4)),
    "with their places": (lambda x: x.flatten(2).max(2)[0], nn.Linear(12, 4)),
    "pooled with places": (lambda x: F.max_pool2d(x, 2, return_indices=True)[0], nn.Conv2d(12, 4, 1)),
    "resized": (lambda x: F.interpolate(F.avg_pool2d(x, 2), scale_factor=2), nn.Conv2d(12, 4, 1)),
}


@pytest.mark.parametrize("name", REDUCES)
def test_what_reduces_positions_lets_channels_go(name):
    function, last = REDUCES[name]
    model = Between(Does(function))
    model.b = last
    assert shrunk(model, torch.randn(2, 3, 4, 4)).a.out_channels < 12


def test_the_halves_of_a_gate_go_by_position():
    model = Between(Does(lambda x: F.glu(x, 1)))
    model.b = nn.Conv2d(6, 4, 1)
    smaller = shrunk(model, torch.randn(2, 3, 4, 4))
    assert smaller.a.out_channels == 2 * smaller.b.in_channels < 12


def test_a_weight_per_channel_of_a_prelu_and_what_a_batch_norm_holds_go_with_them():
    smaller = shrunk(Between(nn.Sequential(nn.BatchNorm2d(12), nn.PReLU(12))), torch.randn(2, 3, 4, 4))
    norm, prelu = smaller.between
    assert norm.num_features == len(norm.running_var) == len(prelu.weight) == smaller.a.out_channels < 12


@pytest.mark.parametrize("affine", [True, False])
def test_whole_groups_of_a_group_norm_go(affine):
    model = Between(nn.GroupNorm(6, 12, affine=affine))
    smaller = shrunk(model, torch.randn(2, 3, 4, 4))
    norm = smaller.between
    assert norm.num_channels == smaller.a.out_channels < 12
    assert norm.num_channels == 2 * norm.num_groups
    rebuilt = engine.channels.remove_channels(copy.deepcopy(model), engine.channels.removed_channels(smaller))
    assert (rebuilt.between.num_channels, rebuilt.between.num_groups) == (norm.num_channels, norm.num_groups)
    smaller.train()(torch.randn(2, 3, 4, 4)).sum().backward()


def test_a_number_of_groups_that_stands_in_the_code_and_one_group_keep_all_channels():
    for between in (Does(lambda x: F.group_norm(x, 6)), nn.GroupNorm(1, 12)):
        found = str(engine.channels.channel_groups(Between(between).eval(), torch.randn(1, 3, 4, 4)))
        assert "group_norm in between" in found


def test_an_instance_norm_without_weights_learns_its_new_size():
    model, x = Between(nn.InstanceNorm2d(12)), torch.randn(2, 3, 4, 4)
    smaller = shrunk(model, x)
    assert smaller.between.num_features == smaller.a.out_channels < 12
    assert engine.channels.removed_channels(smaller)["between.num_features"]["0"]["size"] == 12
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smaller(x)
    with pytest.raises(ValueError, match="had size 11"):
        engine.channels.remove_channels(copy.deepcopy(model), {"between.num_features": {"0": {"size": 11, "left": [0]}}})


class Casts(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, x):
        y = self.a(x)
        torch._assert(y.shape[-1] > 0, "channels")
        return self.b(F.relu(y.to(self.b.weight.dtype)))


def test_checks_and_casts_let_channels_go():
    assert shrunk(Casts(), torch.randn(2, 8)).a.out_features < 16


class Sorts(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x):
        return self.c(F.relu(self.b(torch.sort(self.a(x))[0])))


def test_an_operation_that_is_not_known_keeps_its_channels_and_is_named():
    model, x = Sorts(), torch.randn(1, 4)
    assert "sort in the model (Sorts) is an operation that cannot be followed" in str(engine.channels.channel_groups(model, x))
    with pytest.raises(ValueError, match="a: sort in the model"):
        engine.prune(model, engine.Spec(sparsity=0.1, granularity="channel", include=["a"]), example_inputs=x)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"b": 0.4}, granularity="channel"), example_inputs=x)
    assert (smaller.a.out_features, smaller.b.out_features) == (6, 3)
    assert_same(model, smaller, x.double())

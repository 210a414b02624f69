"""Channels followed through the graph: what moves data, sizes that stand in code, shared weights, what cannot be followed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import SPEC, assert_same

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:left alone:UserWarning")]


class Moves(nn.Module):
    """Channels shuffled between groups, split, swapped, gated and pixel-shuffled."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 1, groups=3), nn.Conv2d(12, 32, 1)
        self.d, self.norm = nn.Conv2d(8, 16, 1), nn.PReLU(8)
        self.e = nn.Linear(8, 4)

    def forward(self, x):
        y = self.b(F.relu(self.a(x)))
        n, c, h, w = y.shape
        y = y.view(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
        y = F.pixel_shuffle(self.c(y), 2)
        first, second = y.split(y.shape[1] // 2, 1)
        y = self.d(torch.cat([second, first], 1).flip(1))
        return self.e(self.norm(F.glu(y, 1)).permute(0, 2, 3, 1))


def test_what_moves_data_moves_channels_likewise():
    torch.manual_seed(0)
    model, x = Moves().eval(), torch.randn(2, 3, 4, 4)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.4, granularity="channel"), example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    assert smaller.a.out_channels < 12
    assert smaller.c.out_channels < 32
    assert smaller.norm.num_parameters < 8


class SizesInCode(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 6, 1), nn.Conv2d(1, 6, 1), nn.Linear(6 * 16, 3)
        self.d = nn.Linear(6 * 16, 3)

    def forward(self, x):
        first = self.a(x).view(-1, 6 * 16)  # stands in the code
        y = self.b(x)
        return self.c(first) + self.d(y.view(y.shape[0], y.shape[1] * 16))  # is worked out


def test_sizes_that_stand_in_the_code_are_found_by_trial_and_kept():
    model, x = SizesInCode().eval(), torch.randn(2, 1, 4, 4)
    found = str(engine.channels.channel_groups(model, x))
    assert "view in the model (SizesInCode) needs its sizes" in found
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.2, granularity="channel"), example_inputs=x)
    assert smaller.a.out_channels == 6
    assert smaller.b.out_channels < 6
    assert_same(model, smaller, x.double())


def test_a_module_called_twice_and_a_shared_weight_shrink_once():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.again, self.last = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)
            self.same = nn.Linear(8, 8)
            self.same.weight = self.again.weight

        def forward(self, x):
            y = F.relu(self.again(F.relu(self.again(F.relu(self.first(x))))))
            return self.last(F.relu(self.same(y)))

    model, x = Twice().eval(), torch.randn(3, 5)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"first": 0.5}, granularity="channel"), example_inputs=x)
    assert smaller.same.weight is smaller.again.weight
    assert smaller.again.weight.shape == (4, 4)
    assert (smaller.same.in_features, smaller.same.out_features) == (4, 4)
    assert_same(model, smaller, x.double())


class Decides(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.b(self.a(x)) if x.sum() > 0 else self.b(x)


def test_a_graph_that_cannot_be_followed_is_refused_and_the_model_stays():
    model = Decides()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=r"graph of this model cannot be followed: torch\.export says"):
        engine.prune(model, SPEC, example_inputs=torch.ones(1, 4))
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert engine.channels.removed_channels(model) == {}

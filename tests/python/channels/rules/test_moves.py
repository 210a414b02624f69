"""Operations that only move data: padding, shuffles, taking by number."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import Between, Does, shrunk

pytestmark = pytest.mark.usefixtures("one_thread")


PADS = {mode: lambda x, mode=mode: F.pad(x, (1, 2, 1, 1), mode) for mode in ("constant", "reflect", "replicate", "circular")}
PADS |= {
    "of ones": lambda x: F.pad(x, (1, 1), value=1.0),
    "cropped": lambda x: F.pad(x, (-1, 1, 0, -1)),
    "zero pad": nn.ZeroPad2d(2),
    "reflection": nn.ReflectionPad2d(1),
    "replication": nn.ReplicationPad2d(1),
}


@pytest.mark.parametrize("mode", PADS)
def test_padding_around_positions_lets_channels_go(mode):
    model = Between(PADS[mode] if isinstance(PADS[mode], nn.Module) else Does(PADS[mode]))
    assert shrunk(model, torch.randn(2, 3, 6, 6)).a.out_channels < 12


@pytest.mark.parametrize("pad", [(0, 0, 0, 0, 0, 2), (1, 1, 0, 0, 1, 1)])
def test_channels_added_by_padding_stay_and_the_others_go(pad):
    class Wider(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 12, 1), nn.Conv2d(14, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            return self.c(F.relu(self.b(F.pad(self.a(x), pad))))

    smaller = shrunk(Wider(), torch.randn(2, 3, 4, 4), engine.Spec(sparsity={"a": 0.5}, granularity="channel"))
    assert (smaller.a.out_channels, smaller.b.in_channels) == (6, 8)


def test_a_shuffle_behind_an_ordinary_convolution_takes_the_same_places_of_every_group():
    model = Between(Does(lambda x: F.channel_shuffle(x, 3)))
    smaller = shrunk(model, torch.randn(2, 3, 4, 4))
    assert smaller.a.out_channels in (3, 6, 9)
    assert shrunk(Between(nn.ChannelShuffle(2)), torch.randn(2, 3, 4, 4)).a.out_channels < 12


class Takes(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.register_buffer("places", torch.tensor([0, 2, 3]))

    def forward(self, x):
        if self.dim is None:
            return x[:, :, self.places]
        return x.index_select(self.dim, self.places)


@pytest.mark.parametrize("dim", [2, -1, None])
def test_positions_taken_by_a_buffer_let_channels_go(dim):
    assert shrunk(Between(Takes(dim)), torch.randn(2, 3, 4, 4)).a.out_channels < 12


def test_channels_taken_by_number_stay():
    class Some(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.take, self.b, self.c = nn.Conv2d(3, 6, 1), Takes(1), nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)

        def forward(self, x):
            return self.c(F.relu(self.b(self.take(self.a(x)))))

    model, x = Some().eval(), torch.randn(2, 3, 4, 4)
    assert "index_select in take (Takes) takes channels by number" in str(engine.channels.channel_groups(model, x))
    assert shrunk(model, x).a.out_channels == 6

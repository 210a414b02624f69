"""Operations between layers that channels pass: padding, group norms, shuffles, taking by number, checks, addmm."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import SPEC, assert_same

pytestmark = pytest.mark.usefixtures("one_thread")


class Between(nn.Module):
    """Two convolutions and something in between."""

    def __init__(self, between, channels=12):
        super().__init__()
        self.a, self.between, self.b = nn.Conv2d(3, channels, 1), between, nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        return self.b(F.relu(self.between(F.relu(self.a(x)))))


def shrunk(model, x, spec=SPEC):
    torch.manual_seed(1)
    model.eval()
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    return smaller


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


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


class Conv1D(nn.Module):
    """A linear layer with its weight as (in, out), whose size is asked for, as GPT-2 has it."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.nx = nf, nx
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        y = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return y.view(*x.size()[:-1], self.nf)


def test_addmm_with_a_weight_of_inputs_first_makes_and_reads_channels():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.norm = nn.Embedding(20, 8), nn.LayerNorm(8)
            self.up, self.down = Conv1D(24, 8), Conv1D(8, 24)

        def forward(self, ids):
            x = self.embedding(ids)
            return x + self.down(F.gelu(self.up(self.norm(x)), approximate="tanh"))

    model, ids = Block().eval(), torch.randint(20, (2, 5))
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.3, granularity="channel"), example_inputs=ids)
    assert smaller.up.nf == smaller.down.nx == smaller.up.weight.shape[1] < 24
    assert_same(model, smaller, ids)


class GivenStates(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.rnn, self.out = nn.Conv1d(3, 12, 1), nn.LSTM(12, 8, batch_first=True), nn.Linear(8, 3)

    def forward(self, x):
        x = F.relu(self.a(x)).transpose(1, 2)
        zeros = torch.zeros(1, x.shape[0], 8, dtype=x.dtype)
        return self.out(self.rnn(x, (zeros, zeros))[0])


def test_states_made_in_forward_keep_hidden_units_and_let_the_channels_before_go():
    model, x = GivenStates().eval(), torch.randn(2, 3, 5)
    assert "lstm in rnn (LSTM) is given its states" in str(engine.channels.channel_groups(model, x))
    smaller = shrunk(model, x, engine.Spec(sparsity=0.1, granularity="channel"))
    assert smaller.a.out_channels == smaller.rnn.input_size < 12
    assert smaller.rnn.hidden_size == 8


class Biased(nn.Module):
    """Attention with a bias for each distance and head (Raffel et al., 2020)."""

    def __init__(self, fused, heads=4, width=16):
        super().__init__()
        self.width, self.norm = width // heads, nn.LayerNorm(width)
        self.q, self.k, self.v, self.out = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.table, self.fused = nn.Embedding(9, heads), fused
        self.up, self.down = nn.Linear(width, 32), nn.Linear(32, width)

    def forward(self, x):
        n, s, _ = x.shape
        h = self.norm(x)
        q, k, v = (f(h).view(n, s, -1, self.width).transpose(1, 2) for f in (self.q, self.k, self.v))
        distance = torch.arange(s)[None] - torch.arange(s)[:, None] + 4
        bias = self.table(distance).permute(2, 0, 1).unsqueeze(0)
        bias = torch.where(distance < 8, bias, -1e9)
        y = F.scaled_dot_product_attention(q, k, v, bias) if self.fused else (q @ k.transpose(3, 2) + bias).softmax(-1) @ v
        y = y.transpose(1, 2).reshape(n, s, -1)
        x = x + self.out(y)
        return x + self.down(F.relu(self.up(self.norm(x))))


@pytest.mark.parametrize("fused", [False, True])
def test_heads_that_are_columns_of_a_bias_table_go_with_them(fused):
    model, x = Biased(fused).eval(), torch.randn(2, 5, 16)
    spec = engine.Spec(sparsity={"[qkv]": 0.5}, granularity="channel")
    smaller = shrunk(model, x, spec)
    assert smaller.table.weight.shape == (9, 2)
    assert smaller.q.out_features == smaller.v.out_features == smaller.out.in_features == 8
    assert smaller.table.embedding_dim == 2

"""Operations that multiply by weights read the channels before them and make others."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from smaller_networks import assert_same, shrunk
from sparse_engine.channels.export import Arguments
from sparse_engine.channels.tracing import follow

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore:left alone:UserWarning")]


class Pair(nn.Module):
    """Two layers that make channels, what multiplies them, and one that reads the result."""

    def __init__(self, multiply, width=8):
        super().__init__()
        self.a, self.b, self.multiply = nn.Linear(5, 8), nn.Linear(5, 8), multiply
        self.out = nn.Linear(width, 2)

    def forward(self, x):
        return self.out(self.multiply(self.a(x), self.b(x)))


def spec(**shares):
    return engine.Spec(sparsity=shares, granularity="channel")


def test_what_a_product_sums_over_goes_together():
    smaller = shrunk(Pair(lambda a, b: a @ b.transpose(1, 2), 6), torch.randn(2, 6, 5), spec(a=0.5))
    assert smaller.a.out_features == smaller.b.out_features == 4
    assert smaller.out.in_features == 6


def test_a_product_over_positions_hands_its_channels_on():
    smaller = shrunk(Pair(lambda a, b: (a @ a.transpose(1, 2)).softmax(-1) @ b), torch.randn(2, 6, 5), spec(a=0.5, b=0.25))
    assert (smaller.a.out_features, smaller.b.out_features, smaller.out.in_features) == (4, 6, 6)


def test_a_product_of_channels_and_positions_keeps_both():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(5, 8), nn.Linear(5, 12), nn.Linear(12, 12)

        def forward(self, x):  # channels of a meet positions of x
            return self.c(F.relu(self.b(self.a(x).transpose(1, 2).transpose(1, 2) @ x)))

    found = engine.channels.channel_groups(Mixed().eval(), torch.randn(1, 8, 5))
    assert "matmul in the model (Mixed)" in str(found)


def test_fused_attention_keeps_the_width_its_scale_depends_on_unless_the_scale_is_given():
    for scale, width in ((None, 8), (0.5, 4)):
        model = Pair(lambda a, b, scale=scale: F.scaled_dot_product_attention(a, b, b, scale=scale)).eval()
        x = torch.randn(2, 6, 5)
        found = str(engine.channels.channel_groups(model, x))
        assert ("scales by the width of its heads" in found) == (scale is None)
        if scale is not None:
            assert shrunk(model, x, spec(a=0.5)).b.out_features == width


def test_channels_that_are_not_what_a_linear_layer_multiplies_pass_by():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.mix, self.b = nn.Conv1d(3, 12, 1), nn.Linear(5, 5), nn.Conv1d(12, 2, 1)

        def forward(self, x):
            return self.b(F.relu(self.mix(self.a(x))))

    smaller = shrunk(Positions(), torch.randn(2, 3, 5), spec(a=0.5))
    assert smaller.a.out_channels == smaller.b.in_channels == 6
    assert smaller.mix.weight.shape == (5, 5)


@pytest.mark.parametrize(("groups", "out"), [(2, 8), (12, 12), (12, 24)])
def test_groups_of_a_convolution_stay_of_equal_size(groups, out):
    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.g, self.b = nn.Conv2d(3, 12, 1), nn.Conv2d(12, out, 3, groups=groups), nn.Conv2d(out, 2, 1)

        def forward(self, x):
            return self.b(F.relu(self.g(F.relu(self.a(x)))))

    smaller = shrunk(Grouped(), torch.randn(2, 3, 5, 5), spec(a=0.5))
    assert smaller.a.out_channels == smaller.g.in_channels == 6
    assert smaller.g.groups == (2 if groups == 2 else 6)
    assert smaller.b.in_channels == (8 if groups == 2 else out // 2)


def test_columns_of_an_embedding_are_channels_and_its_rows_are_not():
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)
            self.add = nn.Linear(2, 8)

        def forward(self, ids):
            return self.out(self.table(ids) + self.add(F.one_hot(ids % 2, 2).to(self.add.weight.dtype)))

    model, ids = Reads().eval(), torch.randint(20, (2, 5))
    smaller = engine.prune(copy.deepcopy(model), spec(add=0.5), example_inputs=ids)
    assert_same(model, smaller, ids)
    assert smaller.table.weight.shape == (20, 4)
    assert smaller.out.in_features == 4


def test_multiplications_are_counted_once_for_every_position_at_which_a_weight_is_used():
    class All(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.up, self.rnn = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 2, stride=2), nn.LSTM(6, 8)
            self.out = nn.Linear(8, 2)

        def forward(self, x):
            y = self.up(self.conv(x))
            return self.out(self.rnn(y.flatten(2).permute(2, 0, 1))[0])

    uses = follow(All().eval(), Arguments((torch.randn(1, 3, 5, 5),), {})).uses
    assert uses == {
        "conv.weight": 9, "up.weight": 9, "rnn.weight_ih_l0": 36, "rnn.weight_hh_l0": 36, "out.weight": 36
    }  # fmt: skip


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


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.rnn = kind(12, 16, **options)
        self.out = nn.Linear(16 * (2 if options.get("bidirectional") else 1), 5)

    def forward(self, x):
        return self.out(self.rnn(self.embedding(x))[0])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}])
def test_hidden_units_of_recurrent_layers_go_in_all_gates_layers_and_directions(kind, options):
    model, x = Recurrent(kind, **options).eval(), torch.randint(20, (3, 4))
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity={"rnn": 0.5}, granularity="channel"), example_inputs=x)
    assert smaller.rnn.hidden_size == 8
    assert smaller.rnn.weight_hh_l0.shape == ((4 if kind is nn.LSTM else 3) * 8, 8)
    assert_same(model, smaller, x)
    engine.prune(smaller, engine.Spec(sparsity=0.5))
    with torch.inference_mode():
        sparse = smaller(x)
        with engine.nn.dense_only():
            torch.testing.assert_close(sparse, smaller(x), rtol=1e-4, atol=1e-5)


class AutoEncoder(nn.Module):
    def __init__(self, groups=1):
        super().__init__()
        self.down = nn.Conv2d(1, 8, 3, 2, 1)
        self.up = nn.ConvTranspose2d(8, 12, 3, 2, 1, 1, groups=groups)
        self.out = nn.Conv2d(12, 1, 3, 1, 1)

    def forward(self, x):
        return self.out(F.relu(self.up(F.relu(self.down(x)))))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolutions_read_and_make_channels(groups):
    model, x = AutoEncoder(groups).eval(), torch.randn(2, 1, 8, 8)
    smaller = engine.prune(copy.deepcopy(model), engine.Spec(sparsity=0.4, granularity="channel"), example_inputs=x[:1])
    assert smaller.up.in_channels < 8
    assert smaller.up.out_channels < 12
    assert_same(model, smaller, x.double())

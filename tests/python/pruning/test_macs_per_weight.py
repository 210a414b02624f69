"""How often a call multiplies by each weight, counted by hand."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.nn.products import Convolution  # noqa: E402
from sparse_engine.pruning.macs_per_weight import (  # noqa: E402
    Watch,
    called,
    flags_of,
    has_own_forward,
    macs_of,
    multiplying,
    positions,
    reported,
)
from sparse_engine.pruning.targets import Gate, Slice  # noqa: E402


class Experts(nn.Module):
    num_experts = 3

    def __init__(self, batched=False):
        super().__init__()
        self.batched, self.w = batched, nn.Parameter(torch.randn(3, 6, 8))

    def forward(self, x):
        if self.batched:
            return torch.bmm(x.expand(3, -1, -1), self.w.transpose(1, 2))
        return F.linear(x, self.w[0]).sum() + F.linear(x[:2], self.w[2]).sum()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        return F.linear(F.linear(x, self.up), self.down)


engine.nn.register(Two, weight=("up", "down"))


def attention(**widths):
    return nn.MultiheadAttention(8, 2, batch_first=True, **widths)


def of_other_lengths():
    return torch.randn(2, 3, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 8)


# A layer, its inputs, and by weight how often it is multiplied with; several numbers are of equal parts of the rows.
CASES = {
    "linear": (lambda: nn.Linear(8, 6), (torch.randn(2, 5, 8),), {"weight": (10,)}),
    "convolution": (lambda: nn.Conv2d(4, 6, 3, 2, 1, groups=2), (torch.randn(2, 4, 7, 9),), {"weight": (2 * 4 * 5,)}),
    "transposed": (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1), (torch.randn(2, 4, 7),), {"weight": (14,)}),
    "LSTM": (lambda: nn.LSTM(8, 6), (torch.randn(5, 2, 8),), {"weight_ih_l0": (10,), "weight_hh_l0": (10,)}),
    "packed": (
        lambda: nn.GRU(8, 6),
        (nn.utils.rnn.pack_sequence([torch.randn(4, 8), torch.randn(1, 8)]),),
        {"weight_ih_l0": (5,), "weight_hh_l0": (5,)},
    ),
    "cell": (lambda: nn.RNNCell(8, 6), (torch.randn(3, 8),), {"weight_ih": (3,), "weight_hh": (3,)}),
    "attention": (attention, of_other_lengths(), {"in_proj_weight": (6, 10, 10)}),
    "attention of other widths": (
        lambda: attention(kdim=4),
        (torch.randn(2, 3, 8), torch.randn(2, 5, 4), torch.randn(2, 5, 8)),
        {"q_proj_weight": (6,), "k_proj_weight": (10,), "v_proj_weight": (10,)},
    ),
    "experts": (Experts, (torch.randn(4, 8),), {"w": (4, 0, 2)}),
    "batched experts": (lambda: Experts(True), (torch.randn(4, 8),), {"w": (4, 4, 4)}),
    "registered": (Two, (torch.randn(4, 8),), {"up": (4,), "down": (4,)}),
}


@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_every_weight_is_counted_where_it_meets_its_inputs(name, pruned):
    make, inputs, expected = CASES[name]
    layer = make()
    if pruned:
        engine.prune(layer, engine.Spec(sparsity=0.5))
    with torch.no_grad(), Watch(layer) as watch:
        layer(*inputs)
    found = {parameter: counts for (module, parameter), counts in watch.uses.items() if module is layer}
    assert found == expected
    assert multiplying(layer).keys() == expected.keys()
    assert watch.calls[layer].args == inputs
    if name.startswith("attention"):
        assert watch.uses[layer.out_proj, "weight"] == (6,)


def test_calls_add_up_and_outside_the_block_none_is_counted():
    layer, seen = nn.Linear(8, 6), []
    model = nn.Sequential(layer, nn.ReLU())
    with torch.no_grad(), Watch(model, lambda module, call, uses: seen.append((module, call.x.shape, dict(uses)))) as watch:
        model(torch.randn(3, 8))
        layer(input=torch.randn(8))
    layer(torch.randn(5, 8))
    assert watch.uses == {(layer, "weight"): (4,)}
    assert seen == [(layer, (3, 8), {(layer, "weight"): (3,)}), (layer, (8,), {(layer, "weight"): (1,)})]


def test_one_call_gives_a_number_for_every_layer_and_part():
    rnn, experts = nn.LSTM(8, 8, batch_first=True), Experts()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.experts, self.unused = rnn, experts, nn.Linear(8, 8)

        def forward(self, x):
            assert not self.training
            return self.experts(self.rnn(x)[0][0])

    model = Model().train()
    layers = [Gate(rnn, "weight_hh_l0", 1), *(Slice(experts, "w", i) for i in range(3)), model.unused]
    uses, calls = called(model, layers, torch.randn(1, 4, 8))
    assert uses == [4, 4, 0, 2, 0]
    assert calls == {}, "parts and what is not called are given nothing"
    assert model.training
    assert called(model, [rnn], torch.randn(1, 4, 8))[1].keys() == {rnn}


def test_parts_that_are_used_at_different_times_have_their_mean():
    layer = attention()
    uses, _ = called(layer, [Slice(layer, "in_proj_weight"), Slice(layer, "in_proj_weight", slice(0, 8))], of_other_lengths())
    assert uses == [pytest.approx(26 / 3), 6]


@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"padding": (1, 2)}, {"dilation": 2}, {"stride": (2, 1), "padding": 3}])
def test_positions_are_where_torch_computes_a_convolution(options):
    x, weight = torch.randn(2, 3, 9, 11), torch.randn(4, 3, 3, 2)
    how = Convolution(*(options.get(name, default) for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))), 1)
    assert positions(x, weight, how) == F.conv2d(x, weight, **options)[:, 0].numel()
    assert positions(x[0], weight, how) == F.conv2d(x[0], weight, **options)[0].numel()


def test_padding_by_word_is_understood():
    x, weight = torch.randn(2, 3, 9), torch.randn(4, 3, 5)
    for word in ("same", "valid"):
        expected = F.conv1d(x, weight, padding=word)[:, 0].numel()
        assert positions(x, weight, Convolution((1,), word, (1,), 1)) == expected


def test_multiplications_by_some_entries_are_counted_part_by_part():
    flags = torch.zeros(6, 4, dtype=torch.bool)
    flags[0, :3] = flags[5, 0] = True
    assert macs_of(flags, (10, 100)) == 3 * 10 + 100
    assert macs_of(flags, (7,)) == 28


def test_entries_are_there_that_a_mask_keeps_or_that_are_not_zero():
    layer = nn.Linear(4, 4)
    with torch.no_grad():
        layer.weight[1] = 0
    assert int(flags_of(layer, "weight").sum()) == 12
    with torch.no_grad():
        layer.weight.zero_()
    assert flags_of(layer, "weight").all(), "it has not begun to learn"
    engine.set_masks(layer, {"weight": torch.eye(4, dtype=torch.bool)})
    assert flags_of(layer, "weight").equal(torch.eye(4, dtype=torch.bool))


def test_what_is_reported_is_what_multiplies_or_is_masked():
    bilinear, own = nn.Bilinear(4, 4, 4), Two()
    assert reported(bilinear) == multiplying(nn.BatchNorm1d(4)) == {}
    engine.prune(bilinear, engine.Spec(sparsity=0.5, include=["*ilinear*", ""]))
    assert reported(bilinear).keys() == {"weight"}
    assert has_own_forward(own)
    assert not has_own_forward(nn.Linear(2, 2))
    assert not has_own_forward(nn.ReLU())


def test_a_call_that_fails_while_it_is_counted_leaves_no_mode_behind():
    model = Two()
    with pytest.raises(RuntimeError):
        engine.analysis.count_macs(model, [torch.randn(4, 5)])
    assert torch.overrides._get_current_function_mode() is None

import contextlib
import itertools

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def by_hand(layer, x):
    """Products of one convolution whose weight and input are both not 0, pair by pair."""
    count = 0
    padded = F.pad(x, (layer.padding[1],) * 2 + (layer.padding[0],) * 2)
    per_group = layer.in_channels // layer.groups
    for n, out in itertools.product(range(x.shape[0]), range(layer.out_channels)):
        group = out // (layer.out_channels // layer.groups)
        images = padded[n, group * per_group : (group + 1) * per_group]
        for h in range(0, images.shape[1] - layer.kernel_size[0] + 1, layer.stride[0]):
            for w in range(0, images.shape[2] - layer.kernel_size[1] + 1, layer.stride[1]):
                window = images[:, h : h + layer.kernel_size[0], w : w + layer.kernel_size[1]]
                count += int(((window != 0) & (layer.weight[out] != 0)).sum())
    return count


@pytest.mark.parametrize("groups", [1, 2])
def test_products_are_counted_as_if_one_by_one(groups):
    torch.manual_seed(0)
    layer = engine.prune(nn.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=groups), engine.Spec(sparsity=0.5))
    x = torch.relu(torch.randn(2, 4, 7, 6))
    row = engine.analysis.count_macs(layer, [x]).layers[0]
    assert row.with_both == by_hand(layer, x) / 2
    assert row.macs == layer(x).numel() // 6 * layer.weight.numel() / 2
    assert row.with_weight == row.macs / 2
    assert row.input_density == pytest.approx(float((x != 0).float().mean()))


def test_three_numbers_for_every_layer_and_their_totals():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    engine.prune(model, engine.Spec(sparsity=0.8))
    data = [torch.randn(8, 20), (torch.randn(4, 20), torch.zeros(4))]
    found = engine.analysis.count_macs(model, data)
    x = torch.cat([data[0], data[1][0]])
    hidden = torch.relu(model[0](x)).detach()
    both = ((hidden != 0).double() @ (model[2].weight != 0).double().t()).sum()
    assert [row.macs for row in found.layers] == [600, 150]
    assert [row.with_weight for row in found.layers] == [120, 30]
    assert found.layers[1].with_both == pytest.approx(float(both) / 12)
    assert found.total("with_both") < found.total("with_weight") < found.total("macs") == 750
    assert "weight and input not 0" in str(found)
    with pytest.raises(ValueError, match="no batch"):
        engine.analysis.count_macs(model, [])


def test_shares_of_inputs_can_be_given_instead_of_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 5))
    engine.prune(model, engine.Spec(sparsity=0.5))
    x = torch.randn(3, 2, 4, 4)
    measured = engine.analysis.count_macs(model, [x])
    found = engine.analysis.count_macs(model, [x], input_densities={"0": 1.0, "3": 0.4})
    assert [row.with_both for row in found.layers] == pytest.approx([measured.layers[0].with_weight, 0.4 * 40])
    assert [row.input_density for row in found.layers] == pytest.approx([1.0, 0.4])
    partly = engine.analysis.count_macs(model, [x], input_densities={"3": 0.4})
    assert partly.layers[0].with_both == measured.layers[0].with_both
    with pytest.raises(ValueError, match=r"input_densities\['3'\] = 40 must be in \[0, 1\]"):
        engine.analysis.count_macs(model, [x], input_densities={"3": 40})
    with pytest.raises(ValueError, match=r"pattern 'fc\*' matches no layer; they are: 0, 3"):
        engine.analysis.count_macs(model, [x], input_densities={"fc*": 0.4})


def test_one_mask_has_a_density_at_every_granularity():
    layer = nn.Conv2d(2, 3, 2)
    with torch.no_grad():
        layer.weight.fill_(1e-3)
        layer.weight[0, 0, 0, 0] = layer.weight[0, 0, 1, 0] = layer.weight[2, 0, 0, 1] = 1.0
    engine.prune(layer, engine.Spec(nonzeros=3))
    assert engine.analysis.densities(layer.mask) == pytest.approx(
        {"element": 3 / 24, "vector": 3 / 12, "kernel": 2 / 6, "filter": 2 / 3, "channel": 1 / 2}
    )
    linear = engine.prune(nn.Linear(4, 2), engine.Spec(nonzeros=1))
    assert engine.analysis.densities(linear.mask) == {"element": 1 / 8, "row": 1 / 2, "channel": 1 / 4}


CASES = {
    "transformer layer": (lambda: nn.TransformerEncoderLayer(16, 2, 32), torch.randn(1, 5, 16), 10_240),
    "fused transformer": (
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 2),
        torch.randn(1, 5, 16),
        20_480,
    ),
    "decoder layer": (
        lambda: nn.TransformerDecoderLayer(16, 2, 32, batch_first=True),
        (torch.randn(1, 5, 16), torch.randn(1, 7, 16)),
        5 * (4 * 256 + 2 * 256 + 2 * 512) + 7 * 2 * 256,
    ),
    "attention": (lambda: nn.MultiheadAttention(16, 2), (torch.randn(1, 5, 16),) * 3, 5 * 4 * 256),
    "attention of other widths": (
        lambda: nn.MultiheadAttention(12, 4, kdim=5, vdim=7, batch_first=True),
        (torch.randn(1, 3, 12), torch.randn(1, 4, 5), torch.randn(1, 4, 7)),
        3 * 2 * 144 + 4 * 12 * 5 + 4 * 12 * 7,
    ),
    "LSTM": (lambda: nn.LSTM(8, 16), torch.randn(5, 1, 8), 7_680),
    "LSTM, both ways": (lambda: nn.LSTM(8, 16, bidirectional=True, batch_first=True), torch.randn(1, 5, 8), 15_360),
    "LSTM, two layers": (lambda: nn.LSTM(8, 16, 2), torch.randn(5, 8), 7_680 + 5 * 64 * 32),
    "GRU": (lambda: nn.GRU(8, 16), torch.randn(5, 1, 8), 5 * 48 * 24),
    "RNN": (lambda: nn.RNN(8, 16), torch.randn(5, 1, 8), 5 * 16 * 24),
    "LSTM cell": (lambda: nn.LSTMCell(8, 16), torch.randn(1, 8), 64 * 24),
    "GRU cell": (lambda: nn.GRUCell(8, 16), torch.randn(8), 48 * 24),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2), torch.randn(1, 4, 5, 5), 25 * 4 * 6 * 9),
    "grouped": (lambda: nn.Conv1d(4, 8, 3, groups=2), torch.randn(1, 4, 10), 8 * 8 * 6),
}


@pytest.mark.parametrize("case", CASES)
def test_every_count_is_the_one_by_hand(case):
    make, inputs, expected = CASES[case]
    model = make()
    report = engine.report(model, inputs)
    counts = engine.analysis.count_macs(model, [(inputs, None)] if isinstance(inputs, tuple) else [inputs])
    assert report.macs == report.nonzero_macs == counts.total("macs") == counts.total("with_weight") == expected
    assert [(row.name, row.macs) for row in report.layers] == [(row.name, row.macs) for row in counts.layers]


@pytest.fixture
def every_warning():
    """Torch warns each time, not once a process, so that the order of tests does not matter."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.usefixtures("every_warning")
def test_a_projection_after_each_step_is_counted():
    with pytest.warns(UserWarning, match="projections") if torch.backends.mkldnn.is_available() else contextlib.nullcontext():
        report = engine.report(nn.LSTM(8, 16, proj_size=4), torch.randn(5, 1, 8))
    assert report.macs == 5 * (64 * 8 + 64 * 4 + 16 * 4)


def test_a_budget_of_macs_and_the_report_and_the_count_agree_on_a_pruned_transformer():
    torch.manual_seed(0)
    model, x = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.randn(1, 5, 16)
    engine.prune(model, engine.Spec(macs=3_000, scope="global", include="linear*"), example_inputs=x)
    report, counts = engine.report(model, x), engine.analysis.count_macs(model, [x])
    assert report.nonzero_macs == counts.total("with_weight") == 5 * sum(row.nonzeros for row in report.layers)
    assert 2_995 <= sum(row.nonzero_macs for row in report.layers if row.name.startswith("linear")) <= 3_000


def test_what_is_seen_of_the_inputs_of_attention_and_recurrent_layers_counts_exactly():
    torch.manual_seed(0)
    layer, x = nn.MultiheadAttention(4, 2, batch_first=True), torch.relu(torch.randn(1, 5, 4))
    rows = engine.analysis.count_macs(layer, [((x, x, x), None)]).layers
    assert rows[0].with_both == int((x != 0).sum()) * 12
    assert rows[1].with_both == rows[1].macs
    rnn = nn.LSTM(4, 3, bidirectional=True)
    row = engine.analysis.count_macs(rnn, [x.transpose(0, 1)]).layers[0]
    assert row.with_both == 2 * (int((x != 0).sum()) * 12 + 5 * 12 * 3)
    assert row.input_density == pytest.approx(float((x != 0).float().mean()))


def test_layers_called_by_keyword_are_counted():
    class ByName(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv1d(2, 3, 3)

        def forward(self, x):
            return self.layer(input=x)

    x = torch.randn(1, 2, 8)
    assert engine.report(ByName(), x).macs == engine.analysis.count_macs(ByName(), [x]).total("with_both") == 6 * 18


class Conv1D(nn.Module):
    """As GPT-2 has it: a linear layer that stores its weight (in, out)."""

    def __init__(self, nf, nx):
        super().__init__()
        self.nf, self.weight = nf, nn.Parameter(torch.randn(nx, nf))

    def forward(self, x):
        return x @ self.weight


def test_a_linear_layer_stored_the_other_way_round_is_counted_as_one():
    model, x = nn.Sequential(Conv1D(6, 4)), torch.relu(torch.randn(3, 5, 4))
    with torch.no_grad():
        model[0].weight[0] = 0
    report, row = engine.report(model, x), engine.analysis.count_macs(model, [x]).layers[0]
    assert (report.macs, report.nonzero_macs) == (15 * 24, 15 * 18)
    assert (3 * row.macs, 3 * row.with_weight) == (15 * 24, 15 * 18)
    assert 3 * row.with_both == 6 * int((x[..., 1:] != 0).sum())

"""What is counted, penalised, exchanged and decided of weights that are not those of Linear and convolutions."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.autograd import forward_ad  # noqa: E402


class InputsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class Experts(nn.Module):
    num_experts = 3

    def __init__(self, batched):
        super().__init__()
        self.batched, self.w = batched, nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, x):
        if self.batched:
            return torch.bmm(x.expand(3, -1, -1), self.w).sum(0)
        return nn.functional.linear(x, self.w[0]) + nn.functional.linear(x[:2], self.w[2]).sum(0)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        return torch.relu(x @ self.up.t()) @ self.down.t()


engine.nn.register(Two, weight=("up", "down"))


class Sliding(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 8, 3))

    def forward(self, x):
        return torch.conv1d(x, self.kernel, None, 2, 1)


engine.nn.register(Sliding, weight="kernel")

# A module, an input of four examples, multiplications an example.
CASES = {
    "inputs first": (InputsFirst, (4, 8), 48),
    "experts": (lambda: Experts(False), (4, 8), 64 + 32),
    "batched experts": (lambda: Experts(True), (4, 8), 3 * 64),
    "two": (Two, (4, 8), 256),
    "sliding": (Sliding, (4, 8, 9), 4 * 8 * 3 * 5),
    "rnn": (lambda: nn.RNN(8, 8, batch_first=True), (4, 5, 8), 5 * 128),
    "cell": (lambda: nn.GRUCell(8, 8), (4, 8), 384),
    "lstm": (lambda: nn.LSTM(8, 8, batch_first=True), (4, 5, 8), 5 * 512),
}


@pytest.fixture(params=CASES)
def case(request):
    make, shape, macs = CASES[request.param]
    torch.manual_seed(0)
    return nn.ModuleDict({"layer": make()}), torch.randn(shape), macs


class Called(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layer = layers["layer"]

    def forward(self, x):
        result = self.layer(x)
        return result[0] if isinstance(result, tuple) else result


def test_every_forward_is_counted_once_whatever_kernels_are_tried(case):
    layers, x, macs = case
    model = Called(layers)
    assert engine.analysis.count_macs(model, [x]).total("macs") == macs
    engine.prune(model, engine.Spec(sparsity=0.5))
    for _ in range(2):
        counts, report = engine.analysis.count_macs(model, [x]), engine.report(model, x)
        assert counts.total("macs") == macs
        assert counts.total("with_weight") == macs / 2
        assert (report.macs, report.nonzero_macs) == (4 * macs, 2 * macs)


def test_a_pruned_encoder_is_counted_once_however_its_kernels_are_tried():
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    x = torch.randn(2, 3, 8)
    macs = engine.report(model, x).macs
    assert macs == 2 * 3 * (3 * 64 + 64 + 2 * 128)
    engine.prune(model, engine.Spec(sparsity=0.5))
    assert engine.report(model, x).macs == macs
    assert engine.analysis.count_macs(model, [x]).total("macs") * 2 == macs


def test_a_penalty_reaches_every_weight_that_pruning_reaches(case):
    model = Called(case[0])
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    expected = sum(p.detach().abs().sum() for p in weights.values())
    torch.testing.assert_close(engine.pruning.penalty(model, "l1").detach(), expected)
    engine.pruning.penalty(model, "l2").backward()
    for parameter in weights.values():
        torch.testing.assert_close(parameter.grad, 2 * parameter.detach())
    with pytest.raises(ValueError, match="nothing to add up"):
        engine.pruning.penalty(model, "l1", exclude="layer")


@pytest.mark.parametrize("schedule", [engine.schedules.RigL, engine.schedules.SET])
def test_weights_are_exchanged_in_every_kind_of_layer(case, schedule):
    layers, x, _ = case
    model = Called(layers)
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.5), schedule(begin=0, end=10))
    pruner.step()
    before = engine.masks(model)
    model(x).square().sum().backward()
    pruner.step()
    after = engine.masks(model)
    for name, kept in before.items():
        assert int(after[name].sum()) == int(kept.sum())
        assert not torch.equal(after[name], kept)


def test_what_grows_in_a_turned_layer_is_where_its_gradient_is_largest():
    for layer, x in ((InputsFirst(), torch.randn(4, 8)), (nn.ConvTranspose1d(3, 5, 2), torch.randn(4, 3, 6))):
        plain = type(layer)() if isinstance(layer, InputsFirst) else nn.ConvTranspose1d(3, 5, 2)
        pruner = engine.Pruner(layer, engine.Spec(sparsity=0.5), engine.schedules.RigL(begin=0, end=10))
        pruner.step()
        before = engine.masks(layer)["weight"]
        plain.load_state_dict(layer.state_dict())
        plain(x).square().sum().backward()
        layer(x).square().sum().backward()
        pruner.step()
        come = engine.masks(layer)["weight"] & ~before
        worth = plain.weight.grad.abs()
        assert come.any()
        assert worth[come].min() >= worth[~before & ~come].max()


@pytest.mark.parametrize("name", ["inputs first", "experts", "two", "sliding", "lstm"])
def test_decisions_of_every_kind_of_layer_are_told_and_taken_up_again(name, tmp_path):
    make, shape, _ = CASES[name]
    model, x = engine.prune(Called({"layer": make()}), engine.Spec(sparsity=0.9)), torch.randn(shape)
    told = engine.autotune(model, x)
    assert told["layer"]
    again = Called({"layer": make()})
    engine.save(model, tmp_path / "model.safetensors")
    engine.load(tmp_path / "model.safetensors", again)
    assert engine.nn.decisions(again) == told
    with torch.inference_mode():
        for _ in range(3):
            torch.testing.assert_close(again.eval()(x), model.eval()(x), rtol=1e-4, atol=1e-4)
    assert engine.nn.decisions(again) == told


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # by torch itself, for its decompositions
@pytest.mark.parametrize("make", [lambda: nn.Linear(8, 8), InputsFirst, lambda: nn.Conv1d(8, 4, 3)])
def test_forward_mode_derivatives_pass_through(native_always, make):
    layer = engine.prune(make(), engine.Spec(sparsity=0.5)).eval().requires_grad_(False)
    x, tangent = torch.randn(8, 8), torch.randn(8, 8)
    for _ in range(2):
        layer(x)
    expected = layer(x + tangent) - layer(x)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, tangent))).tangent
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_frozen_weight_lets_gradients_of_modules_inside_through(native_always):
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8), requires_grad=False)
            self.adapter = nn.Linear(8, 8)

        def forward(self, x):
            return nn.functional.linear(self.adapter(x), self.weight)

    layer = engine.prune(engine.nn.register(Adapted)(), engine.Spec(sparsity=0.5, exclude="adapter")).eval()
    x = torch.randn(3, 8)
    with torch.inference_mode():
        expected = layer(x)
        torch.testing.assert_close(layer(x), expected)
    y = layer(x)
    y.sum().backward()
    assert layer.adapter.weight.grad is not None
    torch.testing.assert_close(y.detach(), expected)

import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

KINDS = [nn.LSTM, nn.GRU]


def pruned(kind, *args, spec=None, **options):
    torch.manual_seed(0)
    return engine.prune(kind(*args, **options), spec or engine.Spec(sparsity=0.8)).eval()


def always_native(monkeypatch):
    monkeypatch.setattr("sparse_engine.nn.dispatch.MARGIN", float("inf"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_native_recurrence_gives_what_torch_gives(every_isa, monkeypatch, kind, layers, bidirectional, batch_first, bias):
    always_native(monkeypatch)
    options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    model = pruned(kind, 13, 21, **options)
    shapes = [(5, 13), (5, 1, 13), (1, 4, 13), (6, 9, 13)]
    for shape in shapes:
        x = torch.randn(*shape)
        batch = () if x.dim() == 2 else (shape[0] if batch_first else shape[1],)
        state = torch.randn(layers * (2 if bidirectional else 1), *batch, 21)
        for given in (None, (state, state * 0.5) if kind is nn.LSTM else state):
            with torch.inference_mode():
                ours = model(x, given)
                with engine.nn.dense_only():
                    theirs = model(x, given)
            flat = [ours[0], *(ours[1] if kind is nn.LSTM else [ours[1]])]
            for a, b in zip(flat, [theirs[0], *(theirs[1] if kind is nn.LSTM else [theirs[1]])], strict=True):
                assert a.shape == b.shape
                torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-6)
    assert any(choice.native for choice in model._sparse.choices.exact.values())


@pytest.mark.parametrize("kind", KINDS)
def test_every_gate_loses_the_same_share_with_layer_scope(kind):
    model = pruned(kind, 16, 20, num_layers=2)
    for name, mask in engine.masks(model).items():
        per_gate = mask.reshape(-1, 20, mask.shape[1]).sum((1, 2))
        size = 20 * mask.shape[1]
        assert (per_gate == size - round(0.8 * size)).all(), name
    assert len(engine.masks(model)) == 4
    assert type(model) is (engine.nn.SparseLSTM if kind is nn.LSTM else engine.nn.SparseGRU)


def test_patterns_select_weights_and_gates():
    model = nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 10))
    engine.prune(model, engine.Spec(sparsity=0.5, include="1.weight_hh*"))
    assert list(engine.masks(model)) == ["1.weight_hh_l0"]
    model = nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 10))
    engine.prune(model, engine.Spec(sparsity={"1.*.f": 0.9}))
    kept = engine.masks(model)["1.weight_hh_l0"].reshape(4, 100).sum(1)
    assert kept.tolist() == [100, 10, 100, 100]
    model = engine.prune(nn.LSTM(8, 12), engine.Spec(granularity="2:4"))
    assert (engine.masks(model)["weight_ih_l0"].reshape(-1, 4).sum(1) == 2).all()
    with pytest.raises(ValueError, match="inside LSTM and GRU"):
        engine.prune(nn.LSTM(8, 10), engine.Spec(sparsity=0.5, criterion="wanda"), data=[torch.randn(2, 8)])


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_multiply_accumulates_are_a_budget_for_gates(kind):
    x = torch.randn(7, 2, 8)
    model = engine.prune(kind(8, 10), engine.Spec(macs=5000, scope="global"), example_inputs=x)
    left = engine.report(model, x).nonzero_macs
    assert 5000 - 14 < left <= 5000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "optimizer", [torch.optim.Adam, torch.optim.AdamW, lambda p, lr: torch.optim.SGD(p, 10 * lr, momentum=0.9)]
)
def test_training_works_and_zeros_stay(kind, optimizer):
    torch.manual_seed(0)
    model = nn.ModuleDict({"rnn": kind(6, 16, batch_first=True), "out": nn.Linear(16, 2)})
    engine.prune(model, engine.Spec(sparsity=0.7))
    zeros = {name: ~mask for name, mask in engine.masks(model).items()}
    x, y = torch.randn(32, 5, 6), torch.randint(2, (32,))
    steps = optimizer(model.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        steps.zero_grad()
        loss = F.cross_entropy(model["out"](model["rnn"](x)[0][:, -1]), y)
        loss.backward()
        steps.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    for name, parameter in model.named_parameters():
        if name in zeros:
            assert (parameter[zeros[name]] == 0).all(), name
    with torch.inference_mode():
        native = model.eval()["rnn"](x)[0]
        with engine.nn.dense_only():
            torch.testing.assert_close(native, model["rnn"](x)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_survive_copies_checkpoints_files_and_new_weights(tmp_path, monkeypatch, kind):
    always_native(monkeypatch)
    model, x = pruned(kind, 8, 12), torch.randn(4, 2, 8)
    masks = engine.masks(model)
    for other in (copy.deepcopy(model), pruned(kind, 8, 12).double().float()):
        assert all(torch.equal(masks[name], mask) for name, mask in engine.masks(other).items())
    with torch.inference_mode():
        before = model(x)[0].clone()
    dense = kind(8, 12)
    model.load_state_dict(dense.state_dict())
    assert all((model.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())
    with torch.inference_mode():
        assert not torch.equal(model(x)[0], before)
        with engine.nn.dense_only():
            expected = model(x)[0]
        torch.testing.assert_close(model(x)[0], expected, rtol=1e-5, atol=1e-6)
    pytest.importorskip("safetensors")
    engine.save(model, tmp_path / "rnn")
    read = engine.load(tmp_path / "rnn", kind(8, 12)).eval()
    assert all(torch.equal(a, b) for a, b in zip(read.state_dict().values(), model.state_dict().values(), strict=True))
    assert all(torch.equal(masks[name], mask) for name, mask in engine.masks(read).items())
    assert type(engine.remove_masks(model)) is kind
    assert not engine.masks(model)


def test_what_runs_dense_says_why(monkeypatch):
    always_native(monkeypatch)
    model = pruned(nn.LSTM, 8, 12)
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 8), torch.randn(2, 8)])
    with torch.inference_mode():
        output, _ = model(packed)
        assert isinstance(output, nn.utils.rnn.PackedSequence)
        with pytest.raises(RuntimeError):
            model(torch.randn(4, 2, 9))
    model(torch.randn(4, 8, requires_grad=True))[0].sum().backward()
    reasons = " ".join(model._sparse.fallbacks)
    assert "packed sequence" in reasons
    assert "training or gradients" in reasons


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_pruned_weights_are_zero_and_thawed_weights_too(kind):
    model = pruned(kind, 8, 12).train()
    masks = engine.masks(model)
    model.weight_hh_l0.requires_grad_(False)
    model(torch.randn(4, 2, 8))[0].square().sum().backward()
    model.weight_hh_l0.requires_grad_(True)
    model(torch.randn(4, 2, 8))[0].square().sum().backward()
    twin = copy.deepcopy(model)
    twin.zero_grad()
    twin(torch.randn(4, 2, 8))[0].square().sum().backward()
    for layer in (model, twin):
        for name, mask in masks.items():
            gradient = layer.get_parameter(name).grad
            assert (gradient[~mask] == 0).all()
            assert (gradient[mask] != 0).any()
    engine.remove_masks(model)
    model.zero_grad()
    model(torch.randn(4, 2, 8))[0].square().sum().backward()
    assert (model.weight_hh_l0.grad[~masks["weight_hh_l0"]] != 0).any()


@pytest.mark.parametrize("kind", KINDS)
def test_taylor_ranks_the_weights_of_every_gate(kind):
    torch.manual_seed(0)
    model, x, y = kind(6, 8), torch.randn(5, 3, 6), torch.randn(5, 3, 8)
    loss = lambda output, target: F.mse_loss(output[0], target)  # noqa: E731
    loss(model(x), y).backward()
    worth = {name: (p * p.grad).detach().abs() for name, p in model.named_parameters()}
    model.zero_grad()
    engine.prune(model, engine.Spec(sparsity=0.5, criterion="taylor"), data=[(x, y)], loss=loss)
    for name, mask in engine.masks(model).items():
        for gate, kept in zip(worth[name].split(8), mask.split(8), strict=True):
            assert gate[kept].min() >= gate[~kept].max()


@pytest.mark.parametrize("kind", KINDS)
def test_the_report_and_a_scan_show_recurrent_layers(monkeypatch, kind):
    always_native(monkeypatch)
    model, x = pruned(kind, 8, 12), torch.randn(5, 3, 8)
    (row,) = engine.report(model, x).layers
    gates = 4 if kind is nn.LSTM else 3
    assert row.parameters == gates * 12 * (8 + 12)
    assert row.density == pytest.approx(0.2, abs=0.01)
    assert (row.kernel, row.reason) == ("csr", "")
    assert (row.macs, row.nonzero_macs) == (15 * row.parameters, 15 * row.nonzeros)
    assert row.seconds > 0
    assert row.dense_seconds > 0
    packed = nn.utils.rnn.pack_sequence([torch.randn(4, 8), torch.randn(2, 8)])
    (row,) = engine.report(model, (packed,)).layers
    assert "packed sequence" in row.reason
    dense = kind(4, 6)
    before = copy.deepcopy(dense.state_dict())
    found = engine.sensitivity(
        dense, lambda m: -float(m(torch.ones(2, 4))[0].square().sum()), sparsities=(0.5,), progress=False
    )
    assert set(found.scores) >= {"weight_hh_l0.n" if kind is nn.GRU else "weight_hh_l0.g"}
    assert type(dense) is kind
    assert all(torch.equal(v, before[name]) for name, v in dense.state_dict().items())


def test_a_schedule_prunes_recurrent_layers_and_resumes():
    model = nn.GRU(8, 12)
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.8), engine.schedules.Linear(0, 4))
    for _ in range(3):
        pruner.step()
    other = engine.Pruner(nn.GRU(8, 12), engine.Spec(sparsity=0.8), engine.schedules.Linear(0, 4))
    other.load_state_dict(pruner.state_dict())
    assert all(torch.equal(mask, engine.masks(other.model)[name]) for name, mask in engine.masks(model).items())
    for _ in range(3):
        pruner.step()
    size = 12 * 12
    assert engine.masks(model)["weight_hh_l0"].sum() == 3 * (size - round(0.8 * size))

import copy
import pickle
import subprocess
import sys

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.measure.settling import settle_at_once  # noqa: E402


def half(model, **options):
    return engine.prune(model, engine.Spec(**{"sparsity": 0.5, **options}))


def always_native(monkeypatch):
    from sparse_engine.nn import dispatch as choice

    monkeypatch.setattr(choice, "MARGIN", 1e9)
    monkeypatch.setattr(choice, "MARGIN_AGAINST_MODEL", 1e9)


class InputsFirst(nn.Module):
    """Linear in all but name, its weight (in, out)."""

    def __init__(self, nx, nf):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(nx, nf)), nn.Parameter(torch.randn(nf))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(*x.shape[:-1], -1)


class OutputsFirst(nn.Module):
    """Linear in all but name, without features as attributes."""

    def __init__(self, nx, nf):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(nf, nx))

    def forward(self, x, scale=1.0):
        return scale * F.linear(x, self.weight)


class Padded(nn.Conv2d):
    """Pads so that the output is as large as the input, whatever that is."""

    def forward(self, x):
        return F.conv2d(F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride)


class Scaled(nn.Module):
    """Multiplies by what it makes of its weight."""

    def __init__(self, nx, nf):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(nf, nx))

    def forward(self, x):
        return F.linear(x, self.weight * 0.1)


class Experts(nn.Module):
    """All experts of a layer in two parameters."""

    def __init__(self, count, width, hidden):
        super().__init__()
        self.num_experts = count
        self.up, self.down = nn.Parameter(torch.randn(count, hidden, width)), nn.Parameter(torch.randn(count, width, hidden))
        self.up_bias = nn.Parameter(torch.randn(count, hidden))

    def forward(self, x, expert):
        hidden = F.linear(x, self.up[expert], self.up_bias[expert]).relu()
        return F.linear(hidden, self.down[expert])


class OwnInit(nn.Linear):
    """Adds nothing to the arithmetic."""

    def __init__(self, features):
        super().__init__(features, features)
        self.note = "mine"


class OwnLstm(nn.LSTM):
    """Adds nothing to the arithmetic."""


def test_a_subclass_that_adds_nothing_to_the_arithmetic_runs_natively_and_stays_one(monkeypatch):
    always_native(monkeypatch)
    model = half(nn.Sequential(OwnInit(16), nn.ReLU(), OwnInit(16))).eval()
    layer, x = model[0], torch.randn(4, 16)
    assert isinstance(layer, OwnInit)
    assert isinstance(layer, engine.nn.SparseLinear)
    with torch.inference_mode():
        native = model(x)
        with engine.nn.dense_only():
            torch.testing.assert_close(native, model(x))
    assert all(row.kernel != "dense" for row in engine.report(model, x).layers)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(twin[0]) is type(layer)
        assert twin[0].note == "mine"
        assert torch.equal(engine.masks(twin)["0.weight"], engine.masks(model)["0.weight"])
    assert type(engine.remove_masks(model)[0]) is OwnInit
    recurrent = half(nn.Sequential(OwnLstm(8, 8))).eval()
    with torch.inference_mode():
        recurrent(torch.randn(3, 2, 8))
    assert isinstance(recurrent[0], engine.nn.SparseLSTM)
    assert type(engine.remove_masks(recurrent)[0]) is OwnLstm


def test_remove_masks_gives_back_the_class_of_attentions_out_proj():
    layer = nn.MultiheadAttention(8, 2)
    before = type(layer.out_proj)
    assert before is not nn.Linear
    half(layer)
    assert isinstance(layer.out_proj, engine.nn.SparseLinear)
    assert type(engine.remove_masks(layer).out_proj) is before


def test_a_forward_of_its_own_runs_as_it_is_and_its_products_natively(monkeypatch):
    always_native(monkeypatch)
    for layer, x in (
        (InputsFirst(16, 24), torch.randn(2, 3, 16)),
        (OutputsFirst(16, 24), torch.randn(5, 16)),
        (Padded(8, 8, 3, stride=2), torch.randn(2, 8, 9, 7)),
    ):
        dense = copy.deepcopy(half(copy.deepcopy(layer))).eval()
        engine.remove_masks(dense)
        model = half(layer).eval()
        assert isinstance(model, type(dense))
        with torch.inference_mode():
            for _ in range(3):
                torch.testing.assert_close(model(x), dense(x), rtol=1e-4, atol=1e-5)
        (row,) = engine.report(model, x).layers
        assert row.kernel in ("csr", "bitmask", "bsr4x1"), row.reason
        assert 0.4 < row.density < 0.6
        twin = pickle.loads(pickle.dumps(model))
        with torch.inference_mode():
            torch.testing.assert_close(twin(x), dense(x), rtol=1e-4, atol=1e-5)
        mask = engine.masks(model)["weight"]
        model.train()(x).square().sum().backward()
        assert (model.weight.grad[~mask] == 0).all()
        assert (model.weight.grad[mask] != 0).any()
        torch.optim.SGD(model.parameters(), 0.1, weight_decay=0.1).step()
        with torch.inference_mode():
            changed = model.eval()(x)
        assert (model.weight[~mask] == 0).all()
        torch.testing.assert_close(changed, dense.__class__.forward(model, x), rtol=1e-4, atol=1e-5)


def test_arguments_go_through_to_a_forward_of_its_own(monkeypatch):
    always_native(monkeypatch)
    model, x = half(OutputsFirst(8, 8)).eval(), torch.randn(3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(model(x=x, scale=2.0), 2 * model(x))


def test_a_weight_stored_inputs_first_is_ranked_by_outputs():
    model = half(InputsFirst(16, 6), granularity="row")
    rows = engine.masks(model)["weight"].T
    assert sorted(row.sum().item() for row in rows) == [0, 0, 0, 16, 16, 16]
    model = half(InputsFirst(16, 6), granularity="2:4", sparsity=None)
    assert (engine.masks(model)["weight"].T.reshape(-1, 4).sum(1) == 2).all()


@pytest.mark.parametrize("criterion", ["wanda", "obs"])
def test_criteria_that_look_at_inputs_treat_a_linear_layer_in_all_but_name_as_one(criterion):
    torch.manual_seed(0)
    x = torch.randn(64, 16) * torch.linspace(0.1, 3, 16)
    own, linear = InputsFirst(16, 12), nn.Linear(16, 12)
    with torch.no_grad():
        linear.weight.copy_(own.weight.T)
        linear.bias.copy_(own.bias)
    for model in (own, linear):
        engine.prune(model, engine.Spec(sparsity=0.5, criterion=criterion), data=[x])
    assert torch.equal(engine.masks(own)["weight"].T, engine.masks(linear)["weight"])
    torch.testing.assert_close(own.weight.T, linear.weight)


def test_in_projections_of_attention_are_pruned_query_key_and_value_apart():
    layer = nn.MultiheadAttention(8, 2)
    with torch.no_grad():
        layer.in_proj_weight[:8] *= 100  # queries would keep everything if ranked with the others
    half(layer)
    kept = engine.masks(layer)["in_proj_weight"].reshape(3, 64).sum(1)
    assert kept.tolist() == [32, 32, 32]
    apart = half(nn.MultiheadAttention(8, 2, kdim=6, vdim=4))
    assert {name: int(mask.sum()) for name, mask in engine.masks(apart).items()} == {
        "q_proj_weight": 32,
        "k_proj_weight": 24,
        "v_proj_weight": 16,
        "out_proj.weight": 32,
    }
    only = half(nn.MultiheadAttention(8, 2), include="*.v")
    assert engine.masks(only)["in_proj_weight"].reshape(3, 64).sum(1).tolist() == [64, 64, 32]


def test_a_transformer_layer_is_pruned_whole_and_learns_under_its_masks():
    torch.manual_seed(0)
    layer = half(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True))
    matrices = {name for name, p in layer.named_parameters() if p.dim() == 2}
    assert set(engine.masks(layer)) == matrices
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.randn(2, 3, 16)).square().sum().backward()
    optimizer.step()
    for name, mask in engine.masks(layer).items():
        assert (layer.get_parameter(name)[~mask] == 0).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.RNN(8, 12),
        lambda: nn.LSTM(8, 12, proj_size=4),
        lambda: nn.LSTMCell(8, 12),
        lambda: nn.GRUCell(8, 12),
        lambda: nn.RNNCell(8, 12),
    ],
)
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
def test_every_recurrent_layer_is_pruned_and_computes_what_torchs_does(make, tmp_path):
    torch.manual_seed(0)
    plain = make()
    model = half(copy.deepcopy(plain))
    matrices = {name for name, p in plain.named_parameters() if p.dim() == 2}
    assert set(engine.masks(model)) == matrices
    with torch.no_grad():
        for name, mask in engine.masks(model).items():
            plain.get_parameter(name)[~mask] = 0
    x = torch.randn(2, 8) if isinstance(model, nn.RNNCellBase) else torch.randn(5, 2, 8)
    first = lambda y: y[0] if isinstance(y, tuple) else y  # noqa: E731
    assert torch.equal(first(model(x)), first(plain(x)))
    with torch.inference_mode():
        assert torch.equal(first(model.eval()(x)), first(plain.eval()(x)))
    assert torch.equal(first(copy.deepcopy(model)(x)), first(plain(x)))
    pytest.importorskip("safetensors")
    engine.save(model, tmp_path / "file")
    read = engine.load(tmp_path / "file", make())
    assert type(read) is type(model)
    assert type(engine.remove_masks(model)) is type(plain)


def test_each_expert_is_ranked_apart_and_runs_natively(monkeypatch):
    always_native(monkeypatch)
    torch.manual_seed(0)
    plain = Experts(3, 16, 24)
    with torch.no_grad():
        plain.up[0] *= 100
    model = half(copy.deepcopy(plain)).eval()
    masks = engine.masks(model)
    assert sorted(masks) == ["down", "up"]
    assert masks["up"].flatten(1).sum(1).tolist() == [192, 192, 192]
    with torch.no_grad():
        for name, mask in masks.items():
            plain.get_parameter(name)[~mask] = 0
    x = torch.randn(5, 16)
    with torch.inference_mode(), settle_at_once():  # five short calls need not be enough to decide
        for expert in (0, 2, torch.tensor(1), 2, 0):
            torch.testing.assert_close(model(x, expert), plain(x, expert), rtol=1e-4, atol=1e-3)
        assert next(iter(model._sparse.choices.exact.values())).native
        with torch.no_grad():
            model.down.data[1] *= 2  # no version counts this
            plain.down[1] *= 2
        torch.testing.assert_close(model(x, 1), plain(x, 1), rtol=1e-4, atol=1e-3)


def test_a_layer_frozen_after_it_was_pruned_goes_on_being_pruned():
    model = half(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)))
    model[0].requires_grad_(False)
    half(model, sparsity=0.75)
    assert all(int(mask.sum()) == 16 for mask in engine.masks(model).values())


def test_a_class_of_ones_own_is_registered_or_named_to_be_pruned():
    class Mine(Scaled):
        pass

    model = nn.Sequential(Mine(8, 8), nn.Linear(8, 8))
    with pytest.warns(UserWarning, match=r"0: own class.*engine\.nn\.register"):
        half(copy.deepcopy(model))
    named = half(copy.deepcopy(model), include=["0"])
    assert (named[0].weight == 0).sum() == 32
    assert engine.nn.register(Mine) is Mine
    half(model)
    assert (model[0].weight == 0).sum() == 32
    x = torch.randn(2, 8)
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()[0](x), x @ (model[0].weight * 0.1).T)
        model[0](x)
    assert "does not multiply by its weights" in engine.report(model, x).layers[0].reason


def test_registered_weights_may_have_other_names_and_stand_the_other_way():
    @engine.nn.register
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 8))

    class Second(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.table = nn.Parameter(torch.randn(8, 4)), nn.Parameter(torch.randn(2, 8, 4))

    engine.nn.register(Second, weight=("kernel", "table"), transposed=True)
    model = half(nn.Sequential(First(), Second()), granularity="row")
    masks = engine.masks(model)
    assert sorted(masks["1.kernel"].sum(0).tolist()) == [0, 0, 8, 8]
    assert all(sorted(one.sum(0).tolist()) == [0, 0, 8, 8] for one in masks["1.table"])
    assert sorted(masks["0.weight"].sum(1).tolist()) == [0, 0, 8, 8]
    with pytest.raises(TypeError, match="must be a subclass of torch"):
        engine.nn.register(model)
    with pytest.raises(TypeError, match="name of a parameter"):
        engine.nn.register(Second, weight=())


def test_a_layer_under_a_parametrization_is_left_alone_and_the_rest_is_pruned():
    from torch.nn.utils import parametrizations

    for wrap in (parametrizations.weight_norm, parametrizations.spectral_norm, nn.utils.spectral_norm):
        model = nn.Sequential(wrap(nn.Linear(4, 4)), nn.Linear(4, 4), wrap(nn.Conv1d(2, 2, 3)))
        with pytest.warns(UserWarning, match="left alone: 0, 2: not a plain parameter") as seen:
            half(model)
        assert len(seen) == 1
        assert list(engine.masks(model)) == ["1.weight"]
    recurrent = nn.Sequential(parametrizations.weight_norm(nn.LSTM(4, 4), "weight_hh_l0"))
    with pytest.warns(UserWarning, match="left alone: 0: not a plain parameter"):
        half(recurrent)
    assert list(engine.masks(recurrent)) == ["0.weight_ih_l0"]


def test_a_fresh_process_gives_every_layer_its_kind_when_it_loads(tmp_path):
    pytest.importorskip("safetensors")
    engine.save(half(nn.Sequential(nn.LSTM(8, 8), nn.MultiheadAttention(8, 2))), tmp_path / "file")
    code = (
        "import sys, sparse_engine as engine; from torch import nn; "
        "model = engine.load(sys.argv[1], nn.Sequential(nn.LSTM(8, 8), nn.MultiheadAttention(8, 2))); "
        "print([type(layer).__name__ for layer in model])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "file")], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['SparseLSTM', 'MaskedMultiheadAttention']"


def test_a_compiled_model_runs_a_forward_of_its_own():
    model, x = half(nn.Sequential(OutputsFirst(8, 8), OwnInit(8))), torch.randn(2, 8)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_weights_of_whole_numbers_are_left_alone():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].weight = nn.Parameter(torch.ones(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.warns(UserWarning, match=r"0: weights of torch\.int8"):
        half(model)
    assert list(engine.masks(model)) == ["1.weight"]


def test_a_model_spread_over_processes_is_refused_with_the_way_out():
    from torch import distributed
    from torch.distributed.tensor import DeviceMesh, distribute_tensor

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        layer = nn.Linear(4, 4)
        layer.weight = nn.Parameter(distribute_tensor(layer.weight.detach(), DeviceMesh("cpu", [0])))
        with pytest.raises(ValueError, match="weights of type DTensor: prune before fully_shard"):
            half(nn.Sequential(layer))
    finally:
        distributed.destroy_process_group()


def test_attention_is_left_alone_by_what_looks_at_inputs_and_the_rest_is_not():
    model, x = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(2, 3, 8)
    with pytest.warns(UserWarning, match="left alone: self_attn: criterion='wanda' looks at"):
        engine.prune(model, engine.Spec(sparsity=0.5, criterion="wanda", exclude="*.out_proj"), data=[x])
    assert sorted(engine.masks(model)) == ["linear1.weight", "linear2.weight"]

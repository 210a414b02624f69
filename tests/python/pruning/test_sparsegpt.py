import pytest

import sparse_engine as engine
from sparse_engine.pruning.sparsegpt import input_columns

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def correlated(count, size, seed=0):
    """Inputs whose features depend on one another, as those of real layers do."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(size // 2, size, generator=generator)
    return torch.randn(count, size // 2, generator=generator) @ mixing + 0.1 * torch.randn(count, size, generator=generator)


def output_error(layer, dense, x):
    with torch.no_grad():
        return float((layer(x) - dense(x)).square().sum() / dense(x).square().sum())


@pytest.mark.parametrize(
    "amount", [{"granularity": "2:4"}, {"granularity": "1:4"}, {"sparsity": 0.5}, {"sparsity": 0.8}, {"nonzeros": 3001}]
)
def test_the_output_changes_less_than_with_magnitude_at_the_same_count(amount):
    torch.manual_seed(0)
    dense, x = nn.Linear(96, 64), correlated(2000, 96)
    errors, counts = {}, {}
    for criterion in ("l1", "obs"):
        layer = nn.Linear(96, 64)
        layer.load_state_dict(dense.state_dict())
        engine.prune(layer, engine.Spec(criterion=criterion, **amount), data=[x[:1000], x[1000:]])
        errors[criterion], counts[criterion] = output_error(layer, dense, x), layer.mask.kept
        assert bool((layer.weight[~torch.from_numpy(layer.mask.to_numpy())] == 0).all())
    assert counts["l1"] == counts["obs"]
    assert errors["obs"] < 0.9 * errors["l1"]


def test_n_of_m_stays_n_of_m():
    layer = nn.Conv2d(8, 6, 3, padding=1)
    engine.prune(layer, engine.Spec(granularity="2:4", criterion="obs"), data=[torch.randn(4, 8, 9, 9)])
    kept = layer.mask.to_numpy().reshape(-1, 4)
    assert (kept.sum(1) == 2).all()


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(12, 5),
        nn.Conv1d(4, 6, 3, stride=2, padding=1),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 0)),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
        nn.Conv3d(2, 4, (2, 1, 3)),
    ],
)
def test_input_columns_are_what_the_weight_multiplies(layer):
    x = (
        torch.randn(3, 7, 12)
        if isinstance(layer, nn.Linear)
        else torch.randn(3, layer.in_channels, *[9, 8, 7][: layer.weight.dim() - 2])
    )
    columns = input_columns(layer, x)
    rows = layer.weight.detach().reshape(columns.shape[0], -1, columns.shape[1])
    y = (rows @ columns).reshape(layer.weight.shape[0], -1) + layer.bias.detach()[:, None]
    expected = layer(x).detach()
    expected = (
        expected.reshape(-1, 5).t()
        if isinstance(layer, nn.Linear)
        else expected.transpose(0, 1).reshape(layer.out_channels, -1)
    )
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_a_whole_network_is_solved_in_the_order_it_runs():
    torch.manual_seed(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(40, 10)
            self.first = nn.Conv2d(3, 10, 3, groups=1)

        def forward(self, x):
            return self.last(F.relu(self.first(x)).flatten(1)[:, :40])

    x = torch.randn(64, 3, 4, 4)
    dense = Net()
    errors = {}
    for criterion in ("l1", "obs"):
        model = Net()
        model.load_state_dict(dense.state_dict())
        engine.prune(model, engine.Spec(sparsity=0.6, criterion=criterion), data=[(x, None)] if criterion == "obs" else None)
        errors[criterion] = output_error(model, dense, x)
        assert model.training
    assert errors["obs"] < errors["l1"]


def test_inputs_that_are_always_zero_cost_nothing():
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 8), torch.randn(200, 16)
    x[:, 3] = x[:, 10] = 0
    engine.prune(layer, engine.Spec(sparsity=0.5, criterion="obs"), data=[x])
    assert torch.isfinite(layer.weight).all()
    assert (layer.weight[:, [3, 10]] == 0).all()


def test_what_it_cannot_do_is_refused():
    for wrong in (
        {"sparsity": 0.5, "scope": "global"},
        {"sparsity": 0.5, "granularity": "4x1"},
        {"macs": 10},
        {"bytes": 10},
        {"sparsity": 0.5, "min_density": 0.1},
    ):
        with pytest.raises(ValueError, match="one layer after another"):
            engine.Spec(criterion="obs", **wrong)
    with pytest.raises(ValueError, match="pass data="):
        engine.prune(nn.Linear(4, 4), engine.Spec(sparsity=0.5, criterion="obs"))
    with pytest.raises(ValueError, match="holds no batch"):
        engine.prune(nn.Linear(4, 4), engine.Spec(sparsity=0.5, criterion="obs"), data=[])
    with pytest.raises(ValueError, match="one-shot"):
        engine.Pruner(nn.Linear(4, 4), engine.Spec(sparsity=0.5, criterion="obs"))
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "unused": nn.Linear(4, 4)})
    model.forward = lambda x: model["used"](x)
    with pytest.raises(ValueError, match="saw no data"):
        engine.prune(model, engine.Spec(sparsity=0.5, criterion="obs"), data=[torch.randn(3, 4)])
    assert not engine.masks(model)


def test_weights_in_double_precision_keep_their_digits():
    torch.manual_seed(0)
    layer = nn.Linear(16, 8, dtype=torch.float64)
    dense = layer.weight.detach().clone()
    engine.prune(layer, engine.Spec(sparsity=0.0, criterion="obs"), data=[torch.randn(40, 16, dtype=torch.float64)])
    assert torch.equal(layer.weight, dense)

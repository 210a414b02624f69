import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations, parametrize  # noqa: E402
from torch.nn.utils import prune as torch_prune  # noqa: E402


class LowRank(nn.Module):
    """Adds a product of two small matrices, as LoRA by `register_parametrization` does."""

    def __init__(self, out, features):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(2, features)), nn.Parameter(torch.ones(out, 2))

    def forward(self, weight):
        return weight + (self.b @ self.a).reshape(weight.shape)


def low_rank(layer):
    weight = layer.weight
    return parametrize.register_parametrization(layer, "weight", LowRank(len(weight), weight[0].numel()))


def torchs_pruning(layer):
    torch_prune.l1_unstructured(layer, "weight", 0.2)
    return layer


WRAPS = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": nn.utils.spectral_norm,
    "low rank": low_rank,
    "torch's pruning": torchs_pruning,
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS.keys())
@pytest.mark.parametrize(
    "make", [lambda: nn.Linear(8, 8), lambda: nn.Conv2d(4, 8, 3, padding=1), lambda: nn.ConvTranspose1d(4, 6, 3)]
)
def test_a_parametrization_after_pruning_is_masked(make, wrap):
    torch.manual_seed(0)
    layer = engine.prune(make(), engine.Spec(sparsity=0.5))
    mask = engine.masks(layer)["weight"]
    shape = {nn.Linear: (2, 8), nn.Conv2d: (2, 4, 6, 6), nn.ConvTranspose1d: (2, 4, 5)}[layer.plain]
    x = torch.randn(shape)
    wrap(layer)
    layer.eval()(x)  # old style: the first call makes the weight
    plain = make()
    with torch.no_grad():
        plain.bias.copy_(layer.bias)
        plain.weight.copy_(torch.where(mask, layer.weight, 0))
        expected = plain(x)
    torch.testing.assert_close(layer(x), expected)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)
    layer.train()(x).square().sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    layer.eval().double()
    twin = layer if wrap in (nn.utils.spectral_norm, torchs_pruning) else copy.deepcopy(layer)  # torch's own cannot be copied
    with torch.inference_mode():
        torch.testing.assert_close(twin(x.double()), layer(x.double()))
    assert torch.equal(engine.masks(layer)["weight"], mask)


def test_masks_go_while_a_parametrization_stays():
    layer = low_rank(engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)))
    x, weight = torch.randn(2, 8), layer.weight.detach().clone()
    engine.remove_masks(layer)
    assert not engine.masks(layer)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, weight, layer.bias))
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear


def test_removing_the_parametrization_leaves_a_pruned_layer():
    layer = low_rank(engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)))
    mask = engine.masks(layer)["weight"]
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is engine.nn.SparseLinear
    x = torch.randn(3, 8)
    with torch.inference_mode():
        result = layer.eval()(x)
    assert (layer.weight[~mask] == 0).all()
    torch.testing.assert_close(result, nn.functional.linear(x, layer.weight, layer.bias))


def test_attention_and_recurrent_layers_take_a_parametrization_after_pruning():
    torch.manual_seed(0)
    for layer, name, inputs in (
        (nn.MultiheadAttention(8, 2), "in_proj_weight", [torch.randn(3, 2, 8)] * 3),
        (nn.LSTM(8, 8), "weight_hh_l0", [torch.randn(3, 2, 8)]),
        (nn.GRUCell(8, 8), "weight_hh", [torch.randn(2, 8)]),
    ):
        engine.prune(layer, engine.Spec(sparsity=0.5))
        mask = engine.masks(layer)[name]
        weight = getattr(layer, name)
        parametrize.register_parametrization(layer, name, LowRank(len(weight), weight.shape[1]))
        layer.eval()(*inputs)
        assert (getattr(layer, name)[~mask] == 0).all()
        assert (getattr(layer, name)[mask] != 0).all()
        with torch.inference_mode():
            layer(*inputs)


def parametrization_removed(layer):
    return parametrize.remove_parametrizations(layer, "weight")


WAYS_OUT = {
    "weight_norm": parametrization_removed,
    "spectral_norm": parametrization_removed,
    "low rank": parametrization_removed,
    "old spectral_norm": nn.utils.remove_spectral_norm,
    "torch's pruning": lambda layer: torch_prune.remove(layer, "weight"),
}


@pytest.mark.parametrize("name", WAYS_OUT)
def test_a_model_whose_masked_weight_is_computed_is_saved_by_the_way_out_that_is_told(tmp_path, name):
    torch.manual_seed(0)
    model, x = (
        engine.prune(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), engine.Spec(sparsity=0.5)).eval(),
        torch.randn(2, 8),
    )
    masks = engine.masks(model)
    WRAPS[name](model[0])
    expected = model(x)
    with pytest.raises(ValueError, match="make it a parameter again and save then"):
        engine.save(model, tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
    WAYS_OUT[name](model[0])
    engine.save(model, tmp_path / "model.safetensors")
    again = engine.load(tmp_path / "model.safetensors", nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))).eval()
    torch.testing.assert_close(again(x), expected)
    assert all(torch.equal(engine.masks(again)[name], kept) for name, kept in masks.items())


class Doubled(nn.Module):
    def forward(self, bias):
        return 2 * bias


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Linear(8, 8), (2, 8)),
        (lambda: nn.Conv2d(4, 8, 3), (2, 4, 6, 6)),
        (lambda: nn.Conv3d(2, 4, 2), (1, 2, 3, 3, 3)),
        (lambda: nn.ConvTranspose1d(4, 6, 3), (2, 4, 5)),
    ],
)
def test_a_parametrized_bias_is_the_computed_one(native_always, make, shape):
    layer, x = engine.prune(make(), engine.Spec(sparsity=0.5)).eval(), torch.randn(shape)
    with torch.inference_mode():
        without = layer(x)
        parametrize.register_parametrization(layer, "bias", Doubled())
        bias = layer.parametrizations.bias.original.reshape(-1, *(1,) * (x.dim() - 2))
        torch.testing.assert_close(layer(x), without + bias)


def test_a_recurrent_layer_with_a_parametrized_bias_runs(native_always):
    layer, x = engine.prune(nn.LSTM(8, 8), engine.Spec(sparsity=0.5)).eval(), torch.randn(3, 2, 8)
    with torch.inference_mode():
        without = layer(x)[0]
        parametrize.register_parametrization(layer, "bias_hh_l0", Doubled())
        assert not torch.equal(layer(x)[0], without)

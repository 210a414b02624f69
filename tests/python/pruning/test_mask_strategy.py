import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.mask_strategy import by_row, choose_masks  # noqa: E402


def chosen(model, spec, **options):
    return choose_masks(model, spec, data=None, loss=None, example_inputs=None, **options)


def test_choosing_masks_changes_nothing_in_the_model():
    model = nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 4))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    layers, masks = chosen(model, engine.Spec(sparsity=0.5))
    assert layers == [model[0], model[1]]
    assert [mask.kept for mask in masks] == [24, 12]
    assert [type(layer) for layer in model] == [nn.Linear, nn.Linear]
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("granularity", ["element", "4x1"])
def test_with_only_held_no_weight_comes_back(granularity):
    layer = nn.Linear(16, 16)
    engine.prune(layer, engine.Spec(sparsity=0.75))
    before = layer.mask.to_numpy()
    _, (mask,) = chosen(layer, engine.Spec(sparsity=0.5, granularity=granularity), only_held=True)
    assert not (mask.to_numpy() & ~before).any()
    assert mask.kept == (64 if granularity == "element" else (mask.to_numpy() & before).sum())
    _, (free,) = chosen(layer, engine.Spec(sparsity=0.5))
    assert free.kept == 128


def test_only_linear_layers_are_ranked_by_row_where_the_scope_is_left_to_the_criterion():
    layers = [nn.Linear(2, 2), nn.Conv2d(2, 2, 1)]
    assert by_row(engine.Spec(sparsity=0.5, criterion="wanda"), layers) == [True, False]
    assert by_row(engine.Spec(sparsity=0.5, scope="row"), layers) == [True, True]
    assert by_row(engine.Spec(sparsity=0.5), layers) == [False, False]


def test_layers_of_two_dtypes_are_ranked_together_without_rounding():
    model = nn.Sequential(nn.Linear(2, 1, bias=False).double(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1 + 1e-12, 3.0]]))
        model[1].weight.copy_(torch.tensor([[1.0, 2.0]]))
    _, masks = chosen(model, engine.Spec(nonzeros=3, scope="global"))
    assert [mask.to_numpy().tolist() for mask in masks] == [[[True, True]], [[False, True]]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"macs": 10}, "macs is that of one call of the model; pass example_inputs="),
        ({"latency_ms": 1.0}, "latency_ms is that of one call"),
        ({"sparsity": 0.5, "granularity": "channel"}, "changes shapes, which no mask does"),
        ({"sparsity": 0.5, "criterion": "wanda"}, "looks at data; pass data="),
    ],
)
def test_what_is_missing_is_named(spec, words):
    with pytest.raises(ValueError, match=words):
        chosen(nn.Linear(4, 4), engine.Spec(**spec))


def test_nan_is_named_by_layer_and_index():
    layer = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        layer[0].weight[1, 0] = torch.nan
    with pytest.raises(ValueError, match=r"layer '0' has NaN at weight.flatten\(\)\[2\]"):
        chosen(layer, engine.Spec(sparsity=0.5))

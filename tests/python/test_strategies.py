import copy

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 33), nn.ReLU(), nn.Linear(33, 7)
    )


def zeros(layer):
    return int((layer.weight == 0).sum())


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.77, 0.9, 0.999])
def test_every_layer_loses_exactly_its_share(sparsity):
    model = network()
    assert engine.prune(model, engine.Spec(sparsity=sparsity)) is model
    for layer in (model[0], model[4], model[6]):
        assert zeros(layer) == round(sparsity * layer.weight.numel())
    assert type(model[0]) is engine.nn.SparseConv2d
    assert type(model[4]) is engine.nn.SparseLinear
    assert isinstance(model[4], nn.Linear)


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.93])
def test_global_scope_removes_exactly_the_smallest_weights_of_the_whole_model(sparsity):
    model, reference = network(), network()
    engine.prune(model, engine.Spec(sparsity=sparsity, scope="global"))
    every = torch.cat([reference[i].weight.detach().abs().flatten() for i in (0, 4, 6)])
    removed = round(sparsity * every.numel())
    kept = torch.cat([engine_mask(model, i) for i in (0, 4, 6)])
    assert int((~kept).sum()) == removed
    assert every[~kept].max() <= every[kept].min()


def engine_mask(model, i):
    return engine.masks(model)[f"{i}.weight"].flatten()


def test_global_scope_agrees_with_torchs_own_pruning():
    from torch.nn.utils import prune as torch_prune

    ours, theirs = network(), network()
    engine.prune(ours, engine.Spec(sparsity=0.8, scope="global"))
    torch_prune.global_unstructured(
        [(theirs[i], "weight") for i in (0, 4, 6)], pruning_method=torch_prune.L1Unstructured, amount=0.8
    )
    for i in (0, 4, 6):
        torch.testing.assert_close(ours[i].weight, theirs[i].weight, rtol=0, atol=0)


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_nonzeros_is_the_number_of_weights_that_stay(scope):
    model = network()
    engine.prune(model, engine.Spec(nonzeros=1234, scope=scope))
    assert sum(int(mask.sum()) for mask in engine.masks(model).values()) == 1234
    with pytest.raises(ValueError, match="exceeds the 9951 weights"):
        engine.prune(network(), engine.Spec(nonzeros=10**6))


def test_a_mapping_gives_each_pattern_its_share_and_leaves_the_rest_alone():
    model = engine.prune(network(), engine.Spec(sparsity={"4": 0.9, "[0-4]": 0.5}))
    assert zeros(model[4]) == round(0.9 * 8 * 36 * 33)
    assert zeros(model[0]) == 108
    assert type(model[6]) is nn.Linear
    with pytest.raises(ValueError, match="'head' matches no layer; prunable layers of this model: 0, 4, 6"):
        engine.prune(network(), engine.Spec(sparsity={"head": 0.5, "4": 0.5}))


def test_include_and_exclude_select_layers():
    model = engine.prune(network(), engine.Spec(sparsity=0.5, exclude=["0", "6"]))
    assert sorted(engine.masks(model)) == ["4.weight"]
    with pytest.raises(ValueError, match="select no layer; prunable layers of this model: 0, 4, 6"):
        engine.prune(network(), engine.Spec(sparsity=0.5, include="classifier"))


def test_a_single_layer_is_a_model_too():
    layer = engine.prune(nn.Linear(10, 10), engine.Spec(sparsity=0.5))
    assert zeros(layer) == 50
    assert list(engine.masks(layer)) == ["weight"]


def test_ties_spread_over_rows_columns_and_layers():
    model = nn.Sequential(nn.Linear(40, 40), nn.Linear(40, 40))
    for layer in model:
        nn.init.ones_(layer.weight)
    engine.prune(model, engine.Spec(nonzeros=800, scope="global"))
    kept = [(layer.weight == 1).double() for layer in model]
    assert sum(int(k.sum()) for k in kept) == 800
    for k in kept:
        assert abs(k.sum() - 400) < 4
        assert (k.sum(0) - 10).abs().max() < 4
        assert (k.sum(1) - 10).abs().max() < 4


@pytest.mark.parametrize("granularity", ["element", "2:4", "1:4", "4x1", "1x4", "vector", "kernel", "pattern"])
def test_a_layer_that_begins_at_zero_keeps_weights_in_every_row_and_column(granularity):
    layer = nn.Conv2d(32, 64, 3) if granularity in ("vector", "kernel", "pattern") else nn.Linear(64, 64)
    nn.init.zeros_(layer.weight)
    fixed = ":" in granularity or granularity == "pattern"
    engine.prune(layer, engine.Spec(granularity=granularity) if fixed else engine.Spec(sparsity=0.75, granularity=granularity))
    mask = engine.masks(layer)["weight"].flatten(1).double()
    for count in (mask.mean(0), mask.mean(1)):
        assert count.min() > 0.4 * mask.mean()
        assert count.max() < 1.6 * mask.mean()


def test_pruning_further_takes_no_other_zeros_than_before_whatever_it_is_ranked_with():
    model = nn.Sequential(nn.Linear(20, 20), nn.Linear(20, 20))
    for layer in model:
        nn.init.zeros_(layer.weight)
    engine.prune(model, engine.Spec(sparsity=0.5, scope="global"))
    before = engine.masks(model)["1.weight"]
    engine.prune(model, engine.Spec(sparsity=0.8, include="1"))
    after = engine.masks(model)["1.weight"]
    assert int(after.sum()) == 80
    assert not (after & ~before).any()


@pytest.mark.parametrize("granularity", ["element", "1:4", "row", "2x2"])
def test_float64_weights_are_ranked_in_float64(granularity):
    layer = nn.Linear(16, 8, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_((1 + torch.arange(128.0, dtype=torch.float64) * 1e-12).view(8, 16))
    engine.prune(layer, engine.Spec(granularity=granularity, **({} if ":" in granularity else {"sparsity": 0.75})))
    kept = engine.masks(layer)["weight"]
    if granularity == "1:4":
        assert kept[:, 3::4].all()
    else:
        assert kept[-2:].all()
    assert int(kept.sum()) == 32


def test_layers_of_several_types_are_ranked_together():
    model = nn.Sequential(nn.Linear(8, 8, dtype=torch.float64), nn.Linear(8, 8), nn.Linear(8, 8, dtype=torch.bfloat16))
    with torch.no_grad():
        for layer, size in zip(model, (1 + 1e-12, 1.0, 0.5), strict=True):
            layer.weight.fill_(size)
    engine.prune(model, engine.Spec(nonzeros=96, scope="global"))
    assert [int(engine.masks(model)[f"{i}.weight"].sum()) for i in range(3)] == [64, 32, 0]


def test_nan_is_refused_and_leaves_the_model_unchanged():
    model = network()
    with torch.no_grad():
        model[4].weight[1, 2] = float("nan")
    before = copy.deepcopy(model.state_dict())
    for scope in ("layer", "global"):
        with pytest.raises(ValueError, match=r"layer '4' has NaN at weight.flatten\(\)\[290\]"):
            engine.prune(model, engine.Spec(sparsity=0.5, scope=scope))
    assert type(model[0]) is nn.Conv2d
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, before[key], equal_nan=True, rtol=0, atol=0)


def test_pruning_again_goes_on_from_where_the_model_is():
    model = engine.prune(network(), engine.Spec(sparsity=0.5))
    first = engine.masks(model)
    engine.prune(model, engine.Spec(sparsity=0.9))
    for name, mask in engine.masks(model).items():
        assert not (mask & ~first[name]).any()
        assert int((~mask).sum()) == round(0.9 * mask.numel())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floating_types_are_pruned(dtype):
    model = engine.prune(network().to(dtype), engine.Spec(sparsity=0.9))
    assert int((~engine.masks(model)["4.weight"]).sum()) == round(0.9 * 8 * 36 * 33)
    assert (model[4].weight[~engine.masks(model)["4.weight"]] == 0).all()


def test_layers_without_native_kernels_are_masked_and_stay_dense():
    layer = engine.prune(nn.RNN(6, 4), engine.Spec(sparsity=0.5)).eval()
    assert isinstance(layer, nn.RNN)
    assert int((layer.weight_ih_l0 == 0).sum() + (layer.weight_hh_l0 == 0).sum()) == 20
    assert layer(torch.zeros(5, 2, 6))[0].shape == (5, 2, 4)
    report = engine.report(layer, example_inputs=torch.randn(5, 2, 6))
    assert report.layers[0].kernel == "dense"
    assert "its own forward does not multiply by its weights" in report.layers[0].reason


def test_a_shared_weight_is_counted_once_and_masked_everywhere():
    a, b = nn.Linear(10, 10), nn.Linear(10, 10)
    b.weight = a.weight
    model = engine.prune(nn.Sequential(a, b), engine.Spec(nonzeros=30, scope="global"))
    assert int((a.weight != 0).sum()) == 30
    assert isinstance(model[1], engine.nn.SparseLinear)
    assert model[1].weight is a.weight


def test_parametrized_and_lazy_weights_are_refused_with_the_way_out():
    from torch.nn.utils.parametrizations import weight_norm

    with pytest.raises(ValueError, match="remove_parametrizations"):
        engine.prune(nn.Sequential(weight_norm(nn.Linear(4, 4))), engine.Spec(sparsity=0.5))
    with pytest.raises(ValueError, match="run the model once on an input"):
        engine.prune(nn.Sequential(nn.LazyLinear(4)), engine.Spec(sparsity=0.5))
    with pytest.raises(ValueError, match="meta device"):
        engine.prune(nn.Linear(4, 4, device="meta"), engine.Spec(sparsity=0.5))
    layer = nn.Linear(4, 4)
    torch.nn.utils.prune.l1_unstructured(layer, "weight", 0.5)
    with pytest.raises(ValueError, match="not a plain parameter"):
        engine.prune(layer, engine.Spec(sparsity=0.5))


def test_a_subclass_with_its_own_forward_keeps_it_and_is_masked():
    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    model = nn.Sequential(Doubled(4, 4), nn.Linear(4, 4))
    engine.prune(model, engine.Spec(sparsity=0.5))
    assert isinstance(model[0], Doubled)
    assert zeros(model[0]) == 8
    x = torch.randn(2, 4)
    torch.testing.assert_close(model[0](x), 2 * nn.functional.linear(x, model[0].weight, model[0].bias))
    assert type(engine.remove_masks(model)[0]) is Doubled


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match=r"torch.nn.Module, not list"):
        engine.prune([], engine.Spec(sparsity=0.5))
    with pytest.raises(TypeError, match=r"engine.Spec\(sparsity=0.9\)"):
        engine.prune(network(), 0.5)


def test_remove_masks_leaves_plain_dense_modules(rng):
    model = engine.prune(network(), engine.Spec(sparsity=0.9))
    weights = model[4].weight.detach().clone()
    assert engine.remove_masks(model) is model
    assert [type(m) for m in model] == [type(m) for m in network()]
    assert engine.masks(model) == {}
    assert not hasattr(model[4], "_sparse")
    torch.testing.assert_close(model[4].weight.detach(), weights, rtol=0, atol=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    assert zeros(model[4]) < round(0.9 * 8 * 36 * 33)


def test_counts_stay_exact_beyond_two_to_the_31_weights():
    from sparse_engine import _core

    piece = np.random.default_rng(0).standard_normal(1 << 24).astype(np.float32)
    repeats = 130  # 2.18e9 weights
    total, keep = repeats * piece.size, 2**31 + 12345
    selector = _core.LargestSelector(total, keep)
    more = True
    while more:
        for _ in range(repeats):
            selector.feed(piece)
        more = selector.next_pass()
    kept = sum(int(_core.count_kept(selector.mask(piece), piece.size)) for _ in range(repeats))
    assert kept == keep

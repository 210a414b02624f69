import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

LAYERS = {
    "1d": lambda: nn.ConvTranspose1d(8, 12, 4, stride=2),
    "2d": lambda: nn.ConvTranspose2d(8, 12, (3, 2), stride=2, padding=1, output_padding=1),
    "3d": lambda: nn.ConvTranspose3d(4, 8, 2),
    "grouped": lambda: nn.ConvTranspose2d(8, 12, 3, groups=4, dilation=2),
    "depthwise": lambda: nn.ConvTranspose2d(8, 8, 3, stride=2, groups=8),
}
INPUTS = {"1d": (2, 8, 9), "2d": (2, 8, 5, 6), "3d": (2, 4, 3, 4, 5), "grouped": (2, 8, 5, 6), "depthwise": (2, 8, 5, 6)}
GRANULARITIES = ["element", "2:4", "4x1", "1x4", "4x4", "vector", "kernel", "filter", "pattern:2", "row"]


def layer_of(kind):
    torch.manual_seed(0)
    return LAYERS[kind]()


def by_output(layer, tensor):
    """(out, in / groups, kernel...), one output channel at a time by definition of a grouped transposed convolution."""
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    rows = [tensor[o // per_out * per_in : (o // per_out + 1) * per_in, o % per_out] for o in range(layer.out_channels)]
    return torch.stack(rows)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_masks_are_those_of_a_convolution_with_the_same_filters(kind, granularity):
    layer = layer_of(kind)
    kinds = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
    plain = kinds[layer.weight.dim()](layer.in_channels, layer.out_channels, layer.kernel_size, groups=layer.groups)
    with torch.no_grad():
        plain.weight.copy_(by_output(layer, layer.weight))
    spec = engine.Spec(granularity=granularity, **({} if ":" in granularity else {"sparsity": 0.5}))
    reasons = []
    for module in (layer, plain):
        try:
            engine.prune(module, spec)
        except ValueError as error:
            reasons.append(str(error))
    if reasons:
        assert len(reasons) == 2
        assert reasons[0] == reasons[1]
        return
    assert torch.equal(by_output(layer, engine.masks(layer)["weight"]), engine.masks(plain)["weight"])
    assert (layer.weight[~engine.masks(layer)["weight"]] == 0).all()


@pytest.mark.parametrize("kind", LAYERS)
def test_a_filter_is_an_output_channel(kind):
    layer = engine.prune(layer_of(kind), engine.Spec(sparsity=0.5, granularity="filter"))
    layer.bias.data.zero_()
    with torch.inference_mode():
        y = layer.eval()(torch.randn(INPUTS[kind]))
    silent = (y == 0).flatten(2).all(2).all(0)
    assert int(silent.sum()) == layer.out_channels // 2


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("training", [False, True])
def test_the_result_is_torchs_on_the_masked_weight(kind, training):
    layer = engine.prune(layer_of(kind), engine.Spec(sparsity=0.7)).train(training)
    zeroed = copy.deepcopy(LAYERS[kind]())
    zeroed.load_state_dict(layer.state_dict())
    x = torch.randn(INPUTS[kind])
    for given in (x, x[0]):
        torch.testing.assert_close(layer(given), zeroed(given), rtol=0, atol=0)  # gradients are needed, so this is dense
    if kind == "2d":
        torch.testing.assert_close(layer(x, output_size=(9, 10)), zeroed(x, output_size=(9, 10)), rtol=0, atol=0)
    layer(x).square().sum().backward()
    gone = ~engine.masks(layer)["weight"]
    assert (layer.weight.grad[gone] == 0).all()
    assert (layer.weight.grad[~gone] != 0).any()


@pytest.mark.parametrize("kind", LAYERS)
def test_wanda_weighs_by_the_inputs_that_a_weight_meets(kind):
    layer = layer_of(kind)
    x = torch.randn(INPUTS[kind], generator=torch.Generator().manual_seed(3))
    # Entry (i, o, tap) of the gradient of the summed output of channel o alone, from squared inputs, is what it meets.
    squares = copy.deepcopy(layer)
    squares(x.square()).sum().backward()
    worth = layer.weight.detach().abs() * squares.weight.grad.sqrt()
    engine.prune(layer, engine.Spec(sparsity=0.5, criterion="wanda"), data=[x])
    mask = engine.masks(layer)["weight"]
    assert worth[mask].min() >= worth[~mask].max() * (1 - 1e-5)


def test_criteria_and_amounts_know_transposed_layers_or_say_no():
    model = nn.Sequential(nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.ConvTranspose2d(6, 2, 3, stride=2))
    x = torch.randn(1, 4, 5, 5)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([3.0, 1, 6, 2, 5, 4]))
    pruned = engine.prune(
        copy.deepcopy(model),
        engine.Spec(sparsity=0.5, granularity="filter", criterion="bn_scale", include="0"),
        data=[x],
    )
    assert engine.masks(pruned)["0.weight"].flatten(2).all(2).all(0).tolist() == [False, False, True, False, True, True]
    macs = 25 * model[0].weight.numel() + 49 * model[3].weight.numel()
    assert engine.report(model, x).macs == macs == engine.analysis.count_macs(model, [x]).total("macs")
    pruned = engine.prune(copy.deepcopy(model), engine.Spec(macs=macs // 3, scope="global"), example_inputs=x)
    counts = engine.analysis.count_macs(pruned, [x])
    assert macs // 3 - 49 < counts.total("with_weight") <= macs // 3
    met = copy.deepcopy(model)
    with torch.no_grad():
        for p in met.parameters():
            p.fill_(1.0)
        met[0].bias.zero_()
        x[:, 1] = 0
        first = float(met[0]((x != 0).float()).sum())
    assert engine.analysis.count_macs(model, [x]).layers[0].with_both == first
    with pytest.raises(ValueError, match="does not solve transposed convolutions"):
        engine.prune(model, engine.Spec(sparsity=0.5, criterion="obs"), data=[x])


def test_masks_of_transposed_layers_survive_files_and_go_with_remove_masks(tmp_path):
    pytest.importorskip("safetensors")
    layer = engine.prune(layer_of("grouped"), engine.Spec(sparsity=0.5, granularity="kernel"))
    engine.save(layer, tmp_path / "layer")
    read = engine.load(tmp_path / "layer", LAYERS["grouped"]())
    assert torch.equal(engine.masks(read)["weight"], engine.masks(layer)["weight"])
    assert torch.equal(read.weight, layer.weight)
    assert type(engine.remove_masks(read)) is nn.ConvTranspose2d

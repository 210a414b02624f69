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
    row = engine.count_macs(layer, [x]).layers[0]
    assert row.with_both == by_hand(layer, x) / 2
    assert row.macs == layer(x).numel() // 6 * layer.weight.numel() / 2
    assert row.with_weight == row.macs / 2
    assert row.input_density == pytest.approx(float((x != 0).float().mean()))


def test_three_numbers_for_every_layer_and_their_totals():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
    engine.prune(model, engine.Spec(sparsity=0.8))
    data = [torch.randn(8, 20), (torch.randn(4, 20), torch.zeros(4))]
    found = engine.count_macs(model, data)
    x = torch.cat([data[0], data[1][0]])
    hidden = torch.relu(model[0](x)).detach()
    both = ((hidden != 0).double() @ (model[2].weight != 0).double().t()).sum()
    assert [row.macs for row in found.layers] == [600, 150]
    assert [row.with_weight for row in found.layers] == [120, 30]
    assert found.layers[1].with_both == pytest.approx(float(both) / 12)
    assert found.total("with_both") < found.total("with_weight") < found.total("macs") == 750
    assert "weight and input not 0" in str(found)
    with pytest.raises(ValueError, match="no batch"):
        engine.count_macs(model, [])


def test_shares_of_inputs_can_be_given_instead_of_measured():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 4, 5))
    engine.prune(model, engine.Spec(sparsity=0.5))
    x = torch.randn(3, 2, 4, 4)
    measured = engine.count_macs(model, [x])
    found = engine.count_macs(model, [x], input_densities={"0": 1.0, "3": 0.4})
    assert [row.with_both for row in found.layers] == pytest.approx([measured.layers[0].with_weight, 0.4 * 40])
    assert [row.input_density for row in found.layers] == pytest.approx([1.0, 0.4])
    partly = engine.count_macs(model, [x], input_densities={"3": 0.4})
    assert partly.layers[0].with_both == measured.layers[0].with_both
    with pytest.raises(ValueError, match=r"input_densities\['3'\] = 40 must be in \[0, 1\]"):
        engine.count_macs(model, [x], input_densities={"3": 40})
    with pytest.raises(ValueError, match=r"pattern 'fc\*' matches no layer; they are: 0, 3"):
        engine.count_macs(model, [x], input_densities={"fc*": 0.4})


def test_one_mask_has_a_density_at_every_granularity():
    layer = nn.Conv2d(2, 3, 2)
    with torch.no_grad():
        layer.weight.fill_(1e-3)
        layer.weight[0, 0, 0, 0] = layer.weight[0, 0, 1, 0] = layer.weight[2, 0, 0, 1] = 1.0
    engine.prune(layer, engine.Spec(nonzeros=3))
    assert engine.densities(layer.mask) == pytest.approx(
        {"element": 3 / 24, "vector": 3 / 12, "kernel": 2 / 6, "filter": 2 / 3, "channel": 1 / 2}
    )
    linear = engine.prune(nn.Linear(4, 2), engine.Spec(nonzeros=1))
    assert engine.densities(linear.mask) == {"element": 1 / 8, "row": 1 / 2, "channel": 1 / 4}

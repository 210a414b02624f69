import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, groups=2),
        nn.Flatten(),
        nn.Linear(54, 5),
    )


def batches(count=3, size=4):
    generator = torch.Generator().manual_seed(3)
    return [
        (torch.randn(size, 3, 8, 8, generator=generator), torch.randint(5, (size,), generator=generator)) for _ in range(count)
    ]


def kept_by(scores, keep):
    flat = scores.abs().flatten()
    order = torch.argsort(flat, descending=True, stable=True)
    mask = torch.zeros(flat.numel(), dtype=torch.bool)
    mask[order[:keep]] = True
    return mask.reshape(scores.shape)


def test_taylor_is_the_weight_times_the_mean_gradient():
    model, data = network(), batches()
    reference = network().eval()
    x, y = (torch.cat(parts) for parts in zip(*data, strict=True))
    F.cross_entropy(reference(x), y).backward()
    engine.prune(model, engine.Spec(sparsity=0.7, criterion="taylor"), data=data, loss=F.cross_entropy)
    for i in (0, 3, 5):
        scores = (reference[i].weight * reference[i].weight.grad).detach()
        kept = torch.from_numpy(model[i].mask.to_numpy())
        differ = kept != kept_by(scores, int(kept.sum()))
        assert differ.float().mean() < 0.01  # sums in another order
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_wanda_is_the_weight_times_the_norm_of_what_it_multiplies():
    model, data = network(), batches()
    reference = network().eval()
    x = torch.cat([inputs for inputs, _ in data])
    engine.prune(model, engine.Spec(sparsity=0.7, criterion="wanda"), data=[inputs for inputs, _ in data])
    with torch.no_grad():
        for i in (0, 3, 5):
            seen = reference[:i](x)
            layer = reference[i]
            if isinstance(layer, nn.Linear):
                norms = seen.square().sum(0).sqrt()[None]
            else:
                columns = F.unfold(seen, layer.kernel_size, padding=layer.padding, stride=layer.stride)
                squares = columns.square().sum((0, 2)).reshape(layer.groups, -1, *layer.kernel_size)
                norms = squares.sqrt().repeat_interleave(layer.out_channels // layer.groups, 0)
            kept = torch.from_numpy(model[i].mask.to_numpy())
            scores = layer.weight * norms
            if isinstance(layer, nn.Linear):  # within each output
                assert int(kept.sum()) == 270 - round(0.7 * 270)
                expected = torch.stack([kept_by(row, int(own.sum())) for row, own in zip(scores, kept, strict=True)])
            else:
                expected = kept_by(scores, int(kept.sum()))
            assert (kept != expected).float().mean() < 0.01


def test_random_depends_on_the_seed_and_the_layer_alone():
    def masks(seed):
        return engine.masks(engine.prune(network(), engine.Spec(sparsity=0.5, criterion="random", seed=seed)))

    first, again, other = masks(1), masks(1), masks(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
    model = network()
    before = torch.random.get_rng_state()
    engine.prune(model, engine.Spec(sparsity=0.5, criterion="random"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_fpgm_removes_the_filters_nearest_to_all_others():
    layer = nn.Conv2d(2, 5, 3)
    with torch.no_grad():
        for i, value in enumerate((0.0, 10.0, 4.0, 5.0, 20.0)):
            layer.weight[i] = value
    engine.prune(layer, engine.Spec(sparsity=0.4, criterion="fpgm", granularity="filter"))
    assert layer.mask.to_numpy().reshape(5, -1).all(1).tolist() == [True, True, False, False, True]
    for wrong in ({"granularity": "element"}, {"granularity": "filter", "scope": "global"}):
        with pytest.raises(ValueError, match="fpgm"):
            engine.Spec(sparsity=0.5, criterion="fpgm", **wrong)


def test_a_function_of_the_weight_is_a_criterion():
    layer = nn.Linear(20, 10)
    before = layer.weight.detach().clone()
    engine.prune(layer, engine.Spec(sparsity=0.5, criterion=lambda w: 1 / (w.abs() + 1e-3)))
    kept = torch.from_numpy(layer.mask.to_numpy())
    assert before[kept].abs().max() <= before[~kept].abs().min()
    with pytest.raises(ValueError, match=r"criterion returned \(10,\)"):
        engine.prune(nn.Linear(20, 10), engine.Spec(sparsity=0.5, criterion=lambda w: w.sum(1)))
    with pytest.raises(ValueError, match="criterion = 'l3' is not one of"):
        engine.Spec(sparsity=0.5, criterion="l3")


def test_what_was_pruned_before_goes_first_whatever_it_scores():
    model = nn.Linear(40, 40)
    engine.prune(model, engine.Spec(sparsity=0.5))
    first = model.mask.to_numpy()
    engine.prune(model, engine.Spec(sparsity=0.8, criterion="random"))
    assert not (model.mask.to_numpy() & ~first).any()


def test_criteria_that_need_data_say_so():
    for criterion in ("taylor", "wanda"):
        with pytest.raises(ValueError, match="pass data="):
            engine.prune(network(), engine.Spec(sparsity=0.5, criterion=criterion))
        with pytest.raises(ValueError, match="data holds no batch"):
            engine.prune(network(), engine.Spec(sparsity=0.5, criterion=criterion), data=[], loss=F.cross_entropy)
    with pytest.raises(ValueError, match="needs loss="):
        engine.prune(network(), engine.Spec(sparsity=0.5, criterion="taylor"), data=batches())
    model = network()
    model.unused = nn.Linear(3, 3)
    model.forward = lambda x: nn.Sequential.forward(nn.Sequential(*list(model)[:6]), x)
    with pytest.raises(ValueError, match="saw no data"):
        engine.prune(model, engine.Spec(sparsity=0.5, criterion="wanda"), data=[batches()[0][0]])


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_bn_scale_is_that_of_the_batch_norm_behind(scope):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([1.0, -5.0, 0.1, 4.0]))
        model[4].weight.copy_(torch.tensor([0.2, 3.0, 2.0, 0.3, 6.0, 0.05]))
    spec = engine.Spec(sparsity=0.5, criterion="bn_scale", granularity="filter", scope=scope)
    engine.prune(model, spec, data=[torch.randn(2, 3, 8, 8)])
    stays = [model[i].mask.to_numpy().reshape(model[i].out_channels, -1).all(1).tolist() for i in (0, 3)]
    assert stays[0] == [False, True, False, True]
    assert stays[1] == [False, True, True, False, True, False]
    with pytest.raises(ValueError, match="followed by no batch normalisation"):
        engine.prune(nn.Conv2d(3, 4, 3), spec, data=[torch.randn(2, 3, 8, 8)])
    with pytest.raises(ValueError, match="about output channels"):
        engine.Spec(sparsity=0.5, criterion="bn_scale")

import copy

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
        nn.Linear(8 * 36, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 4),
    )  # fmt: skip


def images(count, seed=1):
    return 3 + 2 * torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def assert_close_to_all_of(layer, values):
    """Running statistics against numpy's over all of `values`, (N, C, ...), in float64."""
    channels = np.moveaxis(values.double().numpy(), 1, 0).reshape(values.shape[1], -1)
    np.testing.assert_allclose(layer.running_mean.numpy(), channels.mean(axis=1), rtol=2e-7, atol=1e-7)
    np.testing.assert_allclose(layer.running_var.numpy(), channels.var(axis=1, ddof=1), rtol=2e-7)


def test_statistics_are_those_of_all_the_data_whatever_the_batch_sizes():
    data = images(31)
    model = nn.Sequential(nn.BatchNorm2d(3))
    model[0].running_mean.fill_(99.0)
    engine.analysis.recalibrate_batchnorm(model, data.split([1, 7, 20, 3]))
    assert_close_to_all_of(model[0], data)
    assert int(model[0].num_batches_tracked) == 4


def test_a_large_mean_does_not_spoil_the_variance():
    data = images(64) + 1000
    model = nn.BatchNorm2d(3)
    engine.analysis.recalibrate_batchnorm(model, data.split(16))
    assert_close_to_all_of(model, data)


def test_one_batch_gives_what_torch_gives_without_momentum():
    data = images(16)
    model, theirs = nn.BatchNorm2d(3), nn.BatchNorm2d(3, momentum=None)
    engine.analysis.recalibrate_batchnorm(model, [data])
    theirs.train()(data)
    torch.testing.assert_close(model.running_mean, theirs.running_mean)
    torch.testing.assert_close(model.running_var, theirs.running_var)


def test_deeper_layers_see_inputs_normalised_by_their_batch_and_no_dropout():
    model = network()
    data = images(40)
    engine.analysis.recalibrate_batchnorm(model, data.split(20))
    with torch.no_grad():
        seen = []
        for part in data.split(20):
            first = nn.functional.batch_norm(model[0](part), None, None, model[1].weight, model[1].bias, training=True)
            seen.append(model[5](first.relu().flatten(1)))
    torch.testing.assert_close(model[6].running_mean, torch.cat(seen).mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model[6].running_var, torch.cat(seen).var(0), rtol=1e-5, atol=1e-6)


def test_targets_beside_the_inputs_are_passed_over():
    alone, paired = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
    engine.analysis.recalibrate_batchnorm(alone, images(8).split(4))
    engine.analysis.recalibrate_batchnorm(paired, [(part, torch.zeros(4)) for part in images(8).split(4)])
    assert torch.equal(alone.running_var, paired.running_var)


def test_batches_by_name_are_taken():
    data = images(8)
    named, plain = nn.Sequential(nn.BatchNorm2d(3)), nn.Sequential(nn.BatchNorm2d(3))
    engine.analysis.recalibrate_batchnorm(plain, data.split(4))
    for form in (lambda x: {"input": x}, lambda x: ({"input": x}, 0), lambda x: {"x": x}, lambda x: [(x,), 0, "more"]):
        engine.analysis.recalibrate_batchnorm(named, [form(part) for part in data.split(4)])
        assert torch.equal(named[0].running_var, plain[0].running_var)


def test_a_last_batch_of_one_example_counts_and_is_normalised_with_what_came_before():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Linear(8, 4), nn.BatchNorm1d(4))
    data = torch.randn(33, 16)
    engine.analysis.recalibrate_batchnorm(
        model, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=8)
    )
    with torch.no_grad():
        first = model[0](data)
        assert_close_to_all_of(model[1], first)
        parts = [F.batch_norm(part, None, None, training=True) for part in first[:32].split(8)]
        alone = (first[32:] - first[:32].mean(0)) / (first[:32].var(0) + 1e-5).sqrt()
        second = model[2](torch.cat([*parts, alone]))
    torch.testing.assert_close(model[3].running_var, second.var(0), rtol=1e-5, atol=1e-6)
    assert int(model[1].num_batches_tracked) == 5


def test_channels_last_inputs_give_the_same_statistics():
    data = images(24)
    model = nn.BatchNorm2d(3)
    engine.analysis.recalibrate_batchnorm(model, [part.contiguous(memory_format=torch.channels_last) for part in data.split(8)])
    np.testing.assert_allclose(model.running_var.numpy(), data.double().var((0, 2, 3)).numpy(), rtol=1e-6)


def test_nothing_but_the_statistics_changes():
    model = engine.prune(network(), engine.Spec(sparsity=0.7)).train()
    model[1].eval()
    model[3].eval()
    before = copy.deepcopy(model.state_dict())
    flags = [module.training for module in model.modules()]
    masks = engine.masks(model)
    generator = torch.get_rng_state()
    assert engine.analysis.recalibrate_batchnorm(model, images(20).split(10)) is model
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), generator)
    assert model[1].track_running_stats
    assert model[1].momentum == 0.1
    assert all(not module._forward_hooks for module in model.modules())
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {f"{i}.{name}" for i in (1, 6) for name in ("running_mean", "running_var", "num_batches_tracked")}
    for name, mask in engine.masks(model).items():
        assert torch.equal(mask, masks[name])
        assert (model.state_dict()[name][~mask] == 0).all()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(not b.is_inference() and not b.requires_grad for b in model.buffers())


def test_training_goes_on_afterwards_and_masks_hold():
    model = engine.prune(network(), engine.Spec(sparsity=0.7))
    engine.analysis.recalibrate_batchnorm(model, [images(10)])
    optimizer = torch.optim.SGD(model.train().parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(images(10)).square().mean().backward()
        optimizer.step()
    for name, mask in engine.masks(model).items():
        assert (model.state_dict()[name][~mask] == 0).all()


@pytest.mark.parametrize(
    ("batches", "error", "words"),
    [
        (list, ValueError, "batches is empty"),
        (lambda: iter(()), ValueError, "batches is empty"),
        (lambda: images(4), TypeError, r"one tensor of shape \(4, 3, 6, 6\)"),
        (lambda: [images(4), "text"], TypeError, "batch 1 of batches is a str"),
        (lambda: [images(4), images(4) * float("nan")], ValueError, "layer '1' hold NaN or Inf"),
        (lambda: [images(1)], ValueError, "layer '6' is given a single value per channel in all"),
    ],
    ids=["empty list", "used generator", "bare tensor", "not a tensor", "nan", "one value per channel"],
)
def test_what_cannot_work_is_refused_and_leaves_the_model_as_it_was(batches, error, words):
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(error, match=words):
        engine.analysis.recalibrate_batchnorm(model, batches())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert model[1].track_running_stats
    assert not model[1]._forward_hooks


def test_layers_without_statistics_and_layers_not_called_are_left_alone():
    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.untracked = nn.BatchNorm2d(3, track_running_stats=False)
            self.unused = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.untracked(x)

    model = Network().eval()
    engine.analysis.recalibrate_batchnorm(model, [images(4)])
    assert model.untracked.running_mean is None
    assert torch.equal(model.unused.running_mean, torch.zeros(3))
    assert int(model.unused.num_batches_tracked) == 0


def test_a_model_without_batchnorm_comes_back_unchanged():
    model = nn.Linear(3, 2)
    assert engine.analysis.recalibrate_batchnorm(model, [torch.zeros(2, 3)]) is model


def test_accuracy_of_shifted_activations_is_repaired():
    model = network().eval()
    data = images(200)
    engine.analysis.recalibrate_batchnorm(model, data.split(50))
    with torch.inference_mode():
        expected = model(data)
        model[0].weight.mul_(0.3)  # what pruning does to the scale, exactly undone by new statistics
        model[0].bias.mul_(0.3)
        broken = (model(data) - expected).abs().max()
    engine.analysis.recalibrate_batchnorm(model, data.split(50))
    with torch.inference_mode():
        repaired = (model(data) - expected).abs().max()
    assert repaired < 0.01 * broken

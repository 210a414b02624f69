import pytest

import sparse_engine as engine
from sparse_engine.pruning import criteria

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.pruning.calibration import (  # noqa: E402
    BatchNormScales,
    CalibrationStatistics,
    Gradients,
    Hessians,
    InputNorms,
    Statistic,
)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))


def gathered(needs, model, data, loss=None):
    statistics = CalibrationStatistics([model[0], model[3]])
    statistics.gather(needs, model, data, loss)
    return statistics


def test_gradients_are_the_mean_over_examples_however_they_fall_into_batches():
    model = network()
    x, y = torch.randn(7, 3, 4, 4), torch.randint(5, (7,))
    uneven = gathered(Gradients(), model, [(x[:5], y[:5]), (x[5:], y[5:])], F.cross_entropy)
    F.cross_entropy(model.eval()(x), y).backward()
    for layer in (model[0], model[3]):
        torch.testing.assert_close(uneven[layer], layer.weight.grad)


def test_gradients_leave_the_model_as_it_was_when_a_batch_fails():
    model = network()
    model[0].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="must give \\(inputs, target\\) pairs"):
        gathered(
            Gradients(), model, [(torch.randn(2, 3, 4, 4), torch.zeros(2).long()), torch.randn(2, 3, 4, 4)], F.cross_entropy
        )
    assert [layer.weight.requires_grad for layer in (model[0], model[3])] == [False, True]
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_norms_of_inputs_are_those_of_all_batches_together():
    model = network()
    x = torch.randn(6, 3, 4, 4)
    found = gathered(InputNorms(), model, [x[:2], x[2:]])
    with torch.no_grad():
        seen = model.eval()[:3](x)
    torch.testing.assert_close(found[model[3]], seen.norm(dim=0)[None])
    assert found[model[0]].shape == model[0].weight.shape
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_scales_of_batch_norm_are_read_in_one_batch_and_missed_by_name():
    model = network()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([1.0, -2.0, 0.0, 3.0]))
    batches = iter([torch.randn(1, 3, 4, 4), "never read"])
    statistics = CalibrationStatistics([model[0]])
    statistics.gather(BatchNormScales(), model, batches, None)
    assert statistics[model[0]].flatten().tolist() == [1, 2, 0, 3]
    assert next(batches) == "never read"
    with pytest.raises(ValueError, match=r"1 of the selected layers are followed by no batch normalisation, .*Linear"):
        gathered(BatchNormScales(), model, [torch.randn(1, 3, 4, 4)])


@pytest.mark.parametrize("needs", [Gradients(), InputNorms(), BatchNormScales()])
def test_no_batch_is_refused(needs):
    with pytest.raises(ValueError, match="data holds no batch"):
        gathered(needs, network(), [], F.cross_entropy)


def test_hessians_are_left_to_the_solver_which_reads_the_data_itself():
    data = iter([torch.randn(1, 3, 4, 4)])
    gathered(Hessians(), network(), data)
    assert next(data).shape == (1, 3, 4, 4)


def test_a_new_statistic_is_one_class_and_its_criterion_one_function(monkeypatch):
    class Means(Statistic):
        def over(self, model, targets, data, loss):
            found, batches = {}, 0
            handles = [t.register_forward_pre_hook(lambda m, args: found.update({m: args[0].mean(0)[None]})) for t in targets]
            for batch in data:
                model(batch)
                batches += 1
            for handle in handles:
                handle.remove()
            return found, batches

    monkeypatch.setattr(criteria, "CRITERIA", dict(criteria.CRITERIA))

    @criteria.criterion("mean input", needs=Means())
    def mean_input(target, statistics):
        return statistics[target].expand(target.weight.shape)

    layer = nn.Linear(3, 2)
    spec = engine.Spec(nonzeros=4, criterion="mean input")
    with pytest.raises(ValueError, match="criterion = 'mean input' looks at data; pass data="):
        engine.prune(layer, spec)
    engine.prune(layer, spec, data=[torch.tensor([[5.0, 0.1, 2.0]])])
    assert layer.mask.to_numpy().tolist() == [[True, False, True], [True, False, True]]
    with pytest.raises(ValueError, match="a head has several"):
        engine.Spec(sparsity=0.5, criterion="mean input", granularity="head")

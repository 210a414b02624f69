"""A pruned layer with one weight gives torch's results, refuses what torch refuses, and follows its weight."""

import copy
import threading

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


def test_wrong_inputs_raise_what_torch_raises(native_always, plain_copy):
    linear = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval()
    conv = engine.prune(nn.Conv2d(3, 4, 3), engine.Spec(sparsity=0.5)).eval()
    line = engine.prune(nn.Conv1d(3, 4, 3), engine.Spec(sparsity=0.5)).eval()
    cases = [
        (line, torch.randn(1, 4, 5)),
        (line, torch.randn(1, 3, 2)),
        (line, torch.randn(5)),
        (linear, torch.randn(2, 7)),
        (linear, torch.tensor(1.0)),
        (conv, torch.randn(1, 4, 5, 5)),
        (conv, torch.randn(1, 3, 2, 2)),
    ]
    for layer, x in cases:
        with torch.inference_mode():
            with pytest.raises(RuntimeError) as ours:
                layer(x)
            with pytest.raises(RuntimeError) as theirs:
                plain_copy(layer)(x)
        assert str(ours.value) == str(theirs.value)


def test_a_changed_weight_is_never_served_stale(native_always, plain_copy):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.8)).eval()
    x = torch.randn(5, 64)

    def scale_in_place():
        with torch.no_grad():
            layer.weight.mul_(2)

    def swap_data():
        layer.weight.data = torch.randn(64, 64)

    def write_through_data():
        layer.weight.data.mul_(3)

    def replace():
        layer.weight = nn.Parameter(torch.randn(64, 64))

    def load():
        layer.load_state_dict({"weight": torch.randn(64, 64), "bias": torch.randn(64)})

    for change in (scale_in_place, swap_data, write_through_data, replace, load):
        with torch.inference_mode():
            layer(x)
        change()
        with torch.inference_mode():
            y = layer(x)
        masked = torch.where(engine.masks(layer)["weight"], layer.weight, 0)
        torch.testing.assert_close(y, torch.nn.functional.linear(x, masked, layer.bias), rtol=1e-4, atol=1e-4)


def test_results_need_no_gradient_and_gradients_still_flow_when_asked(native_always):
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 8, requires_grad=True)
    with torch.no_grad():
        assert not layer(x).requires_grad
    layer(x).sum().backward()
    assert x.grad is not None


def test_a_model_serves_many_threads_at_once(native_always):
    model = engine.prune(nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 50)), engine.Spec(sparsity=0.9)).eval()
    x = torch.randn(40, 300)
    twin = copy.deepcopy(model)
    with torch.inference_mode():
        expected = twin(x)
    wrong = []

    def work():
        with torch.inference_mode():
            for _ in range(20):
                if not torch.equal(model(x), expected):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_layer_whose_weight_may_learn_counts_the_call_as_training(native_always):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 64)
    torch.func.functional_call(layer, {"weight": torch.randn(64, 64, requires_grad=True)}, (x,)).sum().backward()
    assert next(iter(layer._sparse.fallbacks)).startswith("training or gradients needed")
    with torch.inference_mode():
        layer(x)
    assert layer._sparse.packed, "packed for inference"
    layer(x).sum().backward()
    assert not layer._sparse.packed, "and given back when the weight may learn"

"""What runs dense, why, and for whom."""

import threading

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn.fallback import DISABLED, native_enabled  # noqa: E402


def test_dense_only_switches_native_kernels_off_and_on_again(native_always):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 64)
    with torch.inference_mode():
        with engine.nn.dense_only():
            dense = layer(x)
        torch.testing.assert_close(dense, torch.nn.functional.linear(x, layer.weight, layer.bias), rtol=0, atol=0)
        torch.testing.assert_close(layer(x), dense)
    assert "engine.nn.dense_only() is active" in layer._sparse.fallbacks


def test_dense_only_holds_for_its_own_thread_and_native_kernels_are_back_afterwards(native_always):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 64)
    entered, left = threading.Event(), threading.Event()
    counts = {}

    def dense_calls():
        before = layer._sparse.fallbacks.get(DISABLED, 0)
        with torch.inference_mode():
            layer(x)
        return layer._sparse.fallbacks.get(DISABLED, 0) - before

    def other():
        with engine.nn.dense_only():
            entered.set()
            assert left.wait(10)
            counts["inside, after the first left"] = dense_calls()
        counts["outside"] = dense_calls()

    with engine.nn.dense_only():
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)  # entered second, left last: what each would put back is the other's
        counts["first, inside"] = dense_calls()
    counts["first, outside"] = dense_calls()
    left.set()
    thread.join()
    counts["first, after both"] = dense_calls()
    assert counts == {
        "first, inside": 1,
        "first, outside": 0,
        "inside, after the first left": 1,
        "outside": 0,
        "first, after both": 0,
    }


def test_dense_only_inside_another_leaves_the_outer_one_active():
    with engine.nn.dense_only():
        with pytest.raises(ZeroDivisionError), engine.nn.dense_only():
            raise ZeroDivisionError
        assert not native_enabled()
    assert native_enabled()


def test_other_types_fall_back_with_a_reason():
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval().double()
    report = engine.report(layer, example_inputs=torch.randn(2, 8, dtype=torch.float64))
    assert "torch.float64" in report.layers[0].reason
    assert report.layers[0].kernel == "dense"


def test_tracing_and_transforms_fall_back_and_are_right():
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval().requires_grad_(False)
    x = torch.randn(4, 8)
    with torch.inference_mode():
        expected = layer(x)
    torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), expected)

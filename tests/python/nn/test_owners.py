"""Operators find the layer of a weight, make one where there is none, and keep nothing alive."""

import gc
import threading
import weakref

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.nn import operators, owners  # noqa: E402

HALF = engine.Spec(sparsity=0.5)
pytestmark = pytest.mark.usefixtures("native_always")


def stand_ins(weight):
    return [layer for _, layer in owners._seen[id(weight)].stand_ins.values()]


def sparse_weight(*shape):
    weight = torch.randn(shape)
    weight[torch.rand(shape) < 0.5] = 0
    return weight


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_operator_of_a_layers_weight_takes_the_layers_own_matrices_and_decisions():
    layer, x = engine.prune(nn.Linear(16, 8), HALF).eval(), torch.randn(2, 16)
    with torch.inference_mode():
        close(layer(x), operators.linear(x, layer.weight, layer.bias))
    assert not stand_ins(layer.weight)
    assert len(layer._sparse.packed["weight"].matrices) == 1
    assert len(layer._sparse.choices.buckets) == 1


def test_a_weight_of_nobodys_is_packed_when_it_is_seen_again():
    weight, x = sparse_weight(8, 16), torch.randn(2, 16)
    with torch.inference_mode(False), torch.no_grad():
        for layers in (0, 1, 1):
            close(operators.linear(x, weight), F.linear(x, weight))
            assert len(stand_ins(weight)) == layers
        weight.mul_(2)
        weight[0] = 1
        for _ in range(3):
            close(operators.linear(x, weight), F.linear(x, weight))
        assert not (weight[0] == 0).any(), "what is nobody's is not masked"
    (layer,) = stand_ins(weight)
    assert layer.mask.to_numpy()[0].all()


def test_weights_that_differ_in_every_call_are_never_packed():
    x = torch.randn(2, 16)
    with torch.no_grad():
        for _ in range(3):
            weight = sparse_weight(8, 16)
            close(operators.linear(x, weight), F.linear(x, weight))
            assert not stand_ins(weight)


def test_a_weight_is_forgotten_when_it_dies():
    before = len(owners._seen)
    layer = engine.prune(nn.Linear(16, 8), HALF).eval()
    program = torch.export.export(layer, (torch.randn(2, 16),)).module()
    foreign, x = sparse_weight(8, 16), torch.randn(2, 16)
    with torch.no_grad():
        for _ in range(3):
            program(x)
            operators.linear(x, layer.weight, None, 2, 6)
            operators.linear(x, foreign)
    gone = [weakref.ref(thing) for thing in (layer, layer.weight, foreign, *stand_ins(foreign), *stand_ins(layer.weight))]
    assert len(gone) == 5
    del layer, program, foreign
    gc.collect()
    assert all(reference() is None for reference in gone)
    assert len(owners._seen) <= before


def test_another_weight_at_the_same_address_is_another_weight():
    x, addresses = torch.randn(2, 16), set()
    with torch.no_grad():
        for _ in range(50):
            weight = sparse_weight(8, 16)
            addresses.add(id(weight))
            for _ in range(3):
                close(operators.linear(x, weight), F.linear(x, weight))
            del weight
    assert len(addresses) < 50


def test_a_weight_that_two_convolutions_share_serves_each_with_its_own_stride():
    first, second = nn.Conv2d(4, 8, 3), nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=False)
    second.weight = first.weight
    model, x = engine.prune(nn.ModuleList([first, second]), HALF).eval(), torch.randn(1, 4, 9, 9)
    programs = [torch.export.export(conv, (x,)).module() for conv in model]
    with torch.inference_mode():
        for _ in range(2):
            for conv, program in zip(model, programs, strict=True):
                close(program(x), F.conv2d(x, conv.weight, conv.bias, conv.stride, conv.padding))


def test_a_layer_whose_stride_changed_no_longer_serves_the_graph_that_was_made_before():
    conv, x = engine.prune(nn.Conv2d(4, 8, 3), HALF).eval(), torch.randn(1, 4, 9, 9)
    program = torch.export.export(conv, (x,)).module()
    with torch.inference_mode():
        expected = program(x)
        conv.stride = (2, 2)
        close(program(x), expected)
        assert conv(x).shape == (1, 8, 4, 4)


def test_rows_of_a_weight_follow_it():
    layer, x = engine.prune(nn.Linear(16, 8), HALF).eval(), torch.randn(2, 16)

    def scale():
        with torch.no_grad():
            layer.weight.mul_(2)

    def write_through_data():
        layer.weight.data[:] = 3

    def swap_data():
        layer.weight.data = torch.randn(8, 16)

    def other_masks():
        engine.set_masks(layer, {name: ~mask for name, mask in engine.masks(layer).items()})

    def remove_masks():
        engine.remove_masks(layer)

    for change in (scale, write_through_data, swap_data, other_masks, remove_masks):
        change()
        for _ in range(2):
            with torch.inference_mode():
                found = operators.linear(x, layer.weight, None, 2, 6)
                layer(x)  # puts zeros where they belong
                close(found, F.linear(x, layer.weight[2:6]))


def test_a_program_outlives_the_model_it_was_made_of():
    layer, x = engine.prune(nn.Linear(16, 8), HALF).eval(), torch.randn(2, 16)
    program = torch.export.export(layer, (x,)).module()
    with torch.inference_mode():
        expected = program(x)
        del layer
        gc.collect()
        for _ in range(3):
            close(program(x), expected)


def test_a_weight_that_no_version_watches_is_computed_dense():
    with torch.inference_mode():
        weight, x = sparse_weight(8, 16), torch.randn(2, 16)
        for _ in range(3):
            close(operators.linear(x, weight), F.linear(x, weight))
            weight.mul_(2)
    assert not stand_ins(weight)


def test_threads_that_see_a_weight_for_the_first_time_together_get_the_same():
    weight, x, found = sparse_weight(64, 64), torch.randn(4, 64), []

    def calls():
        with torch.no_grad():
            for _ in range(20):
                found.append(operators.linear(x, weight))

    threads = [threading.Thread(target=calls) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for y in found:
        close(y, F.linear(x, weight))


def test_a_recurrent_layer_under_masks_in_part_serves_its_own_operator():
    layer, x = nn.LSTM(8, 16), torch.randn(5, 2, 8)
    engine.prune(layer, engine.Spec(sparsity=0.5, include=["weight_hh*"])).eval()
    assert list(engine.masks(layer)) == ["weight_hh_l0"]
    program = torch.export.export(layer, (x,)).module()
    with torch.inference_mode():
        for _ in range(2):
            close(program(x)[0], layer(x)[0])
    assert not stand_ins(layer.weight_hh_l0)
    assert id(layer.weight_ih_l0) not in owners._seen


def test_weights_that_outlive_the_module_are_forgotten_quietly(monkeypatch):
    """At the end of a process a module's globals are None before the weights are gone."""
    raised = []
    weight = torch.randn(4, 4)
    layer = nn.Linear(4, 4)
    owners.own(weight, layer)
    monkeypatch.setattr("sys.unraisablehook", raised.append)
    monkeypatch.setattr(owners, "_seen", None)
    del weight
    gc.collect()
    assert not raised

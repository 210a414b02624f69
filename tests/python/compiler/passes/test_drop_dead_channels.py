import numpy as np
import pytest

from graphs import X, graph, linear, same_after, value
from sparse_engine.compiler.compiled import CompiledModel
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.lower import lower
from sparse_engine.compiler.passes.drop_dead_channels import drop_dead_channels

DEAD = [1, 4]


def hidden(activation="relu", bias=-1.0, size=6):
    """x → h, of whose channels two have no weights."""
    x, h, y = value("x", 6), value("h", size), value("y", 4)
    first, last = linear(x, h, size, 1), linear(h, y, 4, 2)
    first.weight[DEAD] = 0
    first.bias = np.linspace(1, 2, size)
    first.bias[DEAD] = bias
    first.activation = activation
    return x, h, y, first, last


def test_a_channel_of_zeros_takes_its_readers_weights_along():
    x, _, y, first, last = hidden()
    same_after(graph([x], [y], first, last), drop_dead_channels, X)
    assert not last.weight[:, DEAD].any()
    assert last.weight[:, [0, 2, 3, 5]].any(axis=0).all()


@pytest.mark.parametrize(("activation", "bias"), [("none", 3.0), ("relu6", 9.0), ("relu", 0.5)])
def test_another_constant_becomes_part_of_the_bias(activation, bias):
    x, _, y, first, last = hidden(activation, bias)
    same_after(graph([x], [y], first, last), drop_dead_channels, X)
    assert not last.weight[:, DEAD].any()


def test_a_channel_that_nothing_reads_loses_its_weights():
    x, h, y = value("x", 6), value("h", 6), value("y", 4)
    first, last = linear(x, h, 6, 1), linear(h, y, 4, 2)
    last.weight[:, DEAD] = 0
    same_after(graph([x], [y], first, last), drop_dead_channels, X)
    assert not first.weight[DEAD].any()
    assert first.weight.any(axis=1).sum() == 4


def test_one_leads_to_the_next():
    x, a, b, y = value("x", 6), value("a", 6), value("b", 6), value("y", 4)
    one, two, three = linear(x, a, 6, 1), linear(a, b, 6, 2), linear(b, y, 4, 3)
    three.weight[:, 2] = 0  # row 2 of b is unread, and alone reads channel 5 of a
    two.weight[:2, 5] = two.weight[3:, 5] = 0
    same_after(graph([x], [y], one, two, three), drop_dead_channels, X)
    assert not two.weight[2].any()
    assert not one.weight[5].any()


def test_weights_that_others_use_or_results_that_others_read_stay():
    x, h, y, first, last = hidden()
    before = last.weight.copy()
    same_after(graph([x], [y, h], first, last), drop_dead_channels, X)
    assert np.array_equal(last.weight, before)
    x, h, y, first, last = hidden()
    z = value("z", 6)
    same_after(graph([x], [y, z], first, last, Node("multiply", "m", [h, h], z)), drop_dead_channels, X)
    assert np.array_equal(last.weight, before)
    x, h, y, first, last = hidden(size=6)
    a = value("a", 6)
    shared = linear(h, a, 6, 1)
    shared.weight = first.weight
    last = linear(a, y, 4, 2)
    same_after(graph([x], [y], first, shared, last), drop_dead_channels, X)
    assert np.array_equal(last.weight, before)


def test_weights_of_a_smooth_activation_and_below_a_residual_stay():
    x, _, y, first, last = hidden("sigmoid")
    before = last.weight.copy()
    same_after(graph([x], [y], first, last), drop_dead_channels, X)
    x, _, y, first, last = hidden()
    first.residual = x
    same_after(graph([x], [y], first, last), drop_dead_channels, X)
    assert np.array_equal(last.weight, before)


def conv(x, y, weight, kernel, padding, bias=None):
    numbers = (*kernel, 1, 1, *padding, 1, 1, 1)
    return Node("conv2d", y.name, [x], y, weight=weight, bias=bias, numbers=numbers)


def same_when_run(g, x):
    """Run the pass; the program computes what it did."""
    g.check()
    before = CompiledModel(lower(g, {}))(x)
    drop_dead_channels(g)
    g.check()
    np.testing.assert_allclose(CompiledModel(lower(g, {}))(x), before, rtol=1e-4, atol=1e-4)


def images(name, *sizes):
    return Value(name, (Size(0, 1), *map(Size, sizes)))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("bias", [-1.0, 1.0])
def test_a_constant_beside_padding_stays_and_zeros_go(rng, padding, bias):
    inner = 6 if padding == 0 else 8
    x, h, p, y = images("x", 2, 9, 9), images("h", 3, 9, 9), images("p", 3, 8, 8), images("y", 4, inner, inner)
    first = conv(x, h, rng.standard_normal((3, 2)).astype(np.float32), (1, 1), [0] * 4, np.array([0.5, bias, 0.5]))
    first.weight[1] = 0
    first.activation = "relu"
    pool = Node("max_pool", "p", [h], p, numbers=(2, 2, 1, 1, 0, 0, 0, 0))
    last = conv(p, y, rng.standard_normal((4, 27)).astype(np.float32), (3, 3), [padding] * 4)
    same_when_run(graph([x], [y], first, pool, last), rng.standard_normal((3, 2, 9, 9)).astype(np.float32))
    gone = not last.weight.reshape(4, 3, 9)[:, 1].any()
    assert gone == (bias < 0)


def test_a_constant_without_padding_beside_it_becomes_part_of_the_bias(rng):
    x, h, y = images("x", 2, 5, 5), images("h", 3, 5, 5), images("y", 4, 3, 3)
    first = conv(x, h, rng.standard_normal((3, 2)).astype(np.float32), (1, 1), [0] * 4, np.array([0.5, 2.0, 0.5]))
    first.weight[1] = 0
    last = conv(h, y, rng.standard_normal((4, 27)).astype(np.float32), (3, 3), [0] * 4)
    same_when_run(graph([x], [y], first, last), rng.standard_normal((2, 2, 5, 5)).astype(np.float32))
    assert not last.weight.reshape(4, 3, 9)[:, 1].any()

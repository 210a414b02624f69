import numpy as np

from graphs import X, graph, linear, same_after, value
from sparse_engine.compiler.graph import Node
from sparse_engine.compiler.passes.fold_batch_norm import fold_batch_norm

SCALE = np.array([1.5, -0.5, 0.0, 2.0])
SHIFT = np.array([0.25, 1.0, -1.0, 0.0])


def norm(x, y):
    return Node("batch_norm", y.name, [x], y, scale=SCALE, shift=SHIFT)


def test_it_goes_into_the_product_before_it():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    product = linear(x, a, 4, bias=np.arange(4.0))
    before = product.weight
    g = graph([x], [y], product, norm(a, y))
    assert same_after(g, fold_batch_norm, X) == ["linear"]
    assert product.weight is not before, "another layer may hold the same array"


def test_a_product_that_others_read_keeps_its_weight():
    x, a, y, z = value("x", 6), value("a", 4), value("y", 4), value("z", 4)
    g = graph([x], [y, z], linear(x, a, 4), norm(a, y), Node("activation", "z", [a], z, activation="relu"))
    assert same_after(g, fold_batch_norm, X) == ["linear", "multiply", "add", "activation"]


def test_a_product_that_is_an_output_keeps_its_weight():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    assert same_after(graph([x], [a, y], linear(x, a, 4), norm(a, y)), fold_batch_norm, X) == ["linear", "multiply", "add"]


def test_behind_an_activation_it_scales_and_shifts():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    g = graph([x], [y], linear(x, a, 4, activation="relu"), norm(a, y))
    assert same_after(g, fold_batch_norm, X) == ["linear", "multiply", "add"]


def test_a_weight_of_two_layers_is_scaled_for_one():
    x, a, b, y, z = value("x", 6), value("a", 4), value("b", 4), value("y", 4), value("z", 4)
    first, second = linear(x, a, 4), linear(x, b, 4)
    second.weight = first.weight
    kept = first.weight.copy()
    g = graph([x], [y, z], first, norm(a, y), second, Node("activation", "z", [b], z, activation="relu"))
    same_after(g, fold_batch_norm, X)
    np.testing.assert_array_equal(second.weight, kept)

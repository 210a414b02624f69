import numpy as np

from graphs import X, graph, linear, same_after, value
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.passes.fuse_epilogue import fuse_epilogue


def add(a, b, y):
    return Node("add", y.name, [a, b], y)


def relu(x, y):
    return Node("activation", y.name, [x], y, activation="relu")


def test_a_residual_goes_to_the_product_that_comes_last():
    x, a, b, s, y = value("x", 6), value("a", 4), value("b", 4), value("s", 4), value("y", 4)
    first, last = linear(x, a, 4, 1), linear(x, b, 4, 2)
    g = graph([x], [y], first, last, add(a, b, s), relu(s, y))
    assert same_after(g, fuse_epilogue, X) == ["linear", "linear"]
    assert (last.residual, last.activation, first.residual) == (a, "relu", None)


def test_a_residual_that_is_made_later_stays_a_sum():
    x, a, b, c, s = value("x", 6), value("a", 4), value("b", 4), value("c", 4), value("s", 4)
    g = graph([x], [s, a], linear(x, a, 4, 1), linear(x, b, 4, 2), relu(a, c), add(b, c, s))
    assert same_after(g, fuse_epilogue, X) == ["linear", "linear", "activation", "add"]


def test_a_product_that_others_read_keeps_its_result():
    x, a, s, y = value("x", 6), value("a", 6), value("s", 6), value("y", 6)
    g = graph([x], [y], linear(x, a, 6), add(a, x, s), Node("multiply", "y", [s, a], y))
    assert same_after(g, fuse_epilogue, X) == ["linear", "add", "multiply"]
    g = graph([x], [a, y], linear(x, a, 6), relu(a, y))
    assert same_after(g, fuse_epilogue, X) == ["linear", "activation"]


def test_a_sum_of_a_product_with_itself_stays_a_sum():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    assert same_after(graph([x], [y], linear(x, a, 4), add(a, a, y)), fuse_epilogue, X) == ["linear", "add"]


def test_a_constant_per_row_becomes_the_bias_and_another_does_not():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    per_row = Value("c", (Size(4),), np.arange(4, dtype=np.float32))
    assert same_after(graph([x], [y], linear(x, a, 4), add(a, per_row, y)), fuse_epilogue, X) == ["linear"]
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    number = Value("c", (), np.array(2, np.float32))
    assert same_after(graph([x], [y], linear(x, a, 4), add(a, number, y)), fuse_epilogue, X) == ["linear", "add"]


def test_one_activation_is_fused_and_the_next_is_not():
    x, a, b, y = value("x", 6), value("a", 4), value("b", 4), value("y", 4)
    assert same_after(graph([x], [y], linear(x, a, 4), relu(a, b), relu(b, y)), fuse_epilogue, X) == ["linear", "activation"]


def test_nothing_is_added_behind_an_activation():
    x, a, b, y = value("x", 6), value("a", 6), value("b", 6), value("y", 6)
    assert same_after(graph([x], [y], linear(x, a, 6), relu(a, b), add(b, x, y)), fuse_epilogue, X) == ["linear", "add"]


def test_a_slope_goes_with_its_activation():
    x, a, y = value("x", 6), value("a", 6), value("y", 6)
    g = graph([x], [y], Node("maximum", "a", [x, x], a), Node("activation", "y", [a], y, activation="leaky_relu", slope=0.2))
    fuse_epilogue(g)
    assert [(node.op, node.activation, node.slope) for node in g] == [("maximum", "leaky_relu", 0.2)]

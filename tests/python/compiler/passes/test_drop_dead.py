from graphs import X, graph, linear, same_after, value
from sparse_engine.compiler.passes.drop_dead import drop_dead


def test_what_only_dead_nodes_read_goes_with_them():
    x, a, b, y = value("x", 6), value("a", 4), value("b", 4), value("y", 4)
    g = graph([x], [y], linear(x, a, 4), linear(a, b, 4), linear(x, y, 4))
    assert same_after(g, drop_dead, X) == ["linear"]


def test_a_residual_keeps_its_maker():
    x, a, y = value("x", 6), value("a", 4), value("y", 4)
    assert same_after(graph([x], [y], linear(x, a, 4), linear(x, y, 4, residual=a)), drop_dead, X) == ["linear", "linear"]

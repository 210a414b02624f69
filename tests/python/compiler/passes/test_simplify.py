from graphs import BATCH, X, graph, linear, same_after, value
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.passes.simplify import simplify


def test_reshapes_of_reshapes_become_one_and_those_that_keep_the_shape_go():
    x, a, b, y = value("x", 6), value("a", 2, 3), value("b", 6), value("y", 4)
    nodes = [Node("reshape", "a", [x], a), Node("reshape", "b", [a], b), linear(b, y, 4)]
    g = graph([x], [y], *nodes)
    assert "linear" in same_after(g, simplify, X)
    assert g.nodes[-1].inputs == [x]


def test_a_reshape_that_is_an_output_stays():
    x = value("x", 6)
    y = Value("y", (BATCH, Size(6)))
    assert same_after(graph([x], [y], Node("reshape", "y", [x], y)), simplify, X) == ["reshape"]

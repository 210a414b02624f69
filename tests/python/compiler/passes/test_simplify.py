import numpy as np

from graphs import BATCH, X, graph, linear, same_after, value
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.passes.drop_dead import drop_dead
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


def expect_one(op, g, rewritten):
    g.check()
    simplify(g)
    drop_dead(g)
    g.check()
    assert [(node.op, node.numbers) for node in g] == [(op, rewritten)]


def test_slices_of_slices_become_one():
    """Against numpy, of every start, stop and step that fit."""
    cells = np.arange(9)
    for start, stop, step in [(0, 9, 1), (1, 8, 2), (0, 9, 3), (2, 3, 1), (8, -1, -1), (7, 2, -2)]:
        first = cells[list(range(start, stop, step))]
        for begin in range(len(first) + 1):
            for end in range(begin, len(first) + 1):
                for by in (1, 2, 4, -1, -3):
                    places = range(begin, end, by) if by > 0 else range(end - 1, begin - 1, by)
                    if by < 0 and not places:
                        continue
                    second = first[list(places)]
                    x, a, y = value("x", 9), value("a", len(first)), value("y", len(second))
                    nodes = [
                        Node("slice", "a", [x], a, numbers=(0, -1, 1, start, stop, step)),
                        Node("slice", "y", [a], y, numbers=(0, -1, 1, places.start, places.stop, by)),
                    ]
                    g = graph([x], [y], *nodes)
                    simplify(g)
                    drop_dead(g)
                    assert len(g.nodes) == 1
                    from_, to, steps = g.nodes[0].numbers[3:]
                    assert 0 <= from_ <= to <= 9 if steps > 0 else -1 <= to <= from_ < 9
                    np.testing.assert_array_equal(cells[list(range(from_, to, steps))], second)


def test_permutations_of_permutations_become_one_or_none():
    x, a, y = value("x", 2, 3), value("a", 3, 2), value("y", 2, 3)
    there, back = Node("permute", "a", [x], a, numbers=(0, 2, 1)), Node("permute", "y", [a], y, numbers=(0, 2, 1))
    expect_one("permute", graph([x], [y], there, back), (0, 1, 2))  # an output stays
    z, b = value("z", 6), value("b", 3, 2)
    there, back = Node("permute", "b", [x], b, numbers=(0, 2, 1)), Node("permute", "y", [b], y, numbers=(0, 2, 1))
    expect_one("reshape", graph([x], [z], there, back, Node("reshape", "z", [y], z)), ())

import numpy as np
import pytest

from graphs import BATCH, graph, linear, value
from sparse_engine.compiler.graph import Size, Value, elements


def test_sizes_say_how_they_grow_with_the_batch():
    assert [str(s) for s in (Size(3), BATCH, Size(0, 4), Size(1, 2))] == ["3", "N", "4N", "2N+1"]
    assert elements((BATCH, Size(3), Size(1, 2)), 2) == 2 * 3 * 5


def test_a_graph_prints_a_line_for_each_node():
    x, y = value("x", 6), value("y", 4)
    text = str(graph([x], [y], linear(x, y, 4, activation="relu")))
    assert text.splitlines() == ["inputs %x(N, 6)", "%y(N, 4) = linear(%x(N, 6)) 4x6, relu  # y", "outputs %y(N, 4)"]


def test_the_only_reader_of_a_value_reads_it_once_and_it_is_no_output():
    x, y, z = value("x", 6), value("y", 6), value("z", 4)
    first, second = linear(x, y, 6), linear(y, z, 4)
    g = graph([x], [z], first, second)
    assert g.only_reader(y, g.readers()) is second
    assert g.only_reader(z, g.readers()) is None
    second.residual = y
    assert g.only_reader(y, g.readers()) is None
    second.residual, g.outputs = None, [y, z]
    assert g.only_reader(y, g.readers()) is None


def test_a_constant_of_one_element_is_a_number():
    assert Value("one", (Size(1),), np.array([2.5], np.float32)).number == 2.5
    assert Value("two", (Size(2),), np.zeros(2, np.float32)).number is None
    assert value("x", 1).number is None


def test_what_is_no_graph_is_found():
    x, y, z = value("x", 6), value("y", 4), value("z", 4)
    with pytest.raises(AssertionError, match="before anything makes it"):
        graph([x], [z], linear(y, z, 4), linear(x, y, 4)).check()
    with pytest.raises(AssertionError, match="made twice"):
        graph([x], [y], linear(x, y, 4), linear(x, y, 4)).check()
    with pytest.raises(AssertionError, match="made by nothing"):
        graph([x], [z], linear(x, y, 4)).check()
    with pytest.raises(AssertionError, match="residual does not fit"):
        graph([x], [y], linear(x, y, 4, residual=x)).check()


def test_replacing_a_value_reaches_inputs_residuals_and_outputs():
    x, y, z = value("x", 4), value("y", 4), value("z", 4)
    g = graph([x], [z], linear(x, y, 4), linear(y, z, 4, residual=y))
    g.replace(y, x)
    assert g.nodes[1].inputs == [x]
    assert g.nodes[1].residual is x
    g.replace(z, y)
    assert g.outputs == [y]

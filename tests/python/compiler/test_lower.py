import numpy as np
import pytest

from graphs import X, computed, graph, linear, value
from sparse_engine.compiler.compiled import CompiledModel
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.lower import lower


def test_the_program_computes_what_the_graph_does():
    x, a, y, z = value("x", 6), value("a", 4), value("y", 4), value("z", 4)
    constant = Value("c", (Size(4),), np.arange(4, dtype=np.float32))
    nodes = [linear(x, a, 4, activation="relu"), linear(a, y, 4, residual=a), Node("multiply", "z", [y, constant], z)]
    g = graph([x], [y, z], *nodes)
    for found, expected in zip(CompiledModel(lower(g, {}))(X), computed(g, X), strict=True):
        np.testing.assert_array_equal(found, expected)  # integers: exact


def test_a_weight_of_two_layers_is_stored_once():
    x, a, y = value("x", 64), value("a", 64), value("y", 64)
    shared, apart = linear(x, a, 64), linear(a, y, 64, 1)
    two = len(lower(graph([x], [y], shared, apart), {}).to_bytes())
    apart.weight = shared.weight
    assert len(lower(graph([x], [y], shared, apart), {}).to_bytes()) < 0.6 * two


def test_a_batch_norm_that_was_not_folded_is_refused():
    x, y = value("x", 6), value("y", 6)
    with pytest.raises(ValueError, match="no operation called batch_norm"):
        lower(graph([x], [y], Node("batch_norm", "y", [x], y, scale=np.ones(6), shift=np.zeros(6))), {})

import numpy as np
import torch

from compiled_functions import as_model, expect_torch_on
from graphs import BATCH, X, graph, linear, same_after, value
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.graph import Node, Size, Value
from sparse_engine.compiler.passes.fold_constants import fold_constants


def known(name, array):
    array = np.asarray(array, np.float32)
    return Value(name, tuple(Size(n) for n in array.shape), array)


def test_what_comes_of_constants_alone_is_one():
    x, y = value("x", 6), value("y", 6)
    total, flat = Value("total", (Size(1), Size(6))), Value("flat", (Size(6),))
    nodes = [
        Node("add", "a", [known("a", [[1, 2, 3, 4, 5, 6]]), known("b", 2.0)], total),
        Node("reshape", "r", [total], flat),
        Node("multiply", "m", [x, flat], y),
    ]
    g = graph([x], [y], *nodes)
    g.check()
    fold_constants(g)
    g.check()
    assert [node.op for node in g] == ["multiply"]
    np.testing.assert_array_equal(g.nodes[0].inputs[1].constant, [3, 4, 5, 6, 7, 8])


def test_what_is_the_same_for_all_items_stays_small():
    x, y = value("x", 6), value("y", 6)
    wide, apart, back = value("wide", 6), value("apart", 1, 6), value("back", 6)
    nodes = [
        Node("expand", "e", [known("row", [[1, 2, 3, 4, 5, 6]])], wide),
        Node("reshape", "r", [wide], apart),
        Node("reshape", "b", [apart], back),
        Node("add", "a", [x, back], y),
    ]
    g = graph([x], [y], *nodes)
    g.check()
    fold_constants(g)
    g.check()
    assert [node.op for node in g] == ["add"]
    assert g.nodes[0].inputs[1].constant.shape == (1, 6)


def test_outputs_and_what_depends_on_an_input_stay():
    x, y, wide = value("x", 6), value("y", 6), Value("wide", (BATCH, Size(6)))
    g = graph([x], [y, wide], Node("expand", "e", [known("row", np.ones((1, 6)))], wide), linear(x, y, 6))
    fold_constants(g)
    assert [node.op for node in g] == ["expand", "linear"]
    g = graph([x], [y], linear(x, y, 6))
    assert same_after(g, fold_constants, X) == ["linear"]


def test_a_mask_that_hides_nothing_goes_and_one_that_does_stays():
    torch.manual_seed(0)
    q = torch.randn(5, 2, 4, 8)
    for hides, inputs in ((False, 3), (True, 4)):
        seen = torch.ones(4, 4, dtype=torch.bool)
        seen[1, 2] = not hides

        def function(q, m=seen):
            return torch.nn.functional.scaled_dot_product_attention(q, q, q, m.expand(q.shape[0], 1, 4, 4))

        expect_torch_on(function, q)
        g = capture(as_model(function), (q,), {})
        fold_constants(g)
        (node,) = [node for node in g if node.op == "attention"]
        assert len(node.inputs) == inputs

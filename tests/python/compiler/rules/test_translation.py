import numpy as np
import torch

from sparse_engine.compiler.graph import Size
from sparse_engine.compiler.rules.translation import Translation, array_of, constant, shape_of


def test_sizes_that_differ_grow_with_the_batch():
    assert shape_of(torch.empty(2, 8, 5), torch.empty(3, 12, 5)) == (Size(0, 1), Size(0, 4), Size(5))
    assert shape_of(torch.empty(3), torch.empty(4)) == (Size(1, 1),)
    assert shape_of([torch.empty(2)], [torch.empty(3)]) == ()


def test_parameters_become_copies():
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    array = array_of(weight)
    assert array.dtype == np.float32
    array[0] = 7
    assert weight[0] == 1


def test_views_of_views_are_of_the_same_memory():
    c = Translation([], [])
    x, y = constant("x", np.zeros(3, np.float32)), constant("y", np.zeros(3, np.float32))
    view, other = (constant(name, np.zeros((1, 3), np.float32)) for name in ("view", "other"))
    assert c.seen(view, c.seen(x, view)) is view
    c.seen(y, other)
    assert c.same_memory(view, x)
    assert not c.same_memory(view, other)

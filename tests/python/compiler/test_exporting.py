import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from compiled_functions import Calls
from sparse_engine.compiler.exporting import exports, resized


def programs(function, *shape, any_batch=True, **modules):
    return exports(Calls(function, **modules).eval(), (torch.randn(*shape),), {}, any_batch)


def test_a_model_is_exported_at_two_batch_sizes_or_as_the_example_is():
    def shapes(found):
        return [[n.meta["val"].shape[0] for n in p.graph.nodes if n.op == "placeholder"] for p in found]

    assert shapes(programs(lambda m, x: F.relu(x), 5, 4)) == [[2], [3]]
    assert shapes(programs(lambda m, x: F.relu(x), 5, 4, any_batch=False)) == [[5]]


def test_examples_are_repeated_or_cut_along_an_axis():
    x = torch.arange(6.0).view(2, 3)
    assert resized(x, 5)[:, 0].tolist() == [0, 3, 0, 3, 0]
    assert resized(x, 2, 1).tolist() == [[0, 1], [3, 4]]
    assert resized(x, 7, None) is x
    assert resized(torch.tensor(1.0), 5).shape == ()
    assert resized("word", 5) == "word"


def test_control_flow_on_values_and_on_the_batch_is_refused():
    with pytest.raises(ValueError, match="Control flow must not depend on values"):
        programs(lambda m, x: m.a(x) if x.sum() > 0 else x, 3, 6, a=nn.Linear(6, 6))
    with pytest.raises(ValueError, match="something else for a batch of 2"):
        programs(lambda m, x: m.a(x) if len(x) == 2 else F.relu(x), 3, 6, a=nn.Linear(6, 6))


def test_a_tensor_made_of_the_batch_size_is_no_constant():
    for function in (lambda m, x: x * torch.tensor(float(len(x))), lambda m, x: x * torch.tensor([len(x), 1, 2, 3])):
        with pytest.raises(ValueError, match="makes a constant of the batch size"):
            programs(function, 2, 4)
    fallback = Calls(lambda m, x: m.a(x) * torch.tensor(float(len(x))), a=nn.Linear(4, 4)).eval()
    with pytest.raises(ValueError, match="makes a constant of the batch size"):
        engine.compile(fallback, torch.randn(2, 4), fallback="torch")

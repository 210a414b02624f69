import torch
from torch import nn

from sparse_engine.compiler.exporting import exports
from sparse_engine.compiler.fallback.coverage import Survey


def survey(model, *example):
    first, second = exports(model.eval(), example, {}, True)
    return Survey(first, second)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("scale", torch.rand(4))

    def forward(self, x):
        y = self.layer(x) * (self.scale + 1)
        order = torch.argsort(y)
        return torch.relu(y), order + 1, y > 0


def test_everything_is_looked_at_and_what_is_no_float_is_left():
    found = survey(Mixed(), torch.randn(2, 4))
    why = {node.name: refused.reason for node, refused in found.uncovered.items()}
    assert why == {"argsort": "", "add_1": "of torch.int64"}
    assert [node.name for node in found.live()] == ["linear", "mul", "argsort", "relu", "add_1", "gt"]
    assert "add" in {node.name for node in found.tensors}  # of a buffer alone
    assert found.multiply_adds() == 2 * 4 * 4


def test_a_part_is_a_graph_of_its_own():
    found = survey(Mixed(), torch.randn(2, 4))
    nodes = {node.name: node for node in found.live()}
    graph = found.graph_of([nodes["mul"]], [nodes["relu"], nodes["gt"]], [nodes["relu"], nodes["gt"], nodes["mul"]])
    graph.check()
    assert [value.name for value in graph.inputs] == ["mul"]
    assert graph.outputs[2] is graph.inputs[0]


def test_sizes_that_depend_on_values_are_left_with_all_that_reads_them():
    class Positive(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            y = self.layer(x)
            return torch.relu(y[y[:, 0] > 0]), y

    found = survey(Positive(), torch.randn(2, 4))
    why = {node.name: refused.reason for node, refused in found.uncovered.items() if node in found.live()}
    assert set(why.values()) == {"its size depends on values"}
    assert "relu" in why
    assert "linear" not in why

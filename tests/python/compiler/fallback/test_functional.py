import pytest
import torch
from torch import nn

import sparse_engine as engine
from refused_operations import check_torch
from sparse_engine.channels.export import Arguments
from sparse_engine.compiler.exporting import exports_at
from sparse_engine.compiler.fallback.functional import functional


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer, self.norm, self.function = nn.Linear(4, 4), nn.BatchNorm1d(4), function

    def forward(self, x):
        return torch.sort(self.function(self.norm(self.layer(x))))[0]


def targets(function):
    example = torch.randn(2, 4)
    (program,) = functional(exports_at(Of(function).eval(), [Arguments((example,), {})]), [example])
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


def in_a_chain(x):
    return x.relu_().add_(1).mul_(2) - 3


def through_a_view(x):
    x[:, 1:3] += 1
    return x


def into_a_view_that_is_read(x):
    part = x[:, :2]
    x.mul_(2)
    return torch.cat([x, part], 1)


def of_a_new_tensor(x):
    found = torch.zeros(x.shape[0], 4)
    found[:, 0] = x[:, 1]
    return found + x


@pytest.mark.parametrize("function", [in_a_chain, through_a_view, into_a_view_that_is_read, of_a_new_tensor])
def test_operations_in_place_compute_what_they_did(function):
    check_torch(Of(function), torch.randn(3, 4))
    assert not any(name.split(".")[1].endswith("_") for name in targets(function) if name.startswith("aten."))


def test_a_batch_norm_stays_one_operation_where_torch_takes_writes_apart():
    assert "aten.batch_norm.default" in targets(through_a_view)


def test_an_output_that_was_written_in_place_is_kept():
    class Written(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            x = self.layer(x)
            y = torch.sort(x)[0]
            return y.relu_(), x.relu_()

    assert len(check_torch(Written(), torch.randn(2, 4)).outputs) == 2


def test_a_program_without_writes_is_left_as_it_is():
    example = torch.randn(2, 4)
    programs = exports_at(Of(torch.relu).eval(), [Arguments((example,), {})])
    assert functional(programs, [example]) == programs


def test_a_write_to_a_buffer_is_refused():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.register_buffer("calls", torch.zeros(4))

        def forward(self, x):
            self.calls.add_(1)
            return torch.sort(self.layer(x) + self.calls)[0]

    with pytest.raises(engine.UnsupportedModel, match="in place"):
        engine.compile(Counting().eval(), torch.randn(2, 4), fallback="torch")


def test_the_users_input_is_not_written_to():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return torch.sort(self.layer(x.mul_(2)))[0]

    x = torch.ones(2, 4)
    compiled = engine.compile(Writes().eval(), torch.randn(2, 4), fallback="torch")
    first = compiled(x)
    torch.testing.assert_close(compiled(x), first)
    assert bool((x == 1).all())

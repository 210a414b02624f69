import numpy as np
import pytest
import torch
from torch import nn

from sparse_engine.compiler.exporting import BatchError, exports
from sparse_engine.compiler.fallback.coverage import Survey
from sparse_engine.compiler.fallback.segment import Contents
from sparse_engine.compiler.fallback.torch_segment import TorchSegment, module_of


class Of(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function
        self.register_buffer("held", torch.arange(4.0))

    def forward(self, x):
        return self.function(x, self.held)


def segment(function):
    first, second = exports(Of(function).eval(), (torch.randn(2, 4),), {}, True)
    survey = Survey(first, second)
    others = {node: survey.other(node) for node in survey.live()}
    module = module_of(survey.arguments, survey.live(), survey.returned, survey.tensors, others, survey.module)
    return TorchSegment(Contents(("x",), tuple(node.name for node in survey.returned)), module)


def run(made, x):
    return made.run(len(x), made.enter([x]))


@pytest.mark.parametrize("batch", range(6))
def test_sizes_follow_the_batch(batch):
    def function(x, held):
        n = x.shape[0]
        return torch.zeros(2 * n + 1, 4)[: n + 1].cumsum(0).view(n + 1, 2, 2), torch.arange(n), x.reshape(-1).view(4 * n) + 1

    found = run(segment(function), np.ones((batch, 4), np.float32))
    assert [tuple(t.shape) for t in found] == [(batch + 1, 2, 2), (batch,), (4 * batch,)]
    assert found[1].tolist() == list(range(batch))


def test_what_depends_on_the_batch_and_is_no_whole_number_is_refused():
    with pytest.raises(BatchError, match=r"mul is given 0.5 for a batch of 2 and 0.33"):
        segment(lambda x, held: torch.sort(x)[0] * (1 / x.shape[0]))


def test_results_are_no_memory_of_constants():
    made = segment(lambda x, held: held.expand(x.shape[0], 4))
    (first,) = run(made, np.ones((2, 4), np.float32))
    first.numpy()[:] = 7
    assert run(made, np.ones((2, 4), np.float32))[0][0].tolist() == [0, 1, 2, 3]


def test_read_only_arrays_are_taken_and_threads_left_alone():
    made = segment(lambda x, held: torch.sort(x)[0] + held)
    x = np.float32([[3, 1, 2, 0]])
    x.flags.writeable = False
    assert run(made, x)[0].tolist() == [[0, 2, 4, 6]]
    before = torch.get_num_threads()
    assert made.with_threads(1) is made
    assert torch.get_num_threads() == before


def test_branches_of_a_condition_run_too():
    def function(x, held):
        return torch.cond(x.sum() > 0, lambda a: a.sin(), lambda a: a.cos(), (x,))

    made = segment(function)
    x = np.ones((3, 4), np.float32)
    np.testing.assert_allclose(run(made, x)[0], np.sin(x), rtol=1e-6)
    np.testing.assert_allclose(run(made, -x)[0], np.cos(x), rtol=1e-6)

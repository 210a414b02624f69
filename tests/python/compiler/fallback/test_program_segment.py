import numpy as np
import torch
from torch import nn

from sparse_engine.compiler.exporting import exports
from sparse_engine.compiler.fallback.coverage import Survey
from sparse_engine.compiler.fallback.program_segment import ProgramSegment
from sparse_engine.compiler.fallback.segment import Contents


class Some(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x, chosen):
        y = self.layer(nn.functional.dropout(x, training=self.training))
        return torch.where(chosen, y, -y), y > 0, nn.functional.dropout(x, training=self.training)


def segment(threads=1):
    first, second = exports(Some().eval(), (torch.randn(2, 4), torch.ones(2, 4, dtype=torch.bool)), {}, True)
    survey = Survey(first, second)
    graph = survey.graph_of(survey.arguments, survey.live(), [*survey.returned, survey.returned[0]])
    makes = ("chosen", "positive", "same", "again")
    return ProgramSegment.of(Contents(("x", "c"), makes), graph, ["float32", "bool", "float32", "float32"], threads)


def test_truth_values_cross_as_such_and_results_may_be_inputs_or_one_value():
    made = segment()
    x, chosen = np.float32([[1, -2, 3, -4]]), np.array([[True, False, True, False]])
    given = made.enter([torch.from_numpy(x), chosen])
    assert [array.dtype for array in given] == [np.float32, np.float32]
    results = made.run(1, given)
    assert [array.dtype for array in results] == [np.float32, np.bool_, np.float32, np.float32]
    np.testing.assert_array_equal(results[2], x)
    np.testing.assert_array_equal(results[0], results[3])
    np.testing.assert_array_equal(results[1], np.where(chosen, results[0], -results[0]) > 0)
    assert len(made.results(5)) == 2
    assert made.results(5)[0].shape == (5, 4)


def test_other_numbers_of_threads_give_the_same_bits():
    one = segment()
    given = one.enter([np.ones((3, 4), np.float32), np.ones((3, 4), bool)])
    for a, b in zip(one.run(3, given), one.with_threads(2).run(3, given), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.with_threads(2).session.threads == 2


def test_strided_values_are_read():
    made = segment()
    given = made.enter([np.ones((8, 4), np.float32)[::2], np.ones((4, 4), bool).T])
    assert all(array.flags.c_contiguous for array in given)

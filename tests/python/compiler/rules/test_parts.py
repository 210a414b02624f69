import pytest
import torch

from compiled_functions import expect_refused, expect_torch, operations

X = (6, 5, 4)

PARTS = {
    "slice": lambda x: x[:, 1:4, -3:, :-1],
    "strides": lambda x: x[:, :, ::2, 1::2],
    "slice of a slice": lambda x: x[:, 1:][:, ::2][..., 1:3][..., 1:],
    "nothing": lambda x: torch.cat([x[:, 3:3], x], 1),
    "past the end": lambda x: x[:, -99:99, 4:1000],
    "select": lambda x: x[:, -1] + x[:, 0],
    "select of the last axis": lambda x: x[..., 2],
    "narrow": lambda x: x.narrow(2, 1, 3),
    "chunk": lambda x: torch.cat(x.chunk(4, 1)[::-1], 1),
    "split": lambda x: x.split((1, 3, 2), 1),
    "split of equal parts": lambda x: x.split(2, -1)[1],
    "unbind": lambda x: torch.stack(x.unbind(2)[::-1], 1),
    "tensor_split": lambda x: x.tensor_split(3, 2)[0],
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_torchs(name):
    expect_torch(PARTS[name], X)


def test_all_of_a_value_is_no_part():
    assert operations(lambda x: x[:, :, :], (2, *X)) == []


def test_a_part_that_is_changed_in_place_is_refused_where_the_whole_is_read():
    def function(x):
        y = x * 2
        y[:, :2].relu_()
        return y

    expect_refused(function, (2, *X), operation="aten.relu_.default", reason="a view is read of")


def test_parts_of_the_batch_are_refused():
    expect_refused(lambda x: x[1:], (2, *X), operation="slice", reason="of a part of the batch")
    expect_refused(lambda x: x[0], (2, *X), operation="select", reason="of a part of the batch")


def test_what_is_rolled_is_put_together_of_parts():
    expect_torch(lambda x: x.roll((1, -2), (2, 1)), (5, 4))


def test_selections_of_many_runs_are_looked_up():
    torch.manual_seed(0)
    order = torch.randperm(60)
    for axis in (1, 2):
        expect_torch(lambda x, d=axis: x.index_select(d, order), (60, 60))
    assert "gather" in operations(lambda x: x.index_select(1, order), (2, 60, 3))
    assert operations(lambda x: x.index_select(1, torch.tensor([3, 1, 2])), (2, 60, 3))[-1] == "concat"

import pytest
import torch
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, operations

REDUCTIONS = {
    "mean of the last": lambda x: x.mean(-1),
    "mean of a plane": lambda x: x.mean((2, 3), keepdim=True),
    "mean of the middle": lambda x: x.mean(2),
    "mean of channels": lambda x: x.mean(1, keepdim=True) * x,
    "mean of channels and columns": lambda x: x.mean((1, 3)),
    "sum": lambda x: x.sum((1, 2, 3)),
    "sum of channels": lambda x: x.sum(1),
    "maximum of a plane": lambda x: x.amax((2, 3)),
    "maximum of channels": lambda x: x.amax(1, keepdim=True),
    "maximum of all": lambda x: x.amax((1, 2, 3)),
    "length": lambda x: x / x.norm(dim=1, keepdim=True),
    "length of a plane": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),
    "length of all": lambda x: torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True),
    "length 1": lambda x: F.normalize(x, dim=-1) + F.normalize(x, p=1.0, dim=1),
    "sum of magnitudes": lambda x: x.norm(p=1, dim=2),
    "largest magnitude": lambda x: x.norm(p=float("inf"), dim=(1, 3)),
    "softmax of rows": lambda x: (50 * x).softmax(-1),
    "softmax of channels": lambda x: (x - 100).softmax(1),
    "softmax of a plane": lambda x: x.flatten(2).softmax(2).view_as(x),
}


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_are_torchs(name):
    expect_torch(REDUCTIONS[name], (6, 5, 7))


def test_last_axes_are_reduced_where_they_are():
    assert operations(REDUCTIONS["mean of a plane"], (2, 6, 5, 7)) == ["mean"]
    assert operations(REDUCTIONS["mean of the middle"], (2, 6, 5, 7)) == ["permute", "mean"]


def test_those_of_the_batch_are_refused():
    expect_refused(lambda x: x.mean(0), (2, 6), operation="mean", reason="the batch among them")
    expect_refused(lambda x: x.sum(), (2, 6), operation="sum", reason="the batch among them")


def test_norms_of_other_orders_are_refused():
    expect_refused(lambda x: x.norm(p=3, dim=1), (2, 6), operation="linalg_vector_norm", reason="of order 3")
    expect_refused(lambda x: x.norm(dim=0), (2, 6), operation="linalg_vector_norm", reason="the batch among them")

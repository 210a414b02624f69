import pytest
import torch
from torch import nn

from compiled_functions import expect_refused, expect_torch, operations


def settled(norm):
    """With parameters and statistics of their own."""
    torch.manual_seed(1)
    for tensor in [*norm.parameters(), *norm.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 2)
    return norm.eval()


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(6), (6,)),
        (nn.BatchNorm1d(6), (6, 5)),
        (nn.BatchNorm2d(6, affine=False), (6, 5, 4)),
        (nn.LayerNorm(6), (6,)),
        (nn.LayerNorm(4, bias=False), (6, 5, 4)),
        (nn.LayerNorm((5, 4), elementwise_affine=False), (6, 5, 4)),
        (nn.RMSNorm(4), (6, 5, 4)),
        (nn.RMSNorm((5, 4), eps=1e-3), (6, 5, 4)),
        (nn.GroupNorm(3, 6), (6, 5, 4)),
        (nn.GroupNorm(1, 6, affine=False), (6, 7)),
        (nn.GroupNorm(6, 6), (6, 5, 4)),
    ],
    ids=str,
)
def test_norms_are_torchs(norm, shape):
    expect_torch(settled(norm), shape)


def test_a_batch_norm_behind_a_linear_layer_of_many_rows_is_of_the_rows():
    """The axis that it normalises is not that of the features, though as long."""
    expect_torch(nn.Sequential(nn.Linear(6, 6), settled(nn.BatchNorm1d(6))), (6, 6))
    expect_torch(nn.Sequential(nn.Linear(6, 6), settled(nn.BatchNorm1d(6))), (6,))
    expect_torch(nn.Sequential(nn.Conv1d(6, 6, 1), settled(nn.BatchNorm1d(6))), (6, 6))


def test_statistics_of_the_batch_are_refused():
    expect_refused(nn.BatchNorm1d(6, track_running_stats=False), (2, 6), operation="batch_norm", reason="own statistics")
    assert operations(nn.BatchNorm1d(6), (2, 6)) == ["batch_norm"]

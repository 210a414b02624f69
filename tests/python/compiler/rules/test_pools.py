import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, operations


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [(9, 3, 2, 1), (10, 3, 2, 0), (7, 2, 2, 1), (8, 5, 3, 2)])
def test_pools_are_torchs(size, kernel, stride, padding, ceil, pads):
    expect_torch(nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil), (11, size, size + 3))
    expect_torch(nn.AvgPool2d(kernel, stride, padding, ceil, pads), (11, size, size + 3))
    expect_torch(nn.MaxPool1d(kernel, stride, padding, ceil_mode=ceil), (11, size))
    expect_torch(nn.AvgPool1d(kernel, stride, padding, ceil, pads), (11, size))


@pytest.mark.parametrize("out", [1, 3, 4, 6, (2, 5), (7, 9), (None, 2)])
def test_adaptive_pools_are_torchs(out):
    expect_torch(nn.AdaptiveAvgPool2d(out), (11, 6, 9))
    expect_torch(nn.AdaptiveMaxPool2d(out), (11, 6, 9))
    if isinstance(out, int):
        expect_torch(nn.AdaptiveAvgPool1d(out), (11, 6))
        expect_torch(nn.AdaptiveMaxPool1d(out), (11, 6))


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 2, 1), ((1, 2, 3), None, (0, 1, 1)), ((3, 1, 1), (2, 1, 1), (1, 0, 0)), (1, 1, 0), (2, 3, 1)],
)
def test_pools_of_volumes_are_torchs(kernel, stride, padding, ceil, pads):
    expect_torch(nn.MaxPool3d(kernel, stride, padding, ceil_mode=ceil), (3, 5, 6, 8))
    expect_torch(nn.AvgPool3d(kernel, stride, padding, ceil, pads), (3, 5, 6, 8))


@pytest.mark.parametrize("out", [1, 2, (2, 3, 9), (4, 5, 7), (6, 6, 9), (None, 1, 4)])
def test_adaptive_pools_of_volumes_are_torchs(out):
    expect_torch(nn.AdaptiveAvgPool3d(out), (3, 6, 6, 9))
    expect_torch(nn.AdaptiveMaxPool3d(out), (3, 6, 6, 9))


def test_pools_of_volumes_go_over_planes_and_over_depth():
    names = lambda *of: [name for name in operations(*of) if name != "reshape"]  # noqa: E731
    assert names(nn.MaxPool3d(2), (2, 3, 4, 4, 4)) == ["max_pool", "max_pool"]
    assert names(nn.MaxPool3d((1, 2, 2)), (2, 3, 4, 4, 4)) == ["max_pool"]
    assert names(nn.AvgPool3d((2, 1, 1)), (2, 3, 4, 4, 4)) == ["average_pool"]
    assert operations(nn.AdaptiveAvgPool3d(1), (2, 3, 4, 4, 4)) == ["mean"]


def test_adaptive_pools_of_equal_windows_are_means_or_pools():
    assert operations(nn.AdaptiveAvgPool2d(1), (2, 3, 6, 6)) == ["mean"]
    assert operations(nn.AdaptiveAvgPool2d(3), (2, 3, 6, 6)) == ["average_pool"]
    assert operations(nn.AdaptiveMaxPool2d(3), (2, 3, 6, 6)) == ["max_pool"]
    assert operations(nn.AdaptiveAvgPool2d(6), (2, 3, 6, 6)) == ["reshape"]
    assert operations(nn.AdaptiveAvgPool2d(4), (2, 3, 6, 6)) == ["adaptive_average_pool"]
    assert operations(nn.AdaptiveMaxPool1d(4), (2, 3, 6)) == ["adaptive_max_pool"]


def test_a_pool_to_its_own_size_is_a_copy():
    expect_torch(lambda x: (lambda y: y + F.adaptive_avg_pool2d(y, 6).relu_())(x * 2), (3, 6, 6))


def test_other_windows_are_refused():
    expect_refused(nn.MaxPool2d(3, dilation=2), (2, 3, 9, 9), operation="max_pool2d", reason="with dilation")
    expect_refused(nn.AvgPool2d(2, divisor_override=3), (2, 3, 9, 9), operation="avg_pool2d", reason="divisor_override")
    expect_refused(nn.MaxPool2d(2), (2, 9, 9), operation="max_pool2d", reason="of 3 axes")


def test_positions_of_maxima_are_refused():
    function = lambda x: F.max_pool2d(x, 2, return_indices=True)[1]  # noqa: E731
    expect_refused(function, (2, 3, 4, 4), operation="max_pool2d_with_indices", reason="result number 2")
    expect_torch(lambda x: torch.nn.functional.max_pool2d(x, 2, return_indices=True)[0], (3, 4, 4))

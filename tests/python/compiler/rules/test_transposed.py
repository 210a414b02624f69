import pytest
from torch import nn

from compiled_functions import expect_torch, operations


@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        (2, {"stride": 2}),
        ((2, 3), {"stride": (2, 3), "bias": False}),
        (3, {"stride": 2}),
        (3, {"stride": 2, "padding": 1, "output_padding": 1}),
        (4, {"stride": 2, "padding": 1}),
        (3, {}),
        (3, {"padding": 1, "dilation": 2}),
        ((1, 4), {"stride": (1, 3), "padding": (0, 2), "output_padding": (0, 1)}),
        (3, {"stride": 2, "groups": 2, "padding": 1}),
        (2, {"stride": 2, "groups": 4}),
        (2, {"stride": 3}),
        (1, {"stride": 2}),
        (2, {"padding": 1}),
        (1, {"stride": 3, "padding": 1}),
    ],
)
def test_over_two_axes(kernel, options):
    expect_torch(nn.ConvTranspose2d(4, 8, kernel, **options), (4, 5, 6))


@pytest.mark.parametrize(("kernel", "options"), [(2, {"stride": 2}), (5, {"stride": 3, "padding": 2, "output_padding": 1})])
def test_over_one_axis(kernel, options):
    expect_torch(nn.ConvTranspose1d(4, 6, kernel, **options), (4, 7))


def test_windows_that_do_not_overlap_are_a_product_and_a_move():
    assert operations(nn.ConvTranspose2d(4, 8, 2, stride=2), (2, 4, 5, 6)) == ["conv2d", "reshape", "permute", "reshape"]

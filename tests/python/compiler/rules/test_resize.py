import pytest
import torch
from torch.nn import functional as F

from compiled_functions import as_model, expect_refused, expect_torch, operations
from sparse_engine.compiler.api import compile as compiled_model

SIZES = [(12, 10), (7, 11), (3, 2), (6, 5), (1, 1), (6, 15)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("aligned", [False, True])
def test_planes_lie_between_cells_as_torchs_do(size, aligned):
    expect_torch(lambda x: F.interpolate(x, size=size, mode="bilinear", align_corners=aligned), (3, 6, 5))


@pytest.mark.parametrize("factor", [2, 1.5, (0.5, 3.0), (1.3, 0.7)])
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "nearest-exact"])
def test_factors_say_where_cells_lie(factor, mode):
    expect_torch(lambda x: F.interpolate(x, scale_factor=factor, mode=mode), (3, 6, 5))
    expect_torch(lambda x: F.interpolate(x, scale_factor=factor, mode=mode, recompute_scale_factor=True), (3, 6, 5))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_the_nearest_cell_is_torchs(size, mode):
    expect_torch(lambda x: F.interpolate(x, size=size, mode=mode), (3, 6, 5), tolerance=0)


@pytest.mark.parametrize("old", [3, 7, 29, 100, 173])
def test_the_nearest_cell_is_torchs_at_every_size(old):
    for new in (1, 2, old - 1, old + 1, 2 * old - 1, 97, 224):
        x = torch.arange(float(old)).expand(2, 1, old)
        for mode in ("nearest", "nearest-exact"):
            model = as_model(lambda x, new=new, mode=mode: F.interpolate(x, size=new, mode=mode))
            assert torch.equal(torch.as_tensor(compiled_model(model, x)(x)), model(x)), (old, new, mode)


@pytest.mark.parametrize("size", [1, 4, 8, 21])
def test_sequences_are_planes_of_one_row(size):
    expect_torch(lambda x: F.interpolate(x, size=size, mode="linear"), (3, 8))
    expect_torch(lambda x: F.interpolate(x, size=size, mode="linear", align_corners=True), (3, 8))
    expect_torch(lambda x: F.interpolate(x, scale_factor=size / 4, mode="nearest"), (3, 8))


def test_results_are_as_near_to_float64_as_torchs():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 60, 50)
    model = as_model(lambda x: F.interpolate(x, size=(473, 401), mode="bilinear"))
    exact = model(x.double())
    error = (torch.as_tensor(compiled_model(model, x)(x)).double() - exact).abs().max()
    assert error < 1e-6
    assert error <= (model(x).double() - exact).abs().max()


def test_it_is_one_operation_and_whole_factors_are_none():
    assert operations(lambda x: F.interpolate(x, size=(9, 9), mode="bilinear"), (2, 3, 4, 4)) == ["resize"]
    assert operations(lambda x: F.interpolate(x, scale_factor=2), (2, 3, 4, 4)) == ["reshape", "expand", "reshape"]
    assert operations(lambda x: F.interpolate(x, size=(9, 9)), (2, 3, 4, 4)) == ["resize"]


def test_planes_lie_in_what_they_are_joined_to():
    def function(x):
        larger = F.interpolate(x[:, 1:3], size=(9, 8), mode="bilinear")
        return torch.cat([larger, F.interpolate(x, size=(9, 8)), larger], 1).relu()

    expect_torch(function, (4, 6, 5))


def test_other_ways_are_refused():
    expect_refused(lambda x: F.interpolate(x, size=(9, 9), mode="bicubic"), (2, 3, 4, 4), operation="upsample_bicubic2d")
    expect_refused(
        lambda x: F.interpolate(x, size=(3, 3), mode="bilinear", antialias=True),
        (2, 3, 4, 4),
        operation="_upsample_bilinear2d_aa",
    )
    expect_refused(
        lambda x: F.interpolate(x, size=(4 * len(x), 4), mode="bilinear"),
        (2, 3, 4, 4),
        operation="upsample_bilinear2d",
    )

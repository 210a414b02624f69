import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, operations

X = (6, 5, 4)

VIEWS = {
    "flatten": lambda x: x.flatten(1),
    "view": lambda x: x.view(x.shape[0], 3, 2, 20),
    "reshape": lambda x: x.reshape(-1, 30, 4),
    "unsqueeze and squeeze": lambda x: x.unsqueeze(2).squeeze(2).unsqueeze(-1),
    "unflatten": lambda x: x.unflatten(1, (2, 3)),
    "rows of the batch": lambda x: x.reshape(-1, 4) * 2,
}
MORE = {
    "pad": lambda x: F.pad(x, (1, 2, 0, 3)),
    "pad of channels": lambda x: F.pad(x, (0, 0, 0, 0, 4, 4)),
    "pad with a number": lambda x: F.pad(x, (1, 1), value=-float("inf")).clamp_min(-9),
    "cropping": lambda x: F.pad(x, (-1, 2, -1, -1)),
    "padding of nothing": lambda x: F.pad(x, (0, 0)),
    "shortcut of option A": lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)),
    "expand": lambda x: x[:, :1].expand(-1, 7, -1, -1),
    "expand to new axes": lambda x: x.mean((1, 2, 3), keepdim=True).squeeze(-1).expand(4, -1, 3, 2),
    "expand_as": lambda x: x.mean(1, keepdim=True).expand_as(x),
    "repeat": lambda x: x.repeat(1, 2, 1, 3),
    "repeat for every item": lambda x: x + torch.arange(5.0).view(1, 1, 5, 1).repeat(x.shape[0], 1, 1, 1),
    "repeat for every item and more": lambda x: x + torch.arange(5.0).view(5, 1).repeat(x.shape[0], 1, 1, x.shape[3]),
    "upsample": lambda x: F.interpolate(x, scale_factor=(2, 3)),
    "upsample of one axis": lambda x: F.interpolate(x.flatten(2), scale_factor=2),
    "cat with nothing, as a cache begins": lambda x: torch.cat([torch.cat([torch.tensor([]), x], -2), x], -2),
    "cat of the last axis": lambda x: torch.cat([x, x[..., :1], x], -1),
    "cat along the batch": lambda x: torch.cat([x, x + 1], 0)[..., 0],
    "stack": lambda x: torch.stack([x, x * 2], -1),
}


@pytest.mark.parametrize("name", [*VIEWS, *MORE])
def test_what_moves_elements_is_torchs(name):
    expect_torch((VIEWS | MORE)[name], X)


def test_views_cost_nothing():
    assert operations(VIEWS["rows of the batch"], (2, *X)) == ["reshape", "multiply"]


def test_identities_leave_nothing_and_copies_only_a_view():
    assert operations(nn.Sequential(nn.Dropout(), nn.Identity(), nn.Dropout2d()), (2, 4)) == []
    assert operations(lambda x: x.clone(), (2, 4)) == ["reshape"]


def test_a_copy_that_is_changed_in_place_leaves_what_it_is_a_copy_of():
    expect_torch(lambda x: (lambda y: y + y.clone().relu_())(x * 2), X)
    expect_torch(lambda x: (lambda y: y.flatten(1) + y.transpose(1, 2).contiguous().relu_().flatten(1))(x * 2), X)


def test_modes_and_dtypes_that_are_not_covered_are_refused():
    expect_refused(lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"), (2, *X), operation="pad", reason="mode 'reflect'")
    expect_refused(lambda x: x.double(), (2, *X), operation="to", reason="values are float32")

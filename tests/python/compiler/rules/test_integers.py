import pytest
import torch

import sparse_engine as engine
from compiled_functions import as_model, expect_refused, expect_torch_on
from sparse_engine.compiler.rules.integers import Bounds, is_integer
from sparse_engine.compiler.unsupported import UnsupportedModel

IDS = torch.randint(0, 9, (5, 6), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "function",
    [
        lambda i: (i + 3).float(),
        lambda i: (i - 2 * (i > 4).long()).float() * 0.5,
        lambda i: torch.cumsum(i != 2, 1) * 1.0,
        lambda i: (torch.cumsum((i != 2).int(), dim=1).type_as(i) * (i != 2).int()).long() * 1.0,
        lambda i: i.clamp(min=2, max=5).view(-1, 2, 3).transpose(1, 2) * 1.0,
        lambda i: torch.where(i == 3, 7, i) / 2,
        lambda i: (i.bool() & (i < 5)).float(),
        lambda i: torch.cat([i, i.flip(1)], 1)[:, 2:9] * 1.0,
        lambda i: torch.zeros_like(i) + i * 1.0,
    ],
)
def test_integers_are_computed_exactly(function):
    expect_torch_on(function, IDS, tolerance=0)


def test_floats_of_known_size_become_integers():
    expect_torch_on(lambda x: (x * 4).clamp(-9, 9).long() * 1.0, torch.randn(7, 50), tolerance=0)
    expect_torch_on(lambda x: (x * 4).clamp(-2.5, 2.5).int() * 1.0, torch.randn(7, 50), tolerance=0)
    ones = lambda x: torch.ones(x.shape[0], 6)  # noqa: E731
    expect_torch_on(lambda x: x + (torch.cumsum(ones(x), dim=1) * ones(x) - 1).long(), torch.randn(5, 6), tolerance=0)


def test_floats_that_are_known_may_be_infinite_or_no_numbers():
    mask = torch.full((5, 5), -torch.inf).triu(1)
    expect_torch_on(lambda x: torch.softmax(x + mask, -1), torch.randn(4, 5, 5))
    expect_torch_on(lambda x: (torch.where(x > 0, x, mask) > -9) * 1.0, torch.randn(4, 5, 5))


def test_truth_values_are_inputs():
    torch.manual_seed(0)
    seen = torch.rand(5, 6) > 0.5
    compiled = expect_torch_on(lambda x, m: x.masked_fill(m, -3.0), torch.randn(5, 6), seen)
    assert [tensor.dtype for tensor in compiled.inputs] == ["float32", "bool"]


def test_what_floats_do_not_hold_is_refused():
    given = IDS[:2]
    expect_refused(lambda i: i * i * 1.0, given, operation="mul", reason="may reach 70368744177664")
    expect_refused(lambda i: (i + 2**24) * 1.0, given, operation="add", reason="may reach")
    expect_refused(lambda i: (i // 2) * 1.0, given, operation="floor_divide")
    expect_refused(lambda x: x.long() * 1.0, (2, 3), operation="to", reason="may reach 16777217")
    expect_refused(lambda x: (x.clamp(-9, 9) * x).long() * 1.0, (2, 3), operation="to", reason="may reach")
    expect_refused(lambda i: (i < torch.tensor([2**40])) * 1.0, given, operation="lt", reason="up to 2^24")


def test_bounds_are_those_of_operands():
    assert is_integer(torch.zeros(2, dtype=torch.int32))
    assert not is_integer(torch.zeros(2))
    assert not is_integer(None)
    assert Bounds().of(7, None) >= 7
    assert Bounds().of(True, None) == 1


def test_bounds_count_no_sizes_and_no_places():
    given = IDS[:2]
    steps = torch.arange(5) * 100
    expect_torch_on(lambda t: t * torch.ones(t.shape[0], dtype=t.dtype) * 1.0, steps)
    expect_torch_on(lambda i: (i.view(-1, 3, 2).expand(-1, 3, 2).narrow(1, 0, 3).flatten(1) * 1) * 1.0, IDS)
    expect_torch_on(lambda i: i.clamp(0, 100) * (2**17) * 1.0, IDS)
    expect_refused(lambda i: i.clamp(0, 200) * (2**17) * 1.0, given, operation="mul", reason="may reach 26214400")
    expect_refused(
        lambda i: torch.add(i.clamp(0, 9), i.clamp(0, 9), alpha=2**23) * 1.0, given, operation="add", reason="may reach"
    )
    expect_refused(
        lambda i: i.clamp(0, 2**22).view(-1, 2, 3).sum((1, 2)) * 1.0, given, operation="sum", reason="may reach 25165824"
    )
    expect_torch_on(lambda i: i.clamp(0, 2**20).view(-1, 2, 3).sum((1, 2)) * 1.0, IDS)


def test_bounds_of_an_open_axis_are_those_of_the_longest():
    model = as_model(lambda i: torch.cumsum(i.clamp(0, 2**20), 1) * 1.0)
    engine.compile(model, torch.zeros(1, 4, dtype=torch.int64), open_axis=1, longest=16)
    with pytest.raises(UnsupportedModel, match="may reach"):
        engine.compile(model, torch.zeros(1, 4, dtype=torch.int64), open_axis=1, longest=17)

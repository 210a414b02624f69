import pytest
import torch
from torch.nn import functional as F

from compiled_functions import expect_refused, expect_torch, operations
from sparse_engine.compiler.graph import Size
from sparse_engine.compiler.rules.arithmetic import lies_under

GRID = torch.arange(20.0).reshape(5, 4) + 1
OF_ONE = {
    "numbers": lambda x: (2 * x + 1) / 4 - 3,
    "from a number": lambda x: 1 - x,
    "through a number": lambda x: 1 / (x * x + 1),
    "negative": lambda x: -x,
    "magnitude": lambda x: x.abs(),
    "clamp": lambda x: x.clamp(-0.5, 0.25),
    "clamp from below": lambda x: x.clamp_min(0.3),
    "clamp from above": lambda x: x.clamp(max=0.3),
    "clamp that is relu6": lambda x: (9 * x).clamp(0, 6),
    "clamp by tensors": lambda x: x.clamp(-GRID / 9, GRID / 9),
    "hardtanh": lambda x: F.hardtanh(x, -0.2, 0.7),
    "roots": lambda x: x.abs().sqrt() + (x.abs() + 1).rsqrt() + (x.abs() + 1).reciprocal(),
    "powers": lambda x: x**2 + x.pow(3) + x.square() + (x.abs()) ** 0.5,
    "a buffer": lambda x: x + GRID,
    "a buffer of its own": lambda x: GRID - x / GRID,
    "alpha": lambda x: torch.add(x, GRID, alpha=2) + torch.rsub(x, 3, alpha=4),
    "with itself": lambda x: x * x - x,
    "in place": lambda x: (x * 2).add_(1).mul_(3).clamp_(-1, 1).neg_(),
}
OF_TWO = {
    "one for each channel": (lambda x, y: x + y, (6, 1, 1)),
    "one for each place": (lambda x, y: y * x, (1, 5, 4)),
    "one for each row": (lambda x, y: x / (y * y + 1), (6, 5, 1)),
    "some in the middle": (lambda x, y: x - y, (1, 5, 1)),
    "the first one is smaller": (lambda x, y: y - x, (6, 1, 1)),
    "the first one is smaller and does not lie under": (lambda x, y: y / (x * x + 1), (1, 5, 4)),
    "both are smaller": (lambda x, y: x[:, :1] * y, (6, 1, 4)),
    "the larger and the smaller": (lambda x, y: torch.maximum(x, y) * torch.minimum(y, x + 1), (6, 5, 4)),
}


@pytest.mark.parametrize("name", OF_ONE)
def test_arithmetic_of_one_tensor_is_torchs(name):
    expect_torch(OF_ONE[name], (6, 5, 4))


@pytest.mark.parametrize("name", OF_TWO)
def test_arithmetic_of_two_is_torchs_however_they_are_broadcast(name):
    function, shape = OF_TWO[name]
    expect_torch(function, (6, 5, 4), shape)


def test_nan_goes_through_clamps_and_maxima():
    expect_torch(lambda x: ((x - x) / (x - x)).clamp(-1, 1), (6,))
    expect_torch(lambda x: torch.maximum((x - x) / (x - x), x), (6,))


def test_an_operand_that_lies_under_the_other_is_not_expanded():
    assert operations(lambda x, y: x + y, (2, 6, 5, 4), (2, 6, 1, 1)) == ["add"]
    assert operations(lambda x, y: x + y, (2, 6, 5, 4), (2, 1, 5, 4)) == ["expand", "add"]
    assert operations(lambda x: 1 - x, (2, 6)) == ["multiply", "add"]
    one, five = Size(1), Size(5)
    assert lies_under((five, one), (Size(0, 1), five, Size(4)))
    assert not lies_under((Size(0, 1), one, Size(4)), (Size(0, 1), five, Size(4)))


def test_what_is_not_covered_is_refused():
    expect_refused(lambda x: x**2.5, (2, 4), operation="pow", reason="exponent 2.5")
    expect_refused(lambda x: torch.div(x, 2, rounding_mode="floor"), (2, 4), operation="div", reason="rounding mode")

import pytest
import torch

from compiled_functions import expect_refused, expect_torch, operations

FILLED = {
    "zeros": lambda x: torch.cat([x, torch.zeros(x.shape[0], 2, 4)], 1),
    "ones": lambda x: x + torch.ones(x.shape[0], 3, 1).expand(-1, -1, 4),
    "full": lambda x: torch.full((x.shape[0], 3, 4), 2.5) * x,
    "zeros_like": lambda x: torch.cat([torch.zeros_like(x), x], 2),
    "ones_like": lambda x: torch.ones_like(x) - x,
    "full_like": lambda x: torch.full_like(x, -1.5) + x,
    "new_zeros": lambda x: torch.cat([x.new_zeros(x.shape[0], 1, 4), x], 1),
    "new_ones": lambda x: x - x.new_ones(x.shape),
    "new_full": lambda x: x.new_full((x.shape[0], 3, 4), 0.5) + x,
}


@pytest.mark.parametrize("name", FILLED)
def test_a_tensor_of_one_number_is_as_large_as_the_batch_says(name):
    expect_torch(FILLED[name], (3, 4))


def test_such_a_tensor_is_a_number_expanded():
    assert operations(lambda x: x + torch.zeros_like(x), (2, 3)) == ["expand", "add"]


def test_integers_are_whole_numbers_and_doubles_are_refused():
    expect_torch(lambda x: x * torch.ones(x.shape[0], 3, dtype=torch.int64), (3,))
    expect_refused(
        lambda x: x * torch.ones(x.shape[0], 3, dtype=torch.float64).float(),
        (2, 3),
        operation="ones",
        reason="of torch.float64",
    )

import pytest
import torch

from compiled_functions import expect_refused, expect_torch

OTHER = torch.linspace(-1, 1, 4)
CHOICES = {
    "less": lambda x: torch.where(x < 0.2, x, -x),
    "at most": lambda x: torch.where(x <= OTHER, x, 2.0),
    "greater": lambda x: torch.where(x > 0.2, 1.0, x),
    "at least, turned": lambda x: torch.where(x <= OTHER, x, x * x),
    "equal and not": lambda x: torch.where(x.relu() == 0, 7.0, 1.0) + torch.where(x.relu() != 0, 3.0, 0.5),
    "and, or, xor, not": lambda x: torch.where(((x < 0) & (x > -1)) | ((x > 0.5) ^ ~(x > 0.7)), x, 0.0),
    "logical words": lambda x: torch.where(torch.logical_and(x < 1, torch.logical_not(x < -1)), x, OTHER),
    "masked fill": lambda x: x.masked_fill(x > 0, 4.0),
    "a truth value as a number": lambda x: (x > 0).float() * x,
    "infinities on the way": lambda x: (
        torch.where(x > 0, x, float("-inf")).clamp(min=-5) + torch.where(x > 0, 1 / x.relu(), 1.0)
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_what_is_chosen_equals_torch(name):
    expect_torch(CHOICES[name], (5, 4))


def test_truth_values_as_results_are_refused():
    expect_refused(lambda x: x > 0, (5, 4), operation="an output of torch.bool", reason="outputs are float32")

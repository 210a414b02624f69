import pytest
import torch
from torch import nn

import sparse_engine as engine
from compiled_functions import expect_refused, expect_torch, expect_torch_on, operations

torch.manual_seed(0)
WEIGHT, TWO = torch.randn(6, 7), torch.randn(5, 6, 3, 2)


@pytest.mark.parametrize(
    "equation",
    [
        "bhid,bhjd->bhij",
        "bhij,bhjd->bhid",
        "b h i d, b h j d -> b i j h",
        "bhid,bhjd->bhji",
        "bihd,bjhd->bhij",
        "bhid,bhjd->bij",
        "bhid,bhjd",
        "...id,...jd->...ij",
    ],
)
def test_contractions_of_two_values_are_torchs(equation):
    first, second = torch.randn(5, 3, 4, 6), torch.randn(5, 3, 4, 6)
    if equation == "bhij,bhjd->bhid":
        second = torch.randn(5, 3, 6, 2)
    expect_torch_on(lambda x, y: torch.einsum(equation, x, y), first, second)


@pytest.mark.parametrize(
    ("equation", "weight"),
    [
        ("bsd,de->bse", WEIGHT),
        ("bsd,de->bes", WEIGHT),
        ("...d,de", WEIGHT),
        ("...d,...de->...e", WEIGHT),
        ("bsd,tdhk->bshtk", TWO),
        ("bsd,sdhk->bhk", TWO),
        ("bsd,s->bd", WEIGHT[:5, 0]),
    ],
)
def test_contractions_with_a_parameter_are_linear_layers(equation, weight):
    expect_torch(lambda x: torch.einsum(equation, x, weight), (5, 6))
    made = operations(lambda x: torch.einsum(equation, x, weight), (2, 5, 6))
    assert "linear" in made
    assert "matmul" not in made
    if weight is WEIGHT and equation == "bsd,de->bse":
        expect_torch(lambda x: torch.einsum("de,bsd->bse", weight, x), (5, 6))


def test_a_permutation_is_one():
    expect_torch(lambda x: torch.einsum("bijk->bkji", x), (3, 4, 5))


def test_a_pruned_weight_stays_sparse():
    class Heads(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(64, 4, 32))

        def forward(self, x):
            return torch.einsum("bsd,dhk->bhsk", x, self.weight)

    model = Heads()
    with torch.no_grad():
        model.weight *= torch.rand(64, 4, 32) < 0.1
    compiled = engine.compile(model.eval(), torch.randn(2, 10, 64))
    assert "csr" in str(compiled)


def test_sums_of_one_operand_and_diagonals_are_refused():
    given = (2, 5, 5)
    expect_refused(lambda x: torch.einsum("bij->bi", x), given, operation="einsum", reason="a sum of one operand alone")
    expect_refused(lambda x: torch.einsum("bii->bi", x), given, operation="einsum", reason="a diagonal")
    expect_refused(lambda x: torch.einsum("bij,bik,bil->bjkl", x, x, x), given, operation="einsum", reason="of 3 operands")
    expect_refused(
        lambda x: torch.einsum("...i,...i->...i", x, x[:, :1]), given, operation="einsum", reason="an axis of 5 and of 1"
    )

import numpy as np
import pytest
import torch

from compiled_functions import as_model, expect_torch_on
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes.fuse_attention import fuse_attention

Q, K, V = (torch.randn(5, 2, n, 8, generator=torch.Generator().manual_seed(n)) for n in (4, 6, 7))
V = V[:, :, :6]
MASK = torch.randn(6, generator=torch.Generator().manual_seed(1))


def kinds(compiled):
    return [node["operation"] for node in compiled.nodes]


FORMS = {
    "scaled by division": lambda q, k, v: torch.softmax(q @ k.transpose(-1, -2) / np.sqrt(8), -1) @ v,
    "scaled by a product": lambda q, k, v: torch.softmax(q @ k.mT * 0.5, -1) @ v,
    "not scaled": lambda q, k, v: torch.softmax(q @ k.mT, -1) @ v,
    "with a mask": lambda q, k, v: torch.softmax(q @ k.mT / 3 + MASK, -1) @ v,
    "with a mask of its own": lambda q, k, v: torch.softmax(q @ k.mT + q[:, :1, :, :1], -1) @ v,
    "queries scaled before": lambda q, k, v: torch.softmax((q * 0.125) @ k.mT, -1) @ v,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_it_is_one_operation(form):
    found = kinds(expect_torch_on(FORMS[form], Q, K, V))
    assert found.count("attention") == 1
    assert not {"matmul", "softmax"} & set(found)
    g = capture(as_model(FORMS[form]), (Q, K, V), {})
    fuse_attention(g)
    g.check()
    assert [node.op for node in g].count("attention") == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda q, k, v: torch.softmax(q @ k.mT, -2) @ v,
        lambda q, k, v: torch.relu(q @ k.mT) @ v,
        lambda q, k, v: (torch.softmax(q @ k.mT, -1) * 2) @ v,
        lambda q, k, v: torch.softmax(q @ k.mT * q[..., :1], -1) @ v,
        lambda q, k, v: torch.softmax((q @ k.mT)[:, 0], -1) @ v[:, 0],
    ],
)
def test_what_is_something_else_stays_and_is_right(function):
    assert "attention" not in kinds(expect_torch_on(function, Q, K, V))


def test_probabilities_that_are_read_elsewhere_stay():
    def function(q, k, v):
        p = torch.softmax(q @ k.mT, -1)
        return p @ v, p * 1

    assert "attention" not in kinds(expect_torch_on(function, Q, K, V))

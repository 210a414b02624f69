from math import pi, sqrt

import pytest
import torch
from torch import nn

from compiled_functions import Calls, expect_torch_on
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes.fuse_gelu import fuse_gelu

FORMS = {
    "half last": lambda x: x * (1 + torch.erf(x / sqrt(2))) * 0.5,
    "half first": lambda x: x * 0.5 * (1.0 + torch.erf(x / sqrt(2.0))),
    "half of the gate": lambda x: x * ((torch.erf(x * 0.7071067811865476) + 1) * 0.5),
    "halved by division": lambda x: (x / 2) * (torch.erf(x / 1.4142135381698608) + 1),
}

K = sqrt(2 / pi)
TANH_FORMS = {
    "cube": lambda x: 0.5 * x * (1.0 + torch.tanh(K * (x + 0.044715 * torch.pow(x, 3.0)))),
    "square": lambda x: 0.5 * x * (1.0 + torch.tanh(x * 0.7978845608 * (1.0 + 0.044715 * x * x))),
    "bloom": lambda x: x * 0.5 * (1.0 + torch.tanh(0.79788456 * x * (1 + 0.044715 * x * x))),
    "half last": lambda x: x * (torch.tanh((x + x * x * x * 0.044715) * K) + 1) / 2,
    "torch": lambda x: nn.functional.gelu(x, approximate="tanh"),
}


def activations(compiled):
    return [str(node["activation"]).rpartition(".")[2] for node in compiled.nodes]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_it_is_one_activation_and_part_of_the_product_before(form):
    torch.manual_seed(0)
    model = Calls(lambda m, x: FORMS[form](m.layer(x)), layer=nn.Linear(6, 6))
    compiled = expect_torch_on(model, torch.randn(5, 6) * 3)
    assert activations(compiled) == ["gelu"]
    g = capture(model.eval(), (torch.randn(2, 6),), {})
    fuse_gelu(g)
    g.check()
    assert [node.activation for node in g if node.op == "activation"] == ["gelu"]


@pytest.mark.parametrize("form", TANH_FORMS)
def test_every_form_of_its_approximation_is_one_activation_and_part_of_the_product_before(form):
    torch.manual_seed(0)
    model = Calls(lambda m, x: TANH_FORMS[form](m.layer(x)), layer=nn.Linear(6, 6))
    compiled = expect_torch_on(model, torch.randn(5, 6) * 6)
    assert activations(compiled) == ["gelu_tanh"]
    g = capture(model.eval(), (torch.randn(2, 6),), {})
    fuse_gelu(g)
    g.check()
    assert [node.activation for node in g if node.op == "activation"] == ["gelu_tanh"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: 0.5 * x * (1 + torch.tanh(K * (x + 0.05 * x * x * x))),
        lambda x: 0.5 * x * (1 + torch.tanh(K * (x + 0.044715 * x * x))),
        lambda x: 0.5 * x * (1 + torch.tanh(K * (x + 0.044715 * x * x * x + 0.1))),
        lambda x: 0.5 * x * (1 + torch.tanh(K * (1 / x + 0.044715 * x * x * x))),
        lambda x: 0.5 * (x + 1) * (1 + torch.tanh(K * (x + 0.044715 * x * x * x))),
        lambda x: torch.tanh(K * (x + 0.044715 * x * x * x)),
    ],
)
def test_what_is_no_approximation_of_it_stays_and_is_right(function):
    torch.manual_seed(0)
    found = activations(expect_torch_on(function, torch.rand(5, 40) + 0.5))
    assert "tanh" in found
    assert "gelu_tanh" not in found


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * (1 + torch.erf(x)) * 0.5,
        lambda x: x * (2 + torch.erf(x / sqrt(2))) * 0.5,
        lambda x: x * (1 + torch.erf(x / sqrt(2))) * 0.25,
        lambda x: x * x * (1 + torch.erf(x / sqrt(2))),
        lambda x: (torch.erf(x / sqrt(2)) + 1) * 0.5,
        lambda x: torch.erf(x / sqrt(2)) + x,
    ],
)
def test_what_is_something_else_stays_and_is_right(function):
    torch.manual_seed(0)
    found = activations(expect_torch_on(function, torch.randn(5, 40) * 3))
    assert "erf" in found
    assert "gelu" not in found


def test_a_gate_that_is_read_elsewhere_stays():
    torch.manual_seed(0)

    def function(x):
        gate = torch.erf(x / sqrt(2)) + 1
        return x * gate * 0.5, gate * 1

    assert "gelu" not in activations(expect_torch_on(function, torch.randn(5, 40)))

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from compiled_functions import as_model, expect_torch_on
from language_models import language_model
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes.fuse_rms_norm import fuse_rms_norm


def kinds(compiled):
    return [node["operation"] for node in compiled.nodes]


def root(x, axes=(-1,), eps=1e-5):
    return torch.sqrt(x.pow(2).mean(axes, keepdim=True) + eps)


FORMS = {
    "product with the reciprocal root": lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
    "reciprocal root first": lambda x: torch.rsqrt(torch.mean(x * x, -1, keepdim=True) + 1e-6) * x,
    "product with the reciprocal": lambda x: x * torch.reciprocal(root(x)),
    "quotient": lambda x: x / root(x),
    "two axes": lambda x: x / root(x, (-2, -1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_it_is_one_operation(form):
    torch.manual_seed(0)
    x = torch.randn(5, 4, 6)
    assert kinds(expect_torch_on(FORMS[form], x)) == ["rms_norm"]
    g = capture(as_model(FORMS[form]), (x,), {})
    fuse_rms_norm(g)
    g.check()
    assert [node.op for node in g if node.op != "expand"] == ["rms_norm"]


@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_its_weight_is_taken_in(offset):
    """Plain (Llama, T5), and as what is added to 1 (Gemma)."""
    torch.manual_seed(0)
    weight, x = torch.randn(6), torch.randn(5, 4, 6)
    assert kinds(expect_torch_on(lambda x: (offset + weight) * (x * torch.reciprocal(root(x))), x)) == ["rms_norm"]
    assert kinds(expect_torch_on(lambda x: x / root(x) * (offset + weight), x)) == ["rms_norm"]


def test_that_of_torch_is_one_operation():
    torch.manual_seed(0)
    norm = nn.RMSNorm(6, eps=1e-5)
    with torch.no_grad():
        norm.weight.uniform_(-1, 1)
    x = torch.randn(5, 4, 6)
    assert kinds(expect_torch_on(norm, x)) == ["rms_norm"]
    assert kinds(expect_torch_on(nn.RMSNorm((4, 6), elementwise_affine=False), x)) == ["rms_norm"]
    assert kinds(expect_torch_on(lambda x: F.rms_norm(x, (6,)), x * 1e-3)) == ["rms_norm"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x / torch.sqrt((x * (x + 1)).mean(-1, keepdim=True) + 9),
        lambda x: (x + 1) / root(x),
        lambda x: x * (2 / root(x)),
        lambda x: root(x) / x,
        lambda x: x * root(x),
        lambda x: x / (x.pow(2).mean(-1, keepdim=True) + 1e-5),
        lambda x: x / torch.sqrt(x.pow(2).sum(-1, keepdim=True) + 1e-5),
    ],
)
def test_what_is_something_else_stays_and_is_right(function):
    torch.manual_seed(0)
    assert "rms_norm" not in kinds(expect_torch_on(function, torch.randn(5, 4, 6), tolerance=1e-4))


def test_what_is_read_elsewhere_stays():
    torch.manual_seed(0)

    def function(x):
        below = root(x)
        return x / below, below * 1

    assert "rms_norm" not in kinds(expect_torch_on(function, torch.randn(5, 4, 6)))


def test_a_weight_for_other_axes_stays_a_product():
    torch.manual_seed(0)
    weight = torch.rand(4, 1) + 0.5
    assert kinds(expect_torch_on(lambda x: x / root(x) * weight, torch.randn(5, 4, 6))) == ["rms_norm", "multiply"]


def test_a_norm_over_all_axes_but_none_of_the_batch_stays_right():
    torch.manual_seed(0)
    expect_torch_on(lambda x: x / root(x), torch.randn(5, 6))


@pytest.mark.parametrize(("family", "norms"), [("Llama", 5), ("Gemma", 5), ("Qwen3", 9), ("Gemma2", 9)])
def test_those_of_language_models_are_found(family, norms):
    model = language_model(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = engine.compile_decoder(model, capacity=16).decoder.compiled
    found = kinds(step)
    assert found.count("rms_norm") == norms
    assert "mean" not in found


def test_that_of_t5_is_found():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    norm = transformers.models.t5.modeling_t5.T5LayerNorm(6)
    with torch.no_grad():
        norm.weight.uniform_(-1, 1)
    assert kinds(expect_torch_on(norm, torch.randn(5, 4, 6))) == ["rms_norm"]

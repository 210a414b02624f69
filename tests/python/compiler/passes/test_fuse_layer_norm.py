import pytest
import torch

from compiled_functions import as_model, expect_torch_on
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes.fuse_layer_norm import fuse_layer_norm


def kinds(compiled):
    return [node["operation"] for node in compiled.nodes]


def taken_apart(x, axes=(-1,), eps=1e-5):
    apart = x - x.mean(axes, keepdim=True)
    return apart / torch.sqrt(torch.mean(apart * apart, axes, keepdim=True) + eps)


def test_it_is_one_operation_again_with_its_weight_and_bias():
    torch.manual_seed(0)
    weight, bias = torch.rand(6) + 0.5, torch.randn(6)
    x = torch.randn(5, 4, 6)
    assert kinds(expect_torch_on(lambda x: taken_apart(x), x)) == ["layer_norm"]
    assert kinds(expect_torch_on(lambda x: taken_apart(x) * weight + bias, x)) == ["layer_norm"]
    assert kinds(expect_torch_on(lambda x: taken_apart(x, (-2, -1)), x)) == ["layer_norm"]
    g = capture(as_model(lambda x: taken_apart(x)), (x,), {})
    fuse_layer_norm(g)
    g.check()
    assert [node.op for node in g] == ["layer_norm"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x - x.mean(-1, keepdim=True)) / torch.sqrt(torch.mean(x * x, -1, keepdim=True) + 1e-5),
        lambda x: (x - x.mean((-2, -1), keepdim=True)) / torch.sqrt(((x - x.mean(-1, keepdim=True)) ** 2).mean(-1, True) + 1),
        lambda x: (x - 1) / torch.sqrt(((x - 1) * (x - 1)).mean(-1, keepdim=True) + 1e-5),
    ],
)
def test_what_is_something_else_stays_and_is_right(function):
    torch.manual_seed(0)
    assert "layer_norm" not in kinds(expect_torch_on(function, torch.randn(5, 4, 6)))


def test_what_is_read_elsewhere_stays():
    torch.manual_seed(0)

    def function(x):
        apart = x - x.mean(-1, keepdim=True)
        return apart / torch.sqrt((apart * apart).mean(-1, keepdim=True) + 1e-5), apart * 1

    assert "layer_norm" not in kinds(expect_torch_on(function, torch.randn(5, 4, 6)))


def test_a_weight_for_other_axes_stays_a_product():
    torch.manual_seed(0)
    weight, bias = torch.rand(4, 1) + 0.5, torch.randn(6)
    found = kinds(expect_torch_on(lambda x: taken_apart(x) * weight + bias, torch.randn(5, 4, 6)))
    assert found[0] == "layer_norm"
    assert "multiply" in found

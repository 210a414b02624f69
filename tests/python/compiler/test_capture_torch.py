import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.unsupported import UnsupportedModel


class Calls(nn.Module):
    """A function of x as a model."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x):
        return self.function(self, x)


def ops(model, *shape):
    g = capture(model.eval(), (torch.randn(*shape),), {})
    g.check()
    return [node.op for node in g]


def test_modules_are_named_and_shapes_grow_with_the_batch():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5))
    g = capture(model.eval(), (torch.randn(4, 3, 8, 8),), {})
    assert [(n.op, n.path) for n in g] == [("conv2d", "0"), ("activation", "1"), ("reshape", "2"), ("linear", "3")]
    assert [str(s) for s in g.nodes[2].output.shape] == ["N", "128"]


def test_masks_are_applied():
    model = nn.Sequential(nn.Linear(16, 16))
    engine.prune(model, engine.Spec(sparsity=0.75))
    g = capture(model.eval(), (torch.randn(1, 16),), {})
    assert (g.nodes[0].weight == 0).sum() == 192


def test_dropout_and_identities_leave_nothing():
    assert ops(nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.Identity()), 2, 4) == ["linear"]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: m.a(x) + F.relu_(m.a(x)),
        lambda m, x: F.relu_(m.a(x)).mul_(2.0).add_(1.0),
        lambda m, x: (lambda y: y + F.relu_(y))(m.a(x)),  # the sum reads what relu_ changed, twice
        lambda m, x: torch.cat([m.a(x), x, m.a(x) - x], 1),
        lambda m, x: 2 * m.a(x) / 3 - 1,
        lambda m, x: m.a(x).mean(-1, keepdim=True) * x.new_ones(1) if False else m.a(x).mean(-1),
    ],
)
def test_functions_and_operations_in_place_compute_what_torch_does(function):
    model = Calls(function, a=nn.Linear(6, 6)).eval()
    x = torch.randn(3, 6)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(engine.compile(model, x)(x), expected, rtol=1e-5, atol=1e-6)


def test_an_operation_in_place_on_what_a_view_is_read_of_is_refused():
    def function(m, x):
        y = m.a(x)
        view = y.view(-1, 2, 3)
        y.relu_()
        return view.flatten(1) + y

    with pytest.raises(UnsupportedModel, match="in place on memory that a view is read of"):
        ops(Calls(function, a=nn.Linear(6, 6)), 3, 6)


def test_all_that_is_not_covered_is_named_at_once():
    model = Calls(lambda m, x: torch.erf(m.a(x)).cumsum(1), a=nn.Linear(6, 6))
    with pytest.raises(UnsupportedModel) as caught:
        ops(model, 3, 6)
    assert [one.operation for one in caught.value.refused] == ["erf", "cumsum"]


def test_control_flow_on_values_and_on_the_batch_is_refused():
    with pytest.raises(ValueError, match="Control flow must not depend on values"):
        ops(Calls(lambda m, x: m.a(x) if x.sum() > 0 else x, a=nn.Linear(6, 6)), 3, 6)
    with pytest.raises(ValueError, match="something else for a batch of 2"):
        ops(Calls(lambda m, x: m.a(x) if len(x) == 2 else F.relu(x), a=nn.Linear(6, 6)), 3, 6)


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("pads", [False, True])
@pytest.mark.parametrize(("size", "kernel", "stride", "padding"), [(9, 3, 2, 1), (10, 3, 2, 0), (7, 2, 2, 1), (8, 5, 3, 2)])
def test_pools_are_torchs(size, kernel, stride, padding, ceil, pads):
    pools = [nn.MaxPool2d(kernel, stride, padding, ceil_mode=ceil), nn.AvgPool2d(kernel, stride, padding, ceil, pads)]
    x = torch.randn(2, 11, size, size + 3)
    for pool in pools:
        torch.testing.assert_close(engine.compile(pool.eval(), x)(x), pool(x), rtol=1e-6, atol=1e-6)


def test_adaptive_pools_are_means_or_pools_of_equal_windows():
    assert ops(nn.AdaptiveAvgPool2d(1), 2, 3, 6, 6) == ["mean"]
    assert ops(nn.AdaptiveAvgPool2d(3), 2, 3, 6, 6) == ["average_pool"]
    with pytest.raises(UnsupportedModel, match="windows of different sizes"):
        ops(nn.AdaptiveAvgPool2d(4), 2, 3, 6, 6)


@pytest.mark.parametrize("padding", ["same", "valid", 2])
@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(3, 1, 1), (4, 1, 4), (3, 2, 2), ((1, 5), 1, 8)])
def test_convolutions_are_torchs(padding, kernel, dilation, groups):
    model = nn.Conv2d(8, 16, kernel, padding=padding, dilation=dilation, groups=groups).eval()
    x = torch.randn(2, 8, 9, 10)
    with torch.no_grad():
        torch.testing.assert_close(engine.compile(model, x)(x), model(x), rtol=1e-5, atol=1e-5)

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from compiled_functions import Calls, expect_torch
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.unsupported import UnsupportedModel


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
    model = Calls(lambda m, x: torch.erfinv(m.a(x)).cumprod(1), a=nn.Linear(6, 6))
    with pytest.raises(UnsupportedModel) as caught:
        ops(model, 3, 6)
    assert [one.operation for one in caught.value.refused] == ["erfinv", "cumprod"]


def test_what_depends_on_parameters_alone_is_computed_beforehand():
    table = torch.arange(12.0).reshape(2, 6)
    model = Calls(lambda m, x: x * m.table[1].view(1, -1) + torch.arange(6) / 2 + m.table.mean(), table=table)
    assert ops(model, 3, 6) == ["multiply", "add", "add"]
    expect_torch(model, (6,))
    expect_torch(Calls(lambda m, x: torch.cat([m.table[:1].expand(x.shape[0], -1), x], 1), table=table), (6,))


def test_what_is_drawn_at_random_is_refused():
    with pytest.raises(UnsupportedModel, match="rand"):
        ops(Calls(lambda m, x: x + torch.rand(6)), 3, 6)


def test_a_buffer_that_is_changed_in_place_is_refused():
    with pytest.raises((UnsupportedModel, ValueError)):
        ops(Calls(lambda m, x: x + m.table.add_(1), table=torch.zeros(6)), 3, 6)


BY_THE_BATCH = {
    "mul": lambda x: x * len(x),
    "div": lambda x: x / x.shape[0],
    "add": lambda x: torch.add(x, x, alpha=len(x)),
    "pow": lambda x: x ** len(x),
    "clamp": lambda x: x.clamp(max=len(x)),
    "roll": lambda x: x.roll(len(x), 1),
    "pad": lambda x: F.pad(x, (0, 1), value=len(x)),
    "select": lambda x: x[:, len(x)],
    "slice": lambda x: torch.arange(20.0)[len(x) : len(x) + 4] + x,
    "layer_norm": lambda x: F.layer_norm(x, (4,), eps=len(x)),
    "leaky_relu": lambda x: F.leaky_relu(x, len(x) * 0.1),
}


@pytest.mark.parametrize("operation", BY_THE_BATCH)
def test_a_number_that_is_the_batch_size_is_no_constant(operation):
    with pytest.raises(UnsupportedModel, match=rf"{operation} .*for a batch of 2 and .*for one of 3"):
        ops(Calls(lambda m, x: BY_THE_BATCH[operation](x)), 2, 4)


def test_with_a_fallback_torch_computes_what_depends_on_the_batch_size():
    model = Calls(lambda m, x: m.b(m.a(x) / len(x)), a=nn.Linear(4, 4), b=nn.Linear(4, 4)).eval()
    compiled = engine.compile(model, torch.randn(2, 4), fallback="torch")
    for batch in (1, 2, 3, 5):
        x = torch.randn(batch, 4)
        with torch.no_grad():
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-5, atol=1e-6)


def test_what_is_read_and_returned_is_the_same_at_every_batch_size():
    with pytest.raises(UnsupportedModel, match=r"cat .*with 2 tensors for a batch of 2 and 3 for one of 3"):
        ops(Calls(lambda m, x: torch.cat([x] * len(x), 1)), 2, 4)
    with pytest.raises(UnsupportedModel, match=r"mul .*with other"):
        ops(Calls(lambda m, x: (lambda parts: x * parts[len(x) % 2])([x.exp(), x.neg()])), 2, 4)
    with pytest.raises((UnsupportedModel, ValueError)):
        ops(Calls(lambda m, x: x.unbind(1)[len(x)]), 2, 4)
    with pytest.raises(ValueError, match="batch"):
        ops(Calls(lambda m, x: [x.exp(), x.neg()][len(x) % 2]), 2, 4)

import operator

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiled_functions import Calls, as_model, expect_torch, operations
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.compiled import CompiledModel
from sparse_engine.compiler.lower import lower
from sparse_engine.compiler.unsupported import UnsupportedModel


def shifted_mask(x):
    """As Swin makes it: numbers filled into slices, windows of them compared."""
    mask = x.new_zeros((4, 4))
    for number, (rows, columns) in enumerate(
        [(slice(0, 2), slice(0, 3)), (slice(2, 4), slice(0, 3)), (slice(0, 4), slice(3, 4))]
    ):
        mask[rows, columns] = number
    windows = mask.view(2, 2, 2, 2).permute(0, 2, 1, 3).reshape(4, 4)
    apart = windows.unsqueeze(1) - windows.unsqueeze(2)
    return x.view(-1, 1, 4, 1) + apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


def anchors(x):
    """As YOLO makes them: meshgrids of sizes, and a stride that is read from a tensor."""
    strides = torch.tensor([8.0, 16.0])
    points, scales = [], []
    for i, (height, width) in enumerate(((2, 3), (1, 2))):
        rows = torch.arange(height).type_as(x) + 0.5
        columns = torch.arange(width).type_as(x) + 0.5
        rows, columns = torch.meshgrid(rows, columns, indexing="ij")
        points.append(torch.stack((columns, rows), -1).view(-1, 2))
        scales.append(x.new_full((height * width, 1), strides[i].item()))
    return x.view(-1, 8, 2) * torch.cat(points) * torch.cat(scales)


def written_through_views(x):
    whole = torch.zeros(3, 4)
    row, column = whole[1], whole.t()[2]
    row.fill_(2.0)
    column.add_(1.0)
    whole[0, :2].copy_(torch.tensor([5.0, 6.0]))
    whole[torch.tensor([0, 2]), torch.tensor([3, 3])] = 9.0
    return x + whole + row + column[:1]


IN_PLACE = {
    "masks": (shifted_mask, (4,)),
    "anchors": (anchors, (16,)),
    "views": (written_through_views, (3, 4)),
    "a value made before a write keeps what there was": (lambda x: _read_twice(x), (4,)),
    "weights before and after": (lambda x: _two_products(x), (4,)),
    "activations": (lambda x: x + torch.linspace(-1, 1, 4).relu_().neg_(), (4,)),
    "several results": (lambda x: x * sum(torch.arange(8.0).view(2, 4).unbind()), (4,)),
    "parts": (lambda x: x * torch.arange(8.0).split([4, 3, 1])[0] + torch.arange(8.0).chunk(2)[1], (4,)),
    "parts that are written to": (lambda x: _written_parts(x), (4,)),
    "numbers of numbers": (lambda x: x + (torch.tensor(3).item() + 1) * 2, (4,)),
    "a size that is read from a tensor": (lambda x: x + torch.ones(torch.tensor([4, 2]).tolist()[0]), (4,)),
    "a tensor that lends its dtype": (lambda x: x * torch.arange(4).type_as(x), (4,)),
}


def _read_twice(x):
    offset = torch.ones(4)
    first = x + offset
    offset.mul_(5)
    return first * offset


def _two_products(x):
    weight = torch.eye(4)
    first = F.linear(x, weight)
    weight.mul_(3)
    return first + F.linear(x, weight)


def _written_parts(x):
    whole = torch.zeros(8)
    left, right = whole.chunk(2)
    left += 1
    right.fill_(2)
    return x + whole[2:6]


@pytest.mark.parametrize("name", IN_PLACE)
def test_constants_are_what_torch_makes_of_them(name):
    function, shape = IN_PLACE[name]
    expect_torch(function, shape)


def at_one_batch(function, x):
    """Of the example's batch size alone, where nothing grows; the graph."""
    graph = capture(as_model(function), (x,), {}, any_batch=False)
    found = CompiledModel(lower(graph, {}))(x.numpy())
    torch.testing.assert_close(torch.from_numpy(found), function(x), rtol=1e-5, atol=1e-6)
    return graph


def test_a_value_takes_the_place_of_a_constant_that_it_is_written_to():
    x = torch.randn(2, 4)

    def function(x):
        total = torch.zeros(2, 4)
        again = total.view(2, 4)
        total.add_(x * 2)
        return again * total + torch.zeros(2, 4)

    at_one_batch(function, x)
    at_one_batch(lambda x: torch.ones(4).add_(x[0]) + x, x)


def test_what_lends_its_shape_is_not_computed_for_that():
    graph = at_one_batch(
        lambda x: x + torch.ones(1, 4).expand_as(x.exp()).cumsum(1) + torch.arange(8.0).view_as(x), torch.ones(2, 4)
    )
    assert [node.op for node in graph] == ["activation", "add", "add"]


def test_they_leave_no_operation():
    assert operations(lambda x: x + written_through_views(torch.zeros(3, 4)), (2, 3, 4)) == ["add"]
    assert operations(lambda x: anchors(x) * 1.0, (2, 16)).count("multiply") == 3


def test_what_the_model_keeps_is_not_written_to():
    held = torch.zeros(4)
    for function in (
        lambda m, x: x + m.held.add_(1),
        lambda m, x: x + m.held[:2].fill_(1).sum(),
        lambda m, x: x + m.held.view(2, 2).t().relu_().sum(),
        lambda m, x: x + m.held.copy_(x[0]),
    ):
        with pytest.raises((UnsupportedModel, ValueError)):
            capture(Calls(function, held=held).eval(), (torch.randn(2, 4),), {})
    assert not held.any()
    layer = nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    with pytest.raises((UnsupportedModel, ValueError)):
        capture(
            Calls(lambda m, x: m.layer(x) + m.layer.weight.detach().mul_(2).sum(), layer=layer).eval(), (torch.randn(2, 4),), {}
        )
    torch.testing.assert_close(layer.weight.detach(), before)


def test_a_write_that_a_computed_view_would_have_to_see_is_refused():
    def seen_through_a_batch(x):
        row = torch.zeros(4)
        rows = row.expand(x.shape[0], 4)
        row.fill_(1.0)
        return x + rows

    def part_of_what_becomes_computed(x):
        whole = torch.zeros(1, 4)
        part = whole[:, :2]
        whole.add_(x[:1])
        return x[:, :2] + part

    def parts_of_what_becomes_computed(x):
        whole = torch.zeros(2, 4)
        left, right = whole.chunk(2, 1)
        whole.add_(x)
        return x[:, :2] + left + right

    for function, any_batch in (
        (seen_through_a_batch, True),
        (part_of_what_becomes_computed, False),
        (parts_of_what_becomes_computed, False),
    ):
        with pytest.raises(UnsupportedModel, match="in place on memory that a view is read of"):
            capture(as_model(function), (torch.randn(2, 4),), {}, any_batch=any_batch)


def test_what_grows_with_the_batch_is_no_constant():
    def counted(x):
        rows = torch.zeros(x.shape[0], 1)
        rows[0] = 7.0
        return x + rows

    with pytest.raises(UnsupportedModel):
        operations(counted, (2, 4))
    with pytest.raises(UnsupportedModel, match="full"):
        operations(lambda x: x + torch.full((1, 4), float(x.shape[0])), (2, 4))
    with pytest.raises(UnsupportedModel):
        operations(lambda x: x[:, :1] + torch.arange(x.shape[0] * 1.0).sum().item(), (2, 4))
    assert "expand" in operations(lambda x: x + torch.zeros_like(x), (2, 4))


def test_functions_of_numbers_outside_torch_are_followed():
    assert operator.add(torch.tensor(3).item(), 1) == 4
    expect_torch(lambda x: x * -torch.tensor(2.5).item(), (4,))

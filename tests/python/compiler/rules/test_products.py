import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from compiled_functions import as_model, expect_torch, expect_torch_on, operations
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.rules.products import integers

SQUARE = torch.arange(36.0).reshape(6, 6) / 36


@pytest.mark.parametrize("padding", ["same", "valid", 2])
@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(3, 1, 1), (4, 1, 4), (3, 2, 2), ((1, 5), 1, 8)])
def test_convolutions_are_torchs(padding, kernel, dilation, groups):
    expect_torch(nn.Conv2d(8, 16, kernel, padding=padding, dilation=dilation, groups=groups), (8, 9, 10))


@pytest.mark.parametrize("padding", ["same", "valid", 2])
@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(3, 1, 1), (4, 1, 4), (3, 2, 2), (1, 1, 8)])
def test_convolutions_of_one_axis_are_torchs(padding, kernel, dilation, groups):
    expect_torch(nn.Conv1d(8, 16, kernel, padding=padding, dilation=dilation, groups=groups), (8, 21))
    expect_torch(nn.Conv1d(8, 16, kernel, 3), (8, 40))


@pytest.mark.parametrize("padding", ["same", "valid", (1, 0, 2)])
@pytest.mark.parametrize(
    ("kernel", "dilation", "groups"), [(3, 1, 1), (1, 1, 2), ((3, 1, 1), 1, 1), ((1, 3, 3), 1, 8), ((2, 3, 1), (2, 1, 3), 2)]
)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_convolutions_of_three_axes_are_torchs(padding, kernel, dilation, groups):
    expect_torch(nn.Conv3d(8, 16, kernel, padding=padding, dilation=dilation, groups=groups), (8, 6, 7, 9))


def test_a_residual_network_over_volumes_is_its_products_and_a_mean():
    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.first, self.one = nn.Conv3d(channels, filters, 3, stride, 1, bias=False), nn.BatchNorm3d(filters)
            self.second, self.two = nn.Conv3d(filters, filters, 3, 1, 1, bias=False), nn.BatchNorm3d(filters)
            self.shortcut = nn.Sequential(nn.Conv3d(channels, filters, 1, stride, bias=False), nn.BatchNorm3d(filters))

        def forward(self, x):
            return F.relu(self.two(self.second(F.relu(self.one(self.first(x))))) + self.shortcut(x))

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(3, 8, (3, 5, 5), (1, 2, 2), (1, 2, 2), bias=False),
        nn.BatchNorm3d(8),
        nn.ReLU(),
        Block(8, 8, 1),
        Block(8, 12, 2),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm3d)):
        norm.running_mean.normal_(0, 0.2)
        norm.running_var.uniform_(0.5, 2)
    compiled = expect_torch_on(engine.prune(model, engine.Spec(sparsity=0.7)), torch.randn(5, 3, 6, 17, 15))
    assert [node["operation"] for node in compiled.nodes] == ["conv3d"] * 7 + ["mean", "reshape", "linear"]


def test_channels_of_volumes_that_nothing_reads_lose_their_weights():
    model = nn.Sequential(nn.Conv3d(3, 6, 3, bias=False), nn.ReLU(), nn.Conv3d(6, 4, (1, 3, 3), padding=(0, 1, 1)))
    with torch.no_grad():
        model[0].weight[2] = 0  # makes zeros
        model[2].weight[:, 4] = 0  # is not read
    compiled = expect_torch_on(model, torch.randn(5, 3, 5, 6, 7))
    assert [node["weight"][2] for node in compiled.nodes] == [4 * 81, 4 * 4 * 9]


def test_products_with_matrices_are_linear_layers():
    function = lambda x: torch.addmm(SQUARE[0], (x @ SQUARE).relu() @ SQUARE.t(), SQUARE)  # noqa: E731
    expect_torch(function, (6,))
    assert operations(function, (2, 6)) == ["linear", "activation", "linear", "linear"]
    expect_torch(lambda x: torch.matmul(x, SQUARE), (5, 3, 6))


def test_a_square_weight_and_its_transpose_are_two():
    g = capture(as_model(lambda x: F.linear(F.linear(x, SQUARE), SQUARE.t()) + F.linear(x, SQUARE)), (torch.randn(2, 6),), {})
    weights = [node.weight for node in g if node.op == "linear"]
    assert weights[0] is weights[2]
    assert (weights[0] == weights[1].T).all()


def test_weights_may_be_computed():
    expect_torch(lambda x: F.linear(x, x * 2), (6,))
    expect_torch(lambda x: x @ x.t(), (6,))


def test_a_number_stands_for_one_along_every_axis():
    assert integers(3, 2) == integers([3], 2) == (3, 3)
    assert integers((1, 2), 2) == (1, 2)


@pytest.mark.parametrize(
    ("a", "b"),
    [((4, 6), (6, 5)), ((3, 4, 6), (3, 6, 5)), ((3, 4, 6), (1, 6, 5)), ((2, 1, 4, 6), (3, 6, 5))],
)
def test_products_of_two_computed_values_are_torchs(a, b):
    one = len(b) < len(a)
    expect_torch(lambda x, y: torch.matmul(x, y[:, None] if one else y), a, b)
    turned = (*b[:-2], b[-1], b[-2])
    expect_torch(lambda x, y: torch.matmul(x, (y[:, None] if one else y).transpose(-1, -2)), a, turned)


def test_a_constant_first_factor_and_a_computed_weight_are_multiplied():
    torch.manual_seed(0)
    left = torch.randn(4, 6)
    expect_torch(lambda x: left @ x, (6, 5))
    vector = torch.randn(6)
    expect_torch(lambda x: vector @ x, (6, 5))
    expect_torch(lambda x: x @ vector, (6,))
    expect_torch(lambda x: x @ vector, (3, 6))
    expect_torch(lambda x, y: torch.baddbmm(torch.ones(5), x, y, beta=0.5, alpha=2), (4, 6), (6, 5))

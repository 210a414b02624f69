import pytest
import torch
from torch import nn
from torch.nn import functional as F

from compiled_functions import as_model, expect_refused, expect_torch, expect_torch_on, operations

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU6(),
    nn.SiLU(),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.Hardswish(),
    nn.Hardsigmoid(),
    nn.Mish(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.LeakyReLU(),
    nn.LeakyReLU(0.2, inplace=True),
    nn.LeakyReLU(1.5),
    nn.ELU(),
    nn.ELU(0.5),
    nn.SELU(),
    nn.CELU(1.7),
    nn.Softplus(),
    nn.Softplus(2.0, 30),
    nn.PReLU(),
    nn.PReLU(6),
    nn.GLU(1),
    nn.Softmax(1),
    nn.Softmax(-1),
    nn.Softmin(2),
]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activations_are_torchs_alone_and_behind_products(activation):
    with torch.no_grad():
        for weight in activation.parameters():
            weight.copy_(torch.linspace(-0.5, 1.5, weight.numel()))
    expect_torch(lambda x: activation(x * 4), (6, 5, 7))
    expect_torch(nn.Sequential(nn.Conv2d(3, 6, 1), activation), (3, 5, 7))


def test_those_of_mobile_networks_are_one_operation():
    for function in (F.hardswish, F.hardsigmoid, F.silu, F.relu6, F.leaky_relu, F.mish, F.elu):
        assert operations(function, (2, 5)) == ["activation"]


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_is_one_operation_either_way(approximate):
    assert operations(nn.GELU(approximate), (2, 5)) == ["activation"]


def test_parameters_that_change_what_is_computed_are_refused():
    expect_refused(lambda x: F.softplus(x, 1, 5), (2, 4), operation="softplus", reason="a threshold of 5")
    expect_refused(lambda x: torch.ops.aten.elu(x, 1, 1, 2), (2, 4), operation="elu", reason="input_scale 2")
    expect_refused(torch.erfinv, (2, 4), operation="erfinv")
    expect_torch(torch.erf, (40,))


def test_sines_and_cosines_are_torchs_near_and_far():
    expect_torch(lambda x: torch.sin(x * 30) + torch.cos(x * 1000), (40,))
    expect_torch(nn.Sequential(nn.Linear(6, 6), as_model(torch.sin), nn.Linear(6, 3)), (6,))

    def embedding(steps):  # of diffusion models
        rates = torch.exp(-torch.arange(8) / 8 * 9.21)
        angles = steps[:, None].float() * rates[None]
        return torch.cat([angles.sin(), angles.cos()], -1)

    expect_torch_on(embedding, torch.tensor([0, 1, 20, 500, 999]))

"""What tests of removed channels share: the network with zeros that a smaller one has to agree with."""

import copy

import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine

SPEC = engine.Spec(sparsity=0.3, granularity="channel")


def size(model):
    return sum(p.numel() for p in model.parameters())


def with_zeros(model, smaller):
    """The original with zeros at all indices that are not left in the smaller one, in float64; by its record alone."""
    zeroed = copy.deepcopy(model).double()
    tensors = dict(zeroed.named_parameters())
    for name, dims in engine.channels.removed_channels(smaller).items():
        for dim, entry in dims.items():
            if name in tensors:
                gone = [i for i in range(entry["size"]) if i not in set(entry["left"])]
                tensors[name].data.index_fill_(int(dim), torch.tensor(gone), 0)
    return zeroed


@torch.no_grad()
def assert_same(model, smaller, *inputs):
    expected, found = with_zeros(model, smaller)(*inputs), copy.deepcopy(smaller).double()(*inputs)
    expected, found = (y[0] if isinstance(y, tuple) else y for y in (expected, found))
    assert float(expected.abs().max()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


class Between(nn.Module):
    """Two convolutions and something in between."""

    def __init__(self, between, channels=12):
        super().__init__()
        self.a, self.between, self.b = nn.Conv2d(3, channels, 1), between, nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        return self.b(F.relu(self.between(F.relu(self.a(x)))))


def shrunk(model, x, spec=SPEC):
    torch.manual_seed(1)
    model.eval()
    smaller = engine.prune(copy.deepcopy(model), spec, example_inputs=x[:1])
    assert_same(model, smaller, x.double())
    return smaller


class Does(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)

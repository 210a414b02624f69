"""A model and a score of it, where other processes can import them."""

import torch
from torch import nn


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(40, 60), nn.ReLU(), nn.Linear(60, 50), nn.ReLU(), nn.Linear(50, 3))


X = torch.randn(64, 40, generator=torch.Generator().manual_seed(1))
TRUTH = network().eval()(X).detach()


def evaluate(model):
    """How near the outputs stay to the original's, at most 0."""
    return -float((model(X) - TRUTH).square().mean().detach())

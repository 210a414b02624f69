import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.divergence import first_divergence, values_in_torch
from sparse_engine.compiler.passes import PASSES


class Block(nn.Module):
    """Fused residuals and activations, one of them in place."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 5)

    def forward(self, x, scale):
        x = self.first(x)
        return self.head(F.relu(self.second(x) + x).mean((2, 3))) * scale


def rewritten(model, x, scale):
    g = capture(model, (x,), {"scale": scale})
    for rewrite in PASSES:
        rewrite(g)
    return g


@pytest.mark.parametrize(("damaged", "path"), [(0, "first.0"), (1, "second.0"), (3, "head")])
def test_the_first_node_that_differs_is_found_behind_folds_and_fusions(damaged, path):
    torch.manual_seed(0)
    model = Block().eval()
    x, scale = torch.randn(4, 3, 6, 7), torch.rand(4, 1) + 0.5
    scale = scale.expand(4, 5).contiguous()
    g = rewritten(model, x, scale)
    assert first_divergence(g, model, (x,), {"scale": scale}, 1e-4) is None
    node = g.nodes[damaged]
    assert node.path == path
    node.bias = node.bias + 0.05
    first = first_divergence(g, model, (x,), {"scale": scale}, 1e-4)
    assert (first.node, first.number) == (node, damaged)
    assert 1e-3 < first.error < 1


def test_values_are_those_at_their_operation_not_what_a_later_one_in_place_leaves():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True)).eval()
    x = torch.randn(3, 4)
    values = values_in_torch(model, (x,), {})
    before = F.linear(x, model[0].weight, model[0].bias).detach().numpy()
    np.testing.assert_array_equal(values["linear"], before)
    np.testing.assert_array_equal(values["relu_"], np.maximum(before, 0))

import torch
from torch import nn
from torch.nn import functional

import sparse_engine as engine


class Grouped(nn.Module):
    """Two heads of keys and values, each repeated for two of queries, in turn or one group after the other."""

    def __init__(self, in_turn):
        super().__init__()
        self.in_turn = in_turn

    def repeated(self, x):
        if self.in_turn:
            return x[:, None].expand(-1, 2, -1, -1, -1).reshape(x.shape[0], 4, 5, 8)
        return x[:, :, None].expand(-1, -1, 2, -1, -1).reshape(x.shape[0], 4, 5, 8)

    def forward(self, q, k, v):
        return functional.scaled_dot_product_attention(q, self.repeated(k), self.repeated(v))


def compiled_and_error(in_turn):
    model = Grouped(in_turn).eval()
    args = torch.randn(3, 4, 6, 8), torch.randn(3, 2, 5, 8), torch.randn(3, 2, 5, 8)
    compiled = engine.compile(model, args)
    return [node["operation"] for node in compiled.nodes], float((compiled(*args) - model(*args)).abs().max())


def test_repeated_heads_are_read_where_they_lie():
    made, error = compiled_and_error(in_turn=False)
    assert made == ["attention"]
    assert error < 1e-5


def test_heads_repeated_in_another_order_stay_copies():
    made, error = compiled_and_error(in_turn=True)
    assert "expand" in made
    assert error < 1e-5

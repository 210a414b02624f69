import pytest
import torch
from torch import nn
from torch.nn import functional

from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.open_axis import OpenAxis
from sparse_engine.compiler.passes import PASSES

KEYS = 7


class Masked(nn.Module):
    """Attention that shows what `shows(numbers of keys, position)` says."""

    def __init__(self, shows):
        super().__init__()
        self.shows = shows

    def forward(self, q, position, k, v):
        seen = self.shows(torch.arange(KEYS)[None, :], position[:, None])
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=seen[None, None])


UP_TO = {
    "rows <= at": lambda rows, at: rows <= at,
    "at >= rows": lambda rows, at: at >= rows,
}
OTHERS = {
    "below": lambda rows, at: rows < at + 0,
    "a window": lambda rows, at: (rows <= at) & (rows > at - 3),
    "from there on": lambda rows, at: at <= rows,
    "every other one": lambda rows, at: 2 * rows <= at,
}


def graph_of(shows):
    args = torch.randn(1, 2, 2, 8), torch.arange(2), torch.randn(1, 2, KEYS, 8), torch.randn(1, 2, KEYS, 8)
    graph = capture(Masked(shows).eval(), args, {}, opened=OpenAxis(axes=(2, 0, None, None)))
    for rewrite in PASSES:
        rewrite(graph)
        graph.check()
    return graph


@pytest.mark.parametrize("name", UP_TO)
def test_keys_up_to_a_position(name):
    assert [node.op for node in graph_of(UP_TO[name])] == ["reshape", "attention"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_masks_stay_masks(name):
    attention = graph_of(OTHERS[name]).nodes[-1]
    assert attention.op == "attention"
    assert attention.numbers[4] == 0


@pytest.mark.parametrize("name", [*UP_TO, *OTHERS])
def test_both_compute_what_torch_does(name):
    from sparse_engine.compiler.compiled import CompiledModel
    from sparse_engine.compiler.lower import lower

    model = Masked((UP_TO | OTHERS)[name]).eval()
    compiled = CompiledModel(lower(graph_of(model.shows), {}))
    for tokens in (1, 2, 5, 40):
        args = (
            torch.randn(1, 2, tokens, 8),
            torch.randint(0, KEYS, (tokens,)),
            torch.randn(1, 2, KEYS, 8),
            torch.randn(1, 2, KEYS, 8),
        )
        expected = torch.nan_to_num(model(*args))  # rows that see nothing
        assert (compiled(*args) - expected).abs().max() < 1e-5

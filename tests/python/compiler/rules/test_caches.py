import pytest
import torch
from torch import nn

import sparse_engine as engine


def inputs(batch):
    return torch.randn(batch, 2, 5, 4), torch.randn(batch, 2, 3, 4)


class OfConstantNumbers(nn.Module):
    def forward(self, past, rows):
        return past.index_copy(2, torch.tensor([4, 0, 2]), rows)


def test_rows_take_the_place_of_those_with_their_numbers():
    model = OfConstantNumbers().eval()
    compiled = engine.compile(model, inputs(2))
    assert [node["operation"] for node in compiled.nodes] == ["write_rows"]
    past, rows = inputs(3)
    assert torch.equal(compiled(past, rows), model(past, rows))


def test_other_axes_are_refused():
    class Wrong(nn.Module):
        def forward(self, past, columns):
            return past.index_copy(3, torch.tensor([1, 0, 2]), columns)

    with pytest.raises(engine.UnsupportedModel, match="rows of a cache"):
        engine.compile(Wrong().eval(), (torch.randn(2, 2, 5, 4), torch.randn(2, 2, 5, 3)))

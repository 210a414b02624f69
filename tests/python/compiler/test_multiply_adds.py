import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from sparse_engine.compiler.exporting import exports
from sparse_engine.compiler.multiply_adds import multiply_adds


class Of(nn.Module):
    def __init__(self, function, layer=None):
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x):
        return self.function(x) if self.layer is None else self.layer(x)


CASES = [
    (Of(None, nn.Linear(4, 7)), (2, 3, 4), 2 * 3 * 4 * 7),
    (Of(None, nn.Conv2d(4, 6, 3, groups=2)), (2, 4, 8, 8), 2 * 6 * 6 * 6 * 2 * 9),
    (Of(None, nn.Conv3d(2, 3, 2)), (2, 2, 4, 4, 4), 2 * 3 * 27 * 2 * 8),
    (Of(None, nn.ConvTranspose2d(4, 6, 3, stride=2)), (2, 4, 5, 5), 2 * 4 * 25 * 6 * 9),
    (Of(lambda x: x @ x.transpose(1, 2)), (2, 3, 5), 2 * 3 * 3 * 5),
    (Of(lambda x: torch.einsum("bik,bjk->bij", x, x)), (2, 3, 5), 2 * 3 * 3 * 5),
    (Of(lambda x: F.scaled_dot_product_attention(x, x, x)), (2, 4, 5, 8), 2 * 2 * 4 * 5 * 5 * 8),
    (Of(lambda x: torch.sort(x)[0]), (2, 3), 0),
]


@pytest.mark.parametrize(("model", "shape", "expected"), CASES)
def test_products_are_counted_from_their_shapes(model, shape, expected):
    program = exports(model.eval(), (torch.randn(shape),), {}, False)[0]
    assert sum(map(multiply_adds, program.graph.nodes)) == expected


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_count_each_step(kind, gates):
    model = Of(None, kind(5, 6, num_layers=2, batch_first=True))
    program = exports(model.eval(), (torch.randn(2, 7, 5),), {}, False)[0]
    assert sum(map(multiply_adds, program.graph.nodes)) == 2 * 7 * gates * 6 * (5 + 6 + 6 + 6)


def test_a_refusal_says_what_share_of_the_model_it_is():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.volume = nn.Linear(8, 8), nn.ConvTranspose3d(1, 1, 1)

        def forward(self, x):
            return torch.sort(self.volume(self.layer(x)))[0]

    with pytest.raises(engine.UnsupportedModel) as error:
        engine.compile(Net().eval(), torch.randn(2, 1, 2, 2, 8))
    conv, sort = error.value.refused
    assert (conv.operation, conv.multiply_adds, sort.multiply_adds) == ("conv_transpose3d", 2 * 4 * 8, 0)
    assert error.value.multiply_adds == 2 * 4 * 8 * (8 + 1)
    assert "conv_transpose3d (1×, 11.1% of the multiply-adds, in volume)" in str(error.value)
    assert "sort (1×, in the model itself)" in str(error.value)

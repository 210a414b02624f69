"""What `torch.jit.script` compiles for pruned layers computes what the plain ones do."""

import io

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn import scripted  # noqa: E402

LAYERS = {
    "linear": (lambda: nn.Linear(8, 8), (4, 8)),
    "convolution": (lambda: nn.Conv2d(3, 8, 3), (2, 3, 8, 8)),
    "convolution over one axis": (lambda: nn.Conv1d(3, 8, 3), (2, 3, 8)),
    "three axes": (lambda: nn.Conv3d(2, 4, 2), (1, 2, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 8, 3), (2, 3, 8, 8)),
    "LSTM": (lambda: nn.LSTM(8, 16), (5, 2, 8)),
    "GRU": (lambda: nn.GRU(8, 16), (5, 2, 8)),
}


def pruned(make):
    torch.manual_seed(0)
    return engine.prune(nn.Sequential(make()), engine.Spec(sparsity=0.5)).eval()


def first(result):
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_is_that_of_the_plain_layer(make, shape):
    model, x = pruned(make), torch.randn(shape)
    scripted = torch.jit.script(model)
    file = io.BytesIO()
    torch.jit.save(scripted, file)
    file.seek(0)
    torch.testing.assert_close(first(torch.jit.load(file)(x)), first(model(x)))
    assert engine.masks(model), "the model itself stays under its masks"


OPTIONS = {
    "plain": {},
    "deep, both ways": {"num_layers": 2, "bidirectional": True},
    "batch first": {"batch_first": True},
    "without biases": {"bias": False},
}


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("batch", [2, None])
@pytest.mark.parametrize("given", [False, True])
def test_the_sources_of_recurrent_layers_are_torchs_own_arithmetic(kind, options, batch, given):
    torch.manual_seed(0)
    layer = kind(4, 6, **options).eval()
    source = scripted.lstm if kind is nn.LSTM else scripted.gru
    steps = (5,) if batch is None else (batch, 5) if options.get("batch_first") else (5, batch)
    x = torch.randn(*steps, 4)
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    state = torch.randn(count, 6) if batch is None else torch.randn(count, batch, 6)
    states = None if not given else (state, state + 1) if kind is nn.LSTM else state
    found, expected = source(layer, x, states), layer(x, states)
    assert isinstance(found[1], tuple) == (kind is nn.LSTM)
    for a, b in zip(flat(found), flat(expected), strict=True):
        assert a.shape == b.shape
        assert torch.equal(a, b)


def flat(value):
    return [value] if isinstance(value, torch.Tensor) else [tensor for part in value for tensor in flat(part)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, of projections
def test_projections_begin_with_states_of_their_width():
    layer = nn.LSTM(4, 6, proj_size=3)
    for a, b in zip(flat(scripted.lstm(layer, x := torch.randn(5, 2, 4))), flat(layer(x)), strict=True):
        assert torch.equal(a, b)


def test_dropout_between_layers_follows_training():
    layer, x = nn.GRU(4, 6, 2, dropout=0.5), torch.randn(5, 2, 4)
    torch.manual_seed(1)
    found = scripted.gru(layer.train(), x)[0]
    torch.manual_seed(1)
    assert torch.equal(found, layer(x)[0])
    assert not torch.equal(found, scripted.gru(layer.eval(), x)[0])


def test_only_the_source_is_borrowed():
    class Base(nn.Module):
        def forward(self, x, *, scale=2):
            """Its own."""
            return x * scale

    class Pruned(Base):
        pass

    def plain(self, x):
        return x

    scripted.script_as(Pruned, plain)
    assert Pruned()(3) == 6
    assert Pruned()(3, scale=1) == 3
    assert Pruned.forward.__doc__ == "Its own."
    assert Pruned.forward.__qualname__.endswith("Pruned.forward")
    assert Pruned.forward.__wrapped__ is plain
    assert not hasattr(Base.forward, "__wrapped__"), "the class it came from is as it was"

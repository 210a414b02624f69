"""Sequences of any length: another axis than the batch is open."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparse_engine as engine
from compiled_functions import Calls
from sparse_engine.compiler.unsupported import UnsupportedModel

LONGEST = 24
LENGTHS = (1, 2, 3, 7, 23, 24)


class Encoder(nn.Module):
    """Tokens and their positions, a layer of attention, and what `end` makes of the result."""

    def __init__(self, end, causal=False):
        super().__init__()
        self.words, self.positions = nn.Embedding(50, 16), nn.Embedding(LONGEST, 16)
        self.packed, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 16), nn.LayerNorm(16)
        self.end, self.causal = end, causal
        self.register_buffer("numbers", torch.arange(LONGEST)[None])

    def forward(self, ids):
        length = ids.shape[1]
        x = self.words(ids) + self.positions(self.numbers[:, :length])
        q, k, v = self.packed(x).view(ids.shape[0], length, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mask = torch.ones(length, length).tril().log() if self.causal else None
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return self.end(self.norm(x + self.out(y.transpose(1, 2).flatten(2))))


def tokens(length, batch=1):
    return torch.randint(0, 50, (batch, length), generator=torch.Generator().manual_seed(length))


def expect_every_length(model, compiled, batch=1):
    given = [tokens(length, batch) for length in LENGTHS]
    found = []
    for length, x in zip(LENGTHS, given, strict=True):
        found.append(compiled(x))
        with torch.no_grad():
            torch.testing.assert_close(found[-1], model(x), rtol=1e-5, atol=1e-5, msg=lambda m, n=length: f"{n}: {m}")
    for threads in (1, 2, 3):
        for length, together, alone in zip(LENGTHS * 2, compiled.with_threads(threads)(given * 2), found * 2, strict=True):
            close = 0 if length > 8 else 1e-5  # few columns alone are for kernels that sum in another order
            torch.testing.assert_close(together, alone, rtol=close, atol=close)


ENDS = {
    "as it is": lambda y: y,
    "first token": lambda y: y[:, 0],
    "first two, or one": lambda y: y[:, :1].flatten(1),
    "mean": lambda y: y.mean(1),
    "softmax over tokens": lambda y: (y.softmax(1) * y).sum(1),
    "running sum": lambda y: y.cumsum(1),
    "positions again": lambda y: y * torch.arange(y.shape[1])[None, :, None],
    "every second channel": lambda y: y[..., ::2].transpose(1, 2).contiguous().transpose(1, 2),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_sequences_of_every_length(end, batch):
    torch.manual_seed(0)
    model = Encoder(ENDS[end], causal=end == "mean").eval()
    if end == "running sum" and batch > 1:
        batch = 1
    compiled = engine.compile(model, tokens(5, batch), open_axis=1, longest=LONGEST)
    assert compiled.inputs[0].shape == (batch, "N")
    expect_every_length(model, compiled, batch)


def test_lists_are_sequences_and_files_keep_it(tmp_path):
    torch.manual_seed(0)
    model = engine.prune(Encoder(ENDS["as it is"]), engine.Spec(sparsity=0.6, exclude=["words", "positions"])).eval()
    compiled = engine.compile(model, tokens(5), open_axis=1, longest=LONGEST)
    compiled.save(tmp_path / "m.sparse")
    loaded = engine.load_compiled(tmp_path / "m.sparse")
    given = [tokens(n).numpy() for n in (4, 1, 24)]
    for found, one in zip(loaded(given), given, strict=True):
        with torch.no_grad():
            np.testing.assert_allclose(found, model(torch.from_numpy(one)).numpy(), rtol=1e-5, atol=1e-5)
    assert compiled([]) == []
    assert [one.shape for one in compiled([tokens(0), tokens(3), tokens(0)])] == [(1, 0, 16), (1, 3, 16), (1, 0, 16)]
    with pytest.raises(ValueError, match=r"element 3 of input .* is 50"):
        compiled([tokens(2), torch.tensor([[1, 2, 3, 50]])])
    with pytest.raises(ValueError, match="the model holds 24 positions"):
        compiled([tokens(2), tokens(25)])
    with pytest.raises(TypeError, match="takes numpy arrays"):
        engine.compile(nn.Linear(4, 4).eval(), torch.randn(1, 4))([np.zeros((1, 4), np.float32)])


def test_a_sequence_beyond_the_longest_is_refused_and_the_next_one_runs():
    model = Encoder(ENDS["as it is"]).eval()
    compiled = engine.compile(model, tokens(5), open_axis=1)  # as long as the example
    with pytest.raises(ValueError, match=r"the model holds 5 positions.*needs 6"):
        compiled(tokens(6))
    assert compiled(tokens(5)).shape == (1, 5, 16)


def test_longest_beyond_what_the_model_holds_is_refused():
    model = Encoder(ENDS["as it is"]).eval()
    compiled = engine.compile(model, tokens(5), open_axis=1, longest=LONGEST + 1)  # slices end where their tensors do
    with pytest.raises(ValueError, match="the model holds 24 positions"):
        compiled(tokens(LONGEST + 1))
    table = Calls(lambda m, x: m.a(torch.arange(x.shape[1]))[None] + x, a=nn.Embedding(9, 4)).eval()
    with pytest.raises(ValueError, match="longest is 10, for which embedding in a fails"):
        engine.compile(table, torch.randn(1, 5, 4), open_axis=1, longest=10)


def test_what_is_no_beginning_of_the_longest_is_refused():
    reverse = Calls(lambda m, x: x * torch.arange(x.shape[1]).flip(0).float(), a=nn.Linear(1, 1))
    with pytest.raises(UnsupportedModel, match="flip"):
        engine.compile(reverse.eval(), torch.randn(1, 5), open_axis=1, longest=9)


def test_other_reductions_over_the_open_axis_are_refused():
    model = Calls(lambda m, x: m.a(x).amax(1), a=nn.Linear(4, 4)).eval()
    with pytest.raises(UnsupportedModel, match="amax"):
        engine.compile(model, torch.randn(1, 5, 4), open_axis=1)


@pytest.mark.parametrize(
    "options",
    [{"open_axis": -1}, {"longest": 4}, {"open_axis": 1, "longest": 0}, {"open_axis": 1, "fallback": "torch"}],
)
def test_options_that_do_not_go_together(options):
    with pytest.raises(ValueError, match="open_axis is"):
        engine.compile(nn.Linear(4, 4).eval(), torch.randn(2, 3, 4), **options)


def test_an_axis_that_no_input_has():
    with pytest.raises(ValueError, match="none of the example inputs has so many axes"):
        engine.compile(nn.Linear(4, 4).eval(), torch.randn(2, 4), open_axis=2)


@pytest.mark.filterwarnings("ignore")
def test_onnx(tmp_path):
    torch.manual_seed(0)
    model = Encoder(ENDS["as it is"]).eval()
    path = tmp_path / "m.onnx"
    names = {"input_names": ["ids"], "output_names": ["y"]}
    axes = {"ids": {0: "n", 1: "t"}, "y": {0: "n", 1: "t"}}
    torch.onnx.export(model, (tokens(6, 2),), str(path), dynamic_axes=axes, dynamo=False, **names)
    expect_every_length(model, engine.compile(path, tokens(5), open_axis=1, longest=LONGEST))
    torch.onnx.export(model, (tokens(6, 2),), str(path), dynamic_axes={"ids": {0: "n"}}, dynamo=False, **names)
    with pytest.raises(ValueError, match="the file fixes that axis"):
        engine.compile(path, tokens(6), open_axis=1)

import pytest
import torch
from torch import nn

import sparse_engine as engine
from compiled_functions import Calls, expect_refused, expect_torch, operations
from sparse_engine.compiler.capture_torch import capture

KINDS = [nn.LSTM, nn.GRU]


class Layer(nn.Module):
    """A layer with all of its results, batch first; a state that is given comes (N, layers, H)."""

    def __init__(self, kind, *sizes, reads=(0, 1, 2), **options):
        super().__init__()
        self.layer, self.reads = kind(*sizes, **options), reads

    def forward(self, x, *states):
        turn = (lambda v: v) if self.layer.batch_first else (lambda v: v.transpose(0, 1))
        given = tuple(state.transpose(0, 1) for state in states)
        y, after = self.layer(turn(x), (given if len(given) > 1 else given[0]) if given else None)
        after = after if isinstance(after, tuple) else (after,)
        results = [turn(y), *(state.transpose(0, 1) for state in after)]
        return tuple(result for i, result in enumerate(results) if i in self.reads)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("layers", [1, 2])
def test_layers_are_torchs(kind, layers, bidirectional, batch_first, bias):
    options = {"num_layers": layers, "bidirectional": bidirectional, "batch_first": batch_first, "bias": bias}
    expect_torch(Layer(kind, 6, 17, **options), (4, 6))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bidirectional", [True, False])
def test_layers_begin_with_the_state_they_are_given(kind, bidirectional):
    count = 2 * (2 if bidirectional else 1)
    states = [(count, 16)] * (2 if kind is nn.LSTM else 1)
    expect_torch(Layer(kind, 6, 16, 2, bidirectional=bidirectional, batch_first=True), (4, 6), *states)
    expect_torch(Layer(kind, 6, 16, 2, bidirectional=bidirectional), (1, 6), *states)


@pytest.mark.parametrize("reads", [(0,), (1,), (2,), (0, 2), (1, 2)])
def test_what_is_not_read_is_not_kept(reads):
    model = Layer(nn.LSTM, 6, 16, reads=reads, batch_first=True)
    expect_torch(model, (4, 6))
    program = engine.compile(model.eval(), torch.randn(2, 4, 6))
    (node,) = [node for node in program.nodes if node["operation"] == "lstm"]
    assert node["shape"][1] == ((5 if 2 in reads else 4), 0)


def test_an_output_alone_costs_two_nodes():
    assert operations(Calls(lambda m, x: m.gru(x)[0], gru=nn.GRU(6, 16)), (2, 4, 6)) == ["linear", "gru"]
    program = engine.compile(
        Layer(nn.LSTM, 6, 16, reads=(0,), batch_first=True, bidirectional=True).eval(), torch.randn(2, 4, 6)
    )
    assert [node["operation"] for node in program.nodes] == ["linear", "lstm"]


def test_a_learned_state_is_expanded():
    start = torch.randn(1, 1, 16)
    model = Calls(
        lambda m, x: m.gru(x, m.start.expand(-1, x.shape[0], -1))[0], gru=nn.GRU(6, 16, batch_first=True), start=start
    )
    expect_torch(model, (4, 6))


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("bias", [True, False])
def test_cells_are_torchs(kind, bias):
    def steps(m, x):
        state, outputs = None, []
        for t in range(x.shape[1]):
            state = m.cell(x[:, t], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1), *(state if isinstance(state, tuple) else (state,))

    model = Calls(steps, cell=kind(6, 16, bias=bias))
    expect_torch(model, (3, 6))
    g = capture(model.eval(), (torch.randn(2, 3, 6),), {})
    weights = {id(node.weight) for node in g if node.weight is not None}
    assert len(weights) == 2, "steps share their weights"


@pytest.mark.parametrize("kind", KINDS)
def test_pruned_layers_stay_sparse_and_survive_a_file(kind, tmp_path):
    torch.manual_seed(0)
    model = Layer(kind, 32, 64, 2, bidirectional=True, batch_first=True).eval()
    engine.prune(model, engine.Spec(sparsity=0.9, scope="layer"))
    x = torch.randn(3, 5, 32)
    compiled = engine.compile(model, x)
    products = [node for node in compiled.nodes if node["weight"] is not None]
    assert len(products) == 4
    for node in products:
        rows, columns, kept = node["weight"]
        assert kept == pytest.approx(0.1 * rows * columns, rel=0.01)
    compiled.save(tmp_path / "model.sparse")
    loaded = engine.load_compiled(tmp_path / "model.sparse")
    for a, b, expected in zip(loaded(x), compiled(x), model(x), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(a, expected, rtol=1e-5, atol=1e-5)


def test_steps_may_be_what_grows_where_no_last_state_is_read():
    """The first axis is the batch of a program: of a layer that is not batch first these are its steps."""
    expect_torch(Calls(lambda m, x: m.lstm(x)[0], lstm=nn.LSTM(6, 16, bidirectional=True)), (2, 6))
    expect_refused(nn.LSTM(6, 16), (2, 3, 6), operation="lstm", reason="steps depend on the batch size")


def test_dropout_between_layers_is_for_training_only():
    expect_torch(Layer(nn.LSTM, 6, 16, 2, dropout=0.5, batch_first=True), (4, 6))


def test_projections_are_refused():
    expect_refused(nn.LSTM(6, 16, proj_size=4, batch_first=True), (2, 3, 6), operation="lstm", reason="proj_size")

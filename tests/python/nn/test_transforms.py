"""Traces, scripts, graphs and transforms of torch see a pruned layer as the plain dense one."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


class InputsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class ToItself(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)

    def forward(self, x):
        return self.attention(x, x, x)[0]


LAYERS = {
    "linear": (lambda: nn.Linear(8, 8), (4, 8)),
    "convolution": (lambda: nn.Conv2d(3, 8, 3), (2, 3, 8, 8)),
    "convolution over one axis": (lambda: nn.Conv1d(3, 8, 3), (2, 3, 8)),
    "three axes": (lambda: nn.Conv3d(2, 4, 2), (1, 2, 3, 3, 3)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 8, 3), (2, 3, 8, 8)),
    "LSTM": (lambda: nn.LSTM(8, 16), (5, 2, 8)),
    "GRU": (lambda: nn.GRU(8, 16), (5, 2, 8)),
}
TRACED = LAYERS | {
    "attention": (ToItself, (5, 2, 8)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16), (5, 2, 8)),
    "inputs first": (InputsFirst, (4, 8)),
}


def pruned(make):
    torch.manual_seed(0)
    return engine.prune(nn.Sequential(make()), engine.Spec(sparsity=0.5)).eval()


def first(result):
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize(("make", "shape"), TRACED.values(), ids=TRACED)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_a_trace_gives_the_plain_graph(make, shape, gradients):
    model, x = pruned(make), torch.randn(shape)
    with torch.set_grad_enabled(gradients):
        traced = torch.jit.trace(model, x)
    assert "aten::" in str(traced.inlined_graph)
    assert not any(word in str(traced.inlined_graph) for word in ("PythonOp", "sparse_engine::"))
    y = torch.randn(shape)  # what was computed of x is no constant of the graph
    torch.testing.assert_close(first(traced(y)), first(model(y)))


@pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS)
def test_a_pruned_layer_is_a_leaf_of_a_symbolic_graph(make, shape):
    model, x = pruned(make), torch.randn(shape)
    graph = torch.fx.symbolic_trace(model)
    assert [node.op for node in graph.graph.nodes] == ["placeholder", "call_module", "output"]
    torch.testing.assert_close(first(graph(x)), first(model(x)))
    assert "__module__" not in engine.remove_masks(model)[0].__dict__


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own use of torch.jit.script
def test_vmap_and_jacobians_pass_through(gradients):
    layer, x = engine.prune(nn.Linear(8, 6), engine.Spec(sparsity=0.5)).eval(), torch.randn(4, 8)
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
        torch.testing.assert_close(torch.func.jacrev(layer)(x[0]), layer.weight.detach())
        torch.testing.assert_close(torch.func.jacfwd(layer)(x[0]), layer.weight.detach())


def test_a_compiled_training_step_is_that_of_the_eager_one():
    torch.manual_seed(0)
    model = engine.prune(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)), engine.Spec(sparsity=0.9))
    compiled, x = torch.compile(model, backend="aot_eager"), torch.randn(8, 16)
    norms = []
    for called in (model, compiled):
        model.zero_grad()
        called(x).square().mean().backward()
        for name, mask in engine.masks(model).items():
            assert not dict(model.named_parameters())[name].grad[~mask].any()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1e9))
    torch.testing.assert_close(norms[0], norms[1])
    pruner = engine.Pruner(model, engine.Spec(sparsity=0.9), schedule=engine.schedules.RigL(0, 100, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: mask.clone() for name, mask in engine.masks(model).items()}
    for _ in range(4):
        optimizer.zero_grad()
        compiled(x).square().mean().backward()
        optimizer.step()
        pruner.step()
    after = engine.masks(model)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(mask.sum() == after[name].sum() for name, mask in before.items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: (nn.Linear(8, 8), torch.rand(2, 8)),
        lambda: (nn.Conv2d(8, 8, 3), torch.rand(1, 8, 5, 5)),
        lambda: (nn.Conv1d(8, 8, 3), torch.rand(1, 8, 5)),
        lambda: (nn.Conv3d(2, 2, 2), torch.rand(1, 2, 3, 3, 3)),
        lambda: (nn.ConvTranspose2d(8, 8, 3), torch.rand(1, 8, 5, 5)),
        lambda: (nn.LSTM(8, 8), torch.rand(3, 1, 8)),
    ],
)
def test_inputs_are_called_what_torch_calls_them(make):
    layer, x = make()
    engine.prune(layer, engine.Spec(sparsity=0.5)).eval()
    with torch.inference_mode():
        torch.testing.assert_close(first(layer(input=x)), first(layer(x)))

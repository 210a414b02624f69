"""Graphs of torch.compile and torch.export keep pruned layers native in inference, and are right wherever they do not."""

import copy
import subprocess
import sys

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine import _core  # noqa: E402
from sparse_engine.nn import recurrent  # noqa: E402

HALF = engine.Spec(sparsity=0.5)
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore:.*non-leaf",
    "ignore:Using padding='same' with even kernel lengths",
    "ignore:While compiling, we found certain side effects",  # a torch function mode is one
)


class InputsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Parameter(torch.randn(16, 8)), nn.Parameter(torch.randn(8, 16))

    def forward(self, x):
        return torch.relu(x @ self.up.t()) @ self.down.t()


class Sliding(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 8, 3))

    def forward(self, x):
        return torch.conv1d(x, self.kernel, None, 2, 1)


class Experts(nn.Module):
    num_experts = 3

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(3, 6, 8))

    def forward(self, x):
        return nn.functional.linear(x, self.w[0]) + nn.functional.linear(x, self.w[2])


class Between(nn.Module):
    """Attention from one sequence to another."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, **options)

    def forward(self, x):
        return self.attention(x[:3], x, x)


engine.nn.register(Two, weight=("up", "down"))
engine.nn.register(Sliding, weight="kernel")

# A layer, an input, and how many native products or layers a call of it takes.
LAYERS = {
    "linear": (lambda: nn.Linear(8, 8), (4, 8), 1),
    "linear without bias": (lambda: nn.Linear(8, 8, bias=False), (2, 3, 8), 1),
    "convolution": (lambda: nn.Conv2d(3, 8, 3, 2, 1), (2, 3, 8, 8), 1),
    "padded to the same size": (lambda: nn.Conv2d(3, 8, (3, 4), padding="same"), (2, 3, 8, 8), 1),
    "circular": (lambda: nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular"), (2, 3, 8, 8), 1),
    "convolution without a batch": (lambda: nn.Conv2d(3, 8, 3), (3, 8, 8), 1),
    "whole rows": (lambda: nn.Conv2d(3, 8, 1), (2, 3, 1, 1), 1),
    "convolution over one axis": (lambda: nn.Conv1d(3, 8, 3), (2, 3, 8), 1),
    "transposed": (lambda: nn.ConvTranspose2d(3, 8, 3, 2, 1, 1), (2, 3, 5, 6), 1),
    "transposed without a batch": (lambda: nn.ConvTranspose1d(3, 8, 4), (3, 8), 1),
    "LSTM": (lambda: nn.LSTM(8, 16, 2, bidirectional=True), (5, 2, 8), 1),
    "LSTM without a batch": (lambda: nn.LSTM(8, 16, batch_first=True), (5, 8), 1),
    "GRU": (lambda: nn.GRU(8, 16), (5, 2, 8), 1),
    "inputs first": (InputsFirst, (4, 8), 1),
    "two weights": (Two, (4, 8), 2),
    "sliding": (Sliding, (4, 8, 9), 1),
    "experts": (Experts, (4, 8), 2),
    "attention to another sequence": (Between, (5, 2, 8), 4),
    "attention without a batch": (Between, (5, 8), 4),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8), 4),
    "decoder": (
        lambda: Decodes(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)),
        (2, 5, 8),
        8,
    ),
}
FEW = ("linear", "convolution", "LSTM", "two weights", "encoder")


class Decodes(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x, x[:, 1:])


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape, products = LAYERS[request.param]
    torch.manual_seed(0)
    torch._dynamo.reset()
    return engine.prune(nn.Sequential(make()), HALF).eval(), torch.randn(shape), products


@pytest.fixture
def native_calls(native_always, monkeypatch):
    """Names of native calls, as they are made."""
    made = []

    def count(module, name):
        function = getattr(module, name)

        def counted(*args, **kwargs):
            made.append(name)
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, counted)

    for name in ("linear_tensors", "conv2d_tensors"):
        count(_core, name)
    count(recurrent.PrunedRecurrent, "_native")
    return made


class Graphs(list):
    """A backend that keeps the graphs it is given."""

    def __call__(self, graph, inputs):
        self.append(graph)
        return graph.forward


def first(result):
    return result[0] if isinstance(result, tuple) else result


def dense(model, x):
    with torch.no_grad(), engine.nn.dense_only():
        return first(model(x))


def called(function):
    """What is called in a graph."""
    return [str(node.target) for node in function.graph.nodes if node.op == "call_function"]


def expect_native(call, model, x, made, products):
    expected = dense(model, x)
    for context in (torch.inference_mode, torch.no_grad):
        with context():
            call(x)  # may decide, may pack
            made.clear()
            torch.testing.assert_close(first(call(x)), expected, rtol=1e-4, atol=1e-5)
        assert len(made) == products


def test_a_compiled_model_stays_native(case, native_calls):
    model, x, products = case
    whole = not any(isinstance(layer, nn.RNNBase) for layer in model)  # Dynamo steps around these
    compiled = torch.compile(model, backend="aot_eager", fullgraph=whole)
    expect_native(compiled, model, x, native_calls, products)


@pytest.mark.parametrize(("strict", "gradients"), [(False, True), (True, False)])
def test_an_exported_model_stays_native_whether_gradients_are_on_or_not(case, native_calls, strict, gradients):
    model, x, products = case
    with torch.set_grad_enabled(gradients):
        program = torch.export.export(model, (x,), strict=strict)
    assert sum("sparse_engine" in name for name in called(program)) == products
    expect_native(program.module(), model, x, native_calls, products)


def test_inductor_compiles_what_is_around_the_products(native_calls, monkeypatch):
    monkeypatch.setenv("CI", "true")  # where it refuses operators that somebody told how to take apart
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 8), nn.GELU())
    engine.prune(model, HALF).eval()
    expect_native(torch.compile(model, fullgraph=True), model, torch.randn(2, 3, 8, 8), native_calls, 2)


def test_one_graph_serves_every_batch(native_calls):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = engine.prune(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 8)), HALF).eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(model, (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: batch},)).module()
    graphs = Graphs()
    compiled = torch.compile(model, backend=graphs)
    for size in (2, 3, 7):
        x = torch.randn(size, 3, 8, 8)
        torch._dynamo.mark_dynamic(x, 0)
        for call in (program, compiled):
            expect_native(call, model, x, native_calls, 2)
    assert len(graphs) == 2, "one in inference mode and one without gradients"


LOADS = """
import sys, torch
import sparse_engine.nn
from sparse_engine import _core
from sparse_engine.nn import dispatch, recurrent

def measure(trial, ways, modelled, bounded):
    kernel = next((kernel for kernel in ways if kernel != "dense"), "dense")
    return dispatch.Choice(kernel, dict.fromkeys(ways, 0.0)), kernel, None

dispatch._measure = measure
made = []
for owner, name in ((_core, "linear_tensors"), (_core, "conv2d_tensors"), (recurrent.PrunedRecurrent, "_native")):
    function = getattr(owner, name)
    setattr(owner, name, lambda *args, f=function, n=name: (made.append(n), f(*args))[1])
program = torch.export.load(sys.argv[1]).module()
x, expected = torch.load(sys.argv[2])
with torch.inference_mode():
    program(x)
    made.clear()
    torch.testing.assert_close(program(x), expected, rtol=1e-4, atol=1e-5)
print(*made)
"""


class All(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.lstm, self.linear = nn.Conv2d(3, 8, 3), nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 4)

    def forward(self, x):
        steps = self.conv(x).flatten(2).transpose(1, 2)
        return self.linear(self.lstm(steps)[0])


def test_an_exported_program_is_native_in_the_process_that_loads_it(tmp_path):
    torch.manual_seed(0)
    model, x = engine.prune(All(), HALF).eval(), torch.randn(2, 3, 8, 8)
    torch.export.save(torch.export.export(model, (x,)), tmp_path / "model.pt2")
    torch.save((x, dense(model, x)), tmp_path / "tensors.pt")
    command = [sys.executable, "-W", "ignore", "-c", LOADS, str(tmp_path / "model.pt2"), str(tmp_path / "tensors.pt")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ["conv2d_tensors", "_native", "linear_tensors"]


def test_a_compiled_model_in_eval_mode_has_gradients_where_they_are_asked_for():
    torch._dynamo.reset()
    model, x = engine.prune(nn.Sequential(nn.Linear(8, 8)), HALF).eval(), torch.randn(2, 8, requires_grad=True)
    graphs = Graphs()
    found = [
        torch.autograd.grad(call(x).square().sum(), [x, *model.parameters()])
        for call in (model, torch.compile(model, backend=graphs))
    ]
    torch.testing.assert_close(*found)
    assert "sparse_engine" not in str(called(graphs[0]))


@pytest.mark.parametrize("case", FEW, indirect=True)
def test_training_under_compile_has_the_gradients_of_eager_training(case):
    model, x, _ = case
    model.train()
    compiled = torch.compile(model, backend="aot_eager")
    gradients = []
    for call in (model, compiled):
        model.zero_grad()
        torch.manual_seed(0)  # dropout
        torch.nn.functional.dropout(first(call(x)), 0).square().mean().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    masks = engine.masks(model)
    assert all(not gradients[1][name][~mask].any() for name, mask in masks.items())
    if not any(isinstance(part, nn.Dropout) and part.p for part in model.modules()):
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", FEW, indirect=True)
def test_an_exported_program_can_be_trained(case):
    model, x, _ = case
    program = torch.export.export(model, (x,)).module()
    gradients = []
    for call in (model, program):
        model.zero_grad()
        first(call(x)).square().mean().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_a_compiled_model_follows_its_weights_and_its_masks(native_calls):
    torch._dynamo.reset()
    model, x = engine.prune(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), HALF).eval(), torch.randn(2, 8)
    compiled, program = torch.compile(model, backend="aot_eager"), torch.export.export(model, (x,)).module()

    def scale_in_place():
        with torch.no_grad():
            model[0].weight.mul_(2)

    def write_through_data():
        model[0].weight.data[:] = 3  # pruned weights as well: they stay zero

    def other_masks():
        engine.set_masks(model, {name: ~mask for name, mask in engine.masks(model).items()})

    def load():
        model.load_state_dict({name: torch.randn_like(value) for name, value in model.state_dict().items()})

    for change in (scale_in_place, write_through_data, other_masks, load):
        change()
        for call in (compiled, program):
            with torch.inference_mode():
                found = call(x)
            torch.testing.assert_close(found, dense(model, x), rtol=1e-4, atol=1e-5)


def test_gradual_pruning_compiles_nothing_anew(native_always):
    torch._dynamo.reset()
    model, x = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)), torch.randn(2, 16)
    graphs = Graphs()
    engine.prune(model, engine.Spec(sparsity=0.1))
    compiled = torch.compile(model, backend=graphs)
    for sparsity in (0.2, 0.4, 0.6, 0.8):
        engine.prune(model.train(), engine.Spec(sparsity=sparsity))
        compiled(x).sum().backward()
        with torch.inference_mode():
            torch.testing.assert_close(compiled(x), dense(model, x), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(torch.compile(model.eval(), backend=graphs)(x), dense(model, x), rtol=1e-4, atol=1e-5)
    assert len(graphs) <= 3, "training, training without gradients, inference"


def test_dense_only_autocast_and_other_dtypes_hold_inside_graphs(native_calls):
    torch._dynamo.reset()
    model, x = engine.prune(nn.Sequential(nn.Linear(8, 8)), HALF).eval(), torch.randn(2, 8)
    compiled = torch.compile(model, backend="aot_eager")
    with torch.inference_mode():
        compiled(x)
        native_calls.clear()
        with engine.nn.dense_only():
            torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=0)
            for strict in (False, True):
                assert "sparse_engine" not in str(called(torch.export.export(model, (x,), strict=strict)))
        with torch.autocast("cpu", torch.bfloat16):
            assert compiled(x).dtype is torch.bfloat16
        assert not native_calls
        double = copy.deepcopy(model).double()
        torch.testing.assert_close(torch.compile(double, backend="aot_eager")(x.double()), double(x.double()))


def test_transforms_inside_a_compiled_function_are_right():
    torch._dynamo.reset()
    layer, x = engine.prune(nn.Linear(8, 6), HALF).eval().requires_grad_(False), torch.randn(4, 8)
    with torch.no_grad():
        for transform in (torch.func.vmap, torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(
                torch.compile(lambda x, t=transform: t(layer)(x), backend="aot_eager")(x), transform(layer)(x)
            )


def test_a_parametrized_weight_is_masked_and_compiled_once():
    torch._dynamo.reset()
    layer = engine.prune(nn.Linear(8, 8), HALF).eval()
    nn.utils.parametrizations.weight_norm(layer)
    graphs = Graphs()
    compiled, x = torch.compile(layer, backend=graphs), torch.randn(2, 8)
    with torch.no_grad():
        for _ in range(4):
            torch.testing.assert_close(compiled(x), layer(x))
    assert len(graphs) == 1

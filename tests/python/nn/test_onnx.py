"""ONNX files of pruned models hold plain dense operations and the masked weights."""

import io

import numpy as np
import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")

HALF = engine.Spec(sparsity=0.5)
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class InputsFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return torch.addmm(self.bias, x, self.weight)


LAYERS = {
    "linear": (lambda: nn.Linear(8, 8), (4, 8)),
    "convolution": (lambda: nn.Conv2d(3, 8, 3, 2, 1), (2, 3, 8, 8)),
    "convolution over one axis": (lambda: nn.Conv1d(3, 8, 3), (2, 3, 8)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 8, 3), (2, 3, 8, 8)),
    "LSTM": (lambda: nn.LSTM(8, 16), (5, 2, 8)),
    "GRU": (lambda: nn.GRU(8, 16), (5, 2, 8)),
    "inputs first": (InputsFirst, (4, 8)),
    "encoder": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (2, 5, 8)),
}


@pytest.fixture(params=LAYERS)
def case(request):
    make, shape = LAYERS[request.param]
    torch.manual_seed(0)
    return engine.prune(nn.Sequential(make()), HALF).eval(), torch.randn(shape)


def first(result):
    return result[0] if isinstance(result, (tuple, list)) else result


def expect_plain(data, model, x):
    """A file in ONNX of operations that everybody knows, with the zeros of `model`'s masks, that gives what `model` gives."""
    proto = onnx.load_from_string(data)
    assert {domain.domain for domain in proto.opset_import} <= {"", "ai.onnx", "pkg.onnxscript.torch_lib.common"}
    assert all(node.domain in ("", "ai.onnx") for node in proto.graph.node)
    held = [onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer]
    zeros = sum(int((value == 0).sum()) for value in held if value.dtype == np.float32 and value.ndim > 1)
    assert zeros >= sum(int((~mask).sum()) for mask in engine.masks(model).values())
    session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    with torch.no_grad():
        expected = first(model(x))
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture
def no_fused_attention():
    """Without gradients torch takes attention for one operation, which ONNX does not have: of plain layers, too."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(before)


@pytest.mark.usefixtures("no_fused_attention")
@pytest.mark.parametrize("gradients", [True, False])
def test_the_exporter_of_torchscript_gives_the_plain_graph(case, gradients):
    model, x = case
    file = io.BytesIO()
    with torch.set_grad_enabled(gradients):
        torch.onnx.export(model, (x,), file, dynamo=False)
    expect_plain(file.getvalue(), model, x)


@pytest.mark.parametrize("gradients", [True, False])
def test_the_exporter_of_dynamo_gives_the_plain_graph(case, gradients):
    pytest.importorskip("onnxscript")
    model, x = case
    with torch.set_grad_enabled(gradients):
        program = torch.onnx.export(model, (x,), dynamo=True, verbose=False)
    expect_plain(program.model_proto.SerializeToString(), model, x)


def test_operators_of_an_exported_program_are_taken_apart(case):
    pytest.importorskip("onnxscript")
    model, x = case
    with torch.no_grad():
        exported = torch.export.export(model, (x,))
    program = torch.onnx.export(exported, (x,), dynamo=True, verbose=False)
    expect_plain(program.model_proto.SerializeToString(), model, x)

import pytest
import torch
from torch import nn

import sparse_engine as engine
from sparse_engine.compiler import api, verification
from sparse_engine.compiler.capture_torch import capture
from sparse_engine.compiler.passes import PASSES
from sparse_engine.compiler.verification import verify


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
    ).eval()


def test_a_rewrite_that_changes_the_result_is_found():
    model = network()
    x = torch.randn(2, 3, 8, 8)
    g = capture(model, (x,), {})
    for rewrite in PASSES:
        rewrite(g)
    assert verify(g, model, (x,), {}) < 1e-6
    g.nodes[0].bias = g.nodes[0].bias + 0.01
    with pytest.raises(ValueError, match="differs from the model"):
        verify(g, model, (x,), {})


def cancelling():
    """Batch norm takes a thousand off channels that hardly change: what is left holds the rounding of sums of thousands."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4)).eval()
    x = 1000 + 0.1 * torch.randn(2, 64)
    with torch.no_grad():
        model[1].running_mean.copy_(model[0](torch.full((1, 64), 1000.0))[0])
        model[1].running_var.fill_(1e-12)
    return model, x


def test_rounding_that_the_model_itself_suffers_is_no_fault():
    model, x = cancelling()
    with torch.no_grad():
        exact = model.double()(x.double())
        own = float((model.float()(x).double() - exact).abs().max() / exact.abs().max())
    assert own > 1e-4
    compiled = engine.compile(model, x)
    assert float((compiled(x).double() - exact).abs().max() / exact.abs().max()) <= 16 * own


def test_what_is_more_than_rounding_is_a_fault_there_too():
    model, x = cancelling()
    g = capture(model, (x,), {})
    for rewrite in PASSES:
        rewrite(g)
    g.nodes[0].bias = g.nodes[0].bias + 1
    with pytest.raises(ValueError, match="differs from the model"):
        verify(g, model, (x,), {})


def test_a_model_without_a_float64_form_is_held_to_float32():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = cancelling()[0]

        def forward(self, x):
            if x.dtype != torch.float32:
                raise TypeError("float32 alone")
            return self.inner(x)

    with pytest.raises(ValueError, match="differs from the model"):
        engine.compile(Narrow().eval(), cancelling()[1])


def test_compile_names_the_first_node_a_wrong_pass_spoilt(monkeypatch):
    def forgets_an_activation(graph):
        node = next(n for n in graph if n.path == "3")
        assert node.activation == "relu"
        node.activation = "none"

    monkeypatch.setattr(api, "PASSES", (*PASSES, forgets_an_activation))
    with pytest.raises(
        ValueError, match=r"first node to differ is relu_1 \(number 2 of 4, conv2d in 3\), by [1-9.]+e"
    ) as caught:
        engine.compile(network(), torch.randn(2, 3, 8, 8))
    assert str(caught.value).endswith("Please report it with print(model)")


def test_where_every_value_that_is_kept_is_right_memory_is_blamed(monkeypatch):
    monkeypatch.setattr(verification, "first_divergence", lambda *a: None)
    model, x = nn.Linear(4, 4).eval(), torch.randn(2, 4)
    g = capture(model, (x,), {})
    g.nodes[0].bias = g.nodes[0].bias + 1
    with pytest.raises(ValueError, match="depends on where values lie in memory"):
        verify(g, model, (x,), {})


def test_a_search_that_fails_does_not_hide_the_difference(monkeypatch):
    def fails(*a):
        raise RuntimeError("no graph\nat all")

    monkeypatch.setattr(verification, "first_divergence", fails)
    model, x = nn.Linear(4, 4).eval(), torch.randn(2, 4)
    g = capture(model, (x,), {})
    g.nodes[0].bias = g.nodes[0].bias + 1
    with pytest.raises(ValueError, match=r"differs from the model .*could not be found \(RuntimeError: no graph\)"):
        verify(g, model, (x,), {})


def test_an_output_of_nan_where_the_model_has_none_is_found():
    model, x = nn.Linear(4, 4).eval(), torch.randn(2, 4)
    g = capture(model, (x,), {})
    g.nodes[0].bias = g.nodes[0].bias * float("nan")
    with pytest.raises(ValueError, match=r"first node to differ is linear .*by inf"):
        verify(g, model, (x,), {})

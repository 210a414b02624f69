"""Operators of torch: what `torch.compile` and `torch.export` keep of pruned layers."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn import operators  # noqa: E402

HALF = engine.Spec(sparsity=0.5)


def pruned(layer):
    return engine.prune(layer, HALF).eval()


def linear():
    layer = pruned(nn.Linear(16, 8))
    return layer.weight, layer.bias


def recurrent(kind, **options):
    layer = pruned(kind(8, 16, 2, **options))
    return list(layer._flat_weights), layer.bias, 2, layer.bidirectional, layer.batch_first


def convolution(layer, *shape, channels_last=False):
    layer = pruned(layer)
    x = torch.randn(shape)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    return x, layer.weight, layer.bias, list(layer.stride), list(layer.padding), list(layer.dilation), layer.groups


def transposed(layer, *shape, channels_last=False):
    x, weight, bias, stride, padding, dilation, groups = convolution(layer, *shape, channels_last=channels_last)
    return x, weight, bias, stride, padding, list(layer.output_padding), dilation, groups


CALLS = {
    "linear": (operators.linear, lambda: (torch.randn(4, 16), *linear())),
    "linear without bias": (operators.linear, lambda: (torch.randn(2, 3, 16), linear()[0])),
    "linear of a vector": (operators.linear, lambda: (torch.randn(16), *linear())),
    "linear of a view": (operators.linear, lambda: (torch.randn(16, 5).t(), *linear())),
    "rows of a weight": (operators.linear, lambda: (torch.randn(5, 16), linear()[0], None, 2, 6)),
    "transposed rows": (operators.linear, lambda: (torch.randn(5, 4), linear()[0], None, 2, 6, True)),
    "convolution": (operators.convolution, lambda: convolution(nn.Conv2d(4, 8, 3, 2, 1), 2, 4, 9, 7)),
    "groups": (
        operators.convolution,
        lambda: convolution(nn.Conv2d(4, 8, (3, 1), 1, (2, 0), (2, 1), 2, bias=False), 2, 4, 9, 7),
    ),
    "channels_last": (operators.convolution, lambda: convolution(nn.Conv2d(4, 8, 3), 2, 4, 9, 7, channels_last=True)),
    "whole rows": (operators.convolution, lambda: convolution(nn.Conv2d(4, 8, 3), 2, 4, 3, 3)),
    "one axis": (operators.convolution, lambda: convolution(nn.Conv1d(4, 8, 3, 2, 1), 2, 4, 9)),
    "transposed": (operators.transposed_convolution, lambda: transposed(nn.ConvTranspose2d(4, 8, 3, 2, 1, 1), 2, 4, 5, 6)),
    "transposed, channels_last": (
        operators.transposed_convolution,
        lambda: transposed(nn.ConvTranspose2d(4, 8, 2, 2), 2, 4, 5, 6, channels_last=True),
    ),
    "transposed, groups": (
        operators.transposed_convolution,
        lambda: transposed(nn.ConvTranspose1d(4, 8, 4, 3, 1, 0, 2, False), 2, 4, 9),
    ),
    "LSTM": (
        operators.lstm,
        lambda: (torch.randn(5, 3, 8), torch.randn(4, 3, 16), torch.randn(4, 3, 16), *recurrent(nn.LSTM, bidirectional=True)),
    ),
    "GRU": (operators.gru, lambda: (torch.randn(3, 5, 8), torch.randn(2, 3, 16), *recurrent(nn.GRU, batch_first=True))),
}
DENSE = {
    operators.linear: operators.dense_linear,
    operators.convolution: operators.dense_convolution,
    operators.transposed_convolution: operators.dense_transposed,
    operators.lstm: operators.dense_lstm,
    operators.gru: operators.dense_gru,
}


@pytest.fixture(params=CALLS)
def call(request):
    operator, make = CALLS[request.param]
    torch.manual_seed(0)
    return operator, make()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*non-leaf.*")
def test_torchs_own_checks_pass(native_always, call):
    operator, arguments = call
    tensors = [t for a in arguments for t in (a if isinstance(a, list) else [a]) if isinstance(t, torch.Tensor)]
    for tensor in tensors:
        tensor.requires_grad_()
    assert set(torch.library.opcheck(operator, arguments).values()) == {"SUCCESS"}


def test_an_operator_gives_what_torchs_dense_arithmetic_gives(native_always, call):
    operator, arguments = call
    with torch.inference_mode():
        found, expected = operator(*arguments), DENSE[operator](*arguments)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5, check_stride=True)


def test_gradients_are_those_of_the_dense_arithmetic(native_always, call):
    operator, arguments = call
    found = []
    for function in (operator, DENSE[operator]):
        tensors = [t for a in arguments for t in (a if isinstance(a, list) else [a]) if isinstance(t, torch.Tensor)]
        for tensor in tensors:
            tensor.requires_grad_()
        outputs = function(*arguments)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        found.append(torch.autograd.grad(sum(y.square().sum() for y in outputs), tensors))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_what_an_operator_does_not_take_is_refused_in_torchs_words():
    weight, bias = linear()
    for run in (
        lambda w: operators.linear(torch.randn(2, 5), w, bias),
        lambda w: operators.dense_linear(torch.randn(2, 5), w, bias),
    ):
        with torch.inference_mode(), pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            run(weight)


def test_tensors_of_another_dtype_or_without_elements_are_computed_dense(native_always):
    weight, bias = linear()
    with torch.inference_mode():
        x = torch.randn(4, 16)
        expected = nn.functional.linear(x, weight, bias)
        torch.testing.assert_close(
            operators.linear(x.double(), weight.double(), bias.double()), expected.double(), rtol=1e-5, atol=1e-6
        )
        assert operators.linear(torch.randn(0, 16), weight, bias).shape == (0, 8)
        with engine.nn.dense_only():
            torch.testing.assert_close(operators.linear(x, weight, bias), expected, rtol=0, atol=0)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore:There is a performance drop because we have not yet implemented"
)
def test_forward_derivatives_and_vmap_pass_through_an_exported_program(native_always):
    layer, x = pruned(nn.Linear(16, 8)), torch.randn(3, 16)
    program = torch.export.export(layer, (x,)).module()
    expected = layer.weight.detach()
    with torch.no_grad():
        program(x)
        torch.testing.assert_close(torch.func.jvp(program, (x,), (torch.ones(3, 16),))[1], torch.ones(3, 16) @ expected.t())
        many = torch.randn(5, 3, 16)
        torch.testing.assert_close(torch.func.vmap(program)(many), nn.functional.linear(many, expected, layer.bias))


def test_a_second_derivative_is_refused(native_always):
    weight, bias = linear()
    x = torch.randn(2, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(operators.linear(x, weight, bias).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()

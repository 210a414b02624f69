"""Plain tensors go to the native operations without Python code in between; every other one takes the long way."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import sparse_engine as engine
from reference import sparse_weights
from sparse_engine import _core

torch = pytest.importorskip("torch")

NONE = _core.Activation.none
POINT = _core.Conv2dParams((1, 1), (1, 1), (0, 0, 0, 0), (1, 1), 1)
SHIFTED = _core.Conv2dParams((3, 3), (1, 2), (1, 1, 1, 1), (1, 1), 1)


def numbers(*shape):
    return torch.from_numpy(np.random.default_rng(1).standard_normal(shape).astype(np.float32))


# Each as (…, 24), not all contiguous.
PLAIN = {
    "vector": lambda: numbers(24),
    "vector with gaps": lambda: numbers(24, 3)[:, 1],
    "one row": lambda: numbers(1, 24),
    "rows": lambda: numbers(7, 24),
    "many rows": lambda: numbers(70, 24),
    "transposed": lambda: numbers(24, 70).t(),
    "rows with gaps": lambda: numbers(9, 2, 24)[:, 1],
    "columns with gaps": lambda: numbers(9, 48)[:, ::2],
    "the same row again": lambda: numbers(1, 24).expand(12, 24),
    "three axes": lambda: numbers(3, 5, 24),
    "four axes": lambda: numbers(2, 1, 3, 24),
    "parameter": lambda: torch.nn.Parameter(numbers(7, 24)),
    "made in inference mode": lambda: torch.inference_mode()(lambda: numbers(7, 24).clone())(),
    "inside a storage": lambda: numbers(1000)[13 : 13 + 7 * 24].view(7, 24),
}

NOT_PLAIN = {
    "array": lambda: numbers(7, 24).numpy(),
    "subclass": lambda: numbers(7, 24).as_subclass(type("Own", (torch.Tensor,), {})),
    "negated view": lambda: torch.imag(torch.complex(numbers(7, 24), numbers(7, 24)).conj()),
    "no rows": lambda: numbers(0, 24),
    "leading axes apart": lambda: numbers(5, 3, 24).transpose(0, 1),
    "six axes": lambda: numbers(1, 2, 1, 1, 3, 24),
}


@pytest.fixture
def matrix(rng):
    return engine.CSRMatrix.from_dense(sparse_weights(rng, (13, 24), 0.6))


def by_array(operation, *tensors):
    """What `operation` gives for the same numbers in arrays of the same strides."""
    with torch.no_grad():
        return operation(*(None if t is None else t.resolve_neg().detach().numpy() for t in tensors))


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_plain_tensors_give_what_arrays_of_the_same_strides_do(matrix, name):
    x = PLAIN[name]()
    bias, residual = numbers(13), numbers(*x.shape[:-1], 13)
    for b, r in ((None, None), (bias, None), (None, residual), (bias, residual)):
        taken = _core.linear_tensors(x, matrix._native, b, NONE, r)
        assert type(taken) is torch.Tensor
        assert taken.is_contiguous()
        assert not taken.requires_grad
        expected = by_array(lambda x, b, r: engine.linear(x, matrix, b, None, r), x, b, r)
        np.testing.assert_array_equal(taken.numpy(), expected)
        assert torch.equal(engine.linear(x, matrix, b, None, r), taken)
    if x.dim() <= 2:
        product = _core.multiply_tensors(matrix._native, x.t())
        np.testing.assert_array_equal(product.numpy(), by_array(lambda x: matrix @ x, x.t()))
        assert torch.equal(matrix @ x.t(), product)


@pytest.mark.parametrize("name", NOT_PLAIN)
@torch.no_grad()
def test_other_tensors_take_the_long_way(matrix, name):
    x = NOT_PLAIN[name]()
    assert _core.linear_tensors(x, matrix._native, None, NONE, None) is None
    y = engine.linear(x, matrix)
    expected = torch.as_tensor(x).as_subclass(torch.Tensor).double() @ torch.from_numpy(matrix.to_dense()).double().t()
    assert type(y) is (np.ndarray if name == "array" else torch.Tensor)
    assert y.shape == expected.shape
    torch.testing.assert_close(torch.as_tensor(y).double(), expected, rtol=1e-5, atol=1e-5)


ORDERS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "part": lambda x: torch.cat([x, x], 3)[..., 1 : 1 + x.shape[3]],
    "turned": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every other channel": lambda x: torch.cat([x, x], 1)[:, ::2],
}


@pytest.mark.parametrize("shape", [(1, 1), (2, 6), (6, 1), (1, 6), (9, 9)])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ORDERS)
@torch.no_grad()
def test_images_of_any_order_give_what_arrays_do(rng, name, batch, shape):
    weights = engine.CSRMatrix.from_dense(sparse_weights(rng, (10, 4 * 9), 0.5))
    points = engine.CSRMatrix.from_dense(sparse_weights(rng, (10, 4), 0.5))
    bias = numbers(10)
    for a, geometry, more in (
        (weights, SHIFTED, {"kernel_size": 3, "stride": (1, 2), "padding": 1}),
        (points, POINT, {"kernel_size": 1}),
    ):
        x = ORDERS[name](numbers(batch, 4, *shape))
        plain = _core.conv2d_tensors(x, a._native, geometry, bias, NONE, None)
        expected = torch.nn.functional.conv2d(
            x,
            torch.from_numpy(a.to_dense()).view(10, 4, *2 * [more["kernel_size"]]),
            stride=more.get("stride", 1),
            padding=more.get("padding", 0),
        )
        np.testing.assert_array_equal(plain.numpy(), by_array(lambda x, b: engine.conv2d(x, a, bias=b, **more), x, bias))  # noqa: B023
        assert torch.equal(engine.conv2d(x, a, bias=bias, **more), plain)
        last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
        assert plain.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
        torch.testing.assert_close(plain - bias.view(-1, 1, 1), expected, rtol=1e-4, atol=1e-4)
        residual = torch.empty_like(plain).copy_(numbers(*plain.shape))
        added = _core.conv2d_tensors(x, a._native, geometry, bias, NONE, residual)
        torch.testing.assert_close(added, plain + residual, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_operands_that_do_not_fit_are_named_as_for_arrays(matrix):
    for call, message in (
        (lambda: matrix @ numbers(25, 3), r"X has shape \(25, 3\)"),
        (lambda: matrix @ numbers(24, 3, 2), r"X has shape \(24, 3, 2\)"),
        (lambda: engine.linear(numbers(3, 25), matrix), r"x has shape \(3, 25\)"),
        (lambda: engine.linear(numbers(3, 24), matrix, numbers(12)), r"bias has shape \(12,\)"),
        (lambda: engine.linear(numbers(3, 24), matrix, None, None, numbers(3, 12)), r"residual has shape \(3, 12\)"),
        (lambda: engine.linear(torch.tensor(1.0), matrix), r"x has shape \(\)"),
        (lambda: engine.conv2d(numbers(1, 23, 4, 4), matrix, 1), "channels"),
        (lambda: engine.conv2d(numbers(1, 24, 4, 4), matrix, 1, numbers(12)), r"bias has shape \(12,\)"),
        (
            lambda: engine.conv2d(numbers(1, 4, 0, 4), engine.CSRMatrix.from_dense(np.ones((2, 16), np.float32)), 2),
            "kernel|output|size",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    for tensor in (numbers(3, 24).double(), numbers(3, 24).to("meta"), numbers(3, 24).to_sparse(), numbers(3, 24).long()):
        assert _core.linear_tensors(tensor, matrix._native, None, NONE, None) is None
        with pytest.raises(TypeError, match=r"x (has|is on)"):
            engine.linear(tensor, matrix)


def test_a_tensor_that_needs_gradients_is_refused_while_they_are_recorded(matrix):
    for name in ("x", "bias", "residual"):
        operands = {"x": numbers(3, 24), "bias": numbers(13), "residual": numbers(3, 13)}
        operands[name].requires_grad_()
        with pytest.raises(TypeError, match=f"{name} needs gradients"):
            engine.linear(operands["x"], matrix, operands["bias"], residual=operands["residual"])
        with torch.no_grad():
            assert not engine.linear(operands["x"], matrix, operands["bias"], residual=operands["residual"]).requires_grad


def test_where_there_is_no_memory_nothing_is_read(matrix):
    nowhere = torch._efficientzerotensor(7, 24)
    assert _core.linear_tensors(nowhere, matrix._native, None, NONE, None) is None
    with pytest.raises(RuntimeError, match="ZeroTensor"):
        engine.linear(nowhere, matrix)
    with pytest.raises(Exception, match=r".") as raised:
        torch.vmap(lambda x: engine.linear(x, matrix))(numbers(3, 24))
    assert not isinstance(raised.value, SystemError)


def test_a_result_outlives_what_made_it_and_its_memory_is_used_again(matrix):
    x = numbers(70, 24)
    expected = engine.linear(x.numpy(), matrix)
    results = [engine.linear(x, matrix) for _ in range(5)]
    assert len({y.data_ptr() for y in results}) == 5
    part = results.pop()[3:5]
    places = {y.data_ptr() for y in results}
    del results
    assert engine.linear(x, matrix).data_ptr() in places
    for _ in range(10):
        engine.linear(x, matrix).zero_()
    np.testing.assert_array_equal(part.numpy(), expected[3:5])
    y = engine.linear(x, matrix)
    y.resize_(2, 3)  # a tensor like any other
    assert torch.equal(y.add_(1), y.clone())


def test_without_the_interface_every_tensor_takes_the_long_way():
    code = """
        import torch, numpy as np
        del torch.Tensor.__dlpack_c_exchange_api__
        import sparse_engine as engine
        from sparse_engine import _core
        a = engine.CSRMatrix.from_dense(np.eye(4, 6, dtype=np.float32))
        x = torch.arange(18, dtype=torch.float32).view(3, 6)
        assert _core.linear_tensors(x, a._native, None, _core.Activation.none, None) is None
        assert torch.equal(engine.linear(x, a), x[:, :4]) and torch.equal(a @ x.t(), x[:, :4].t())
        image = x.view(1, 6, 3, 1)
        assert torch.equal(engine.conv2d(image, a, 1), image[:, :4])
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_an_import_of_torch_may_come_later():
    code = """
        import numpy as np, sys
        import sparse_engine as engine
        from sparse_engine import _core
        a = engine.CSRMatrix.from_dense(np.eye(4, 6, dtype=np.float32))
        assert (a @ np.ones((6, 2), np.float32) == 1).all() and "torch" not in sys.modules
        import torch
        assert _core.multiply_tensors(a._native, torch.ones(6, 2)) is not None
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)

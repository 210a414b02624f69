import numpy as np
import pytest
import torch

from sparse_engine.compiler.tensors import MOST_WHOLE, Tensor, array_of, floats_of, handed_out


def test_floats_are_read_where_they_lie():
    x = np.arange(6, dtype=np.float32)
    assert np.shares_memory(floats_of(x, Tensor("x", ("N",))), x)
    t = torch.randn(3, 2, requires_grad=True)
    assert floats_of(t, Tensor("x", ("N", 2))).ctypes.data == t.data_ptr()
    assert floats_of(t.t(), Tensor("x", (2, "N"))).flags["C_CONTIGUOUS"]


def test_arrays_of_another_dtype_or_kind_are_refused():
    with pytest.raises(ValueError, match=r"x is float64; the model was compiled for float32: pass x.astype\('float32'\)"):
        array_of(np.zeros(3), "x")
    with pytest.raises(TypeError, match="x is a list; a compiled model takes numpy arrays and torch tensors"):
        array_of([1.0], "x")
    with pytest.raises(ValueError, match=r"x is on meta; .*: pass x.cpu\(\)"):
        array_of(torch.zeros(3, device="meta"), "x")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_floats_of_16_bits_are_widened(dtype):
    port = Tensor("x", ("N",), dtype)
    t = torch.randn(5).to(getattr(torch, dtype))
    np.testing.assert_array_equal(floats_of(t, port), t.float().numpy())
    wide = np.ones(5, np.float32)
    assert floats_of(wide, port) is wide or np.shares_memory(floats_of(wide, port), wide)
    with pytest.raises(ValueError, match=rf"x is torch.float32; the model was compiled for {dtype}: pass x.to"):
        floats_of(torch.zeros(5), port)


def test_whole_numbers_are_floats_as_far_as_those_hold_them():
    port = Tensor("ids", ("N",), "int64")
    found = floats_of(np.array([-MOST_WHOLE, 3, MOST_WHOLE]), port)
    assert found.dtype == np.float32
    assert found.tolist() == [-MOST_WHOLE, 3, MOST_WHOLE]
    assert floats_of(np.array([True, False]), Tensor("mask", ("N",), "bool")).tolist() == [1, 0]
    assert floats_of(np.zeros((0, 3), np.int64), port).shape == (0, 3)
    with pytest.raises(ValueError, match=r"ids holds 0 to 8388609; whole numbers are supported from -2\^23 to 2\^23"):
        floats_of(np.array([0, MOST_WHOLE + 1]), port)
    with pytest.raises(ValueError, match="ids is float32; the model was compiled for int64"):
        floats_of(np.zeros(2, np.float32), port)


def test_outputs_are_of_the_dtype_that_the_model_has():
    result = np.array([1.0, 1e5], np.float32)
    assert handed_out(result, "float32", as_tensor=False) is result
    assert handed_out(result, "bfloat16", as_tensor=False) is result
    assert handed_out(result, "bfloat16", as_tensor=True).dtype == torch.bfloat16
    half = handed_out(result, "float16", as_tensor=False)
    assert half.dtype == np.float16
    assert half[1] == np.inf

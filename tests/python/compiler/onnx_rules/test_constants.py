import numpy as np
import pytest

from sparse_engine.compiler.onnx_rules.constants import CONSTANTS

dequantized = CONSTANTS["DequantizeLinear"]
X = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def test_one_scale_and_zero_point():
    assert np.array_equal(dequantized([X, np.array(0.5, np.float32), np.array(8, np.uint8)], {}), (X - 8.0) / 2)
    assert np.array_equal(dequantized([X.astype(np.int8), np.array([0.5], np.float32)], {}), X / 2)


@pytest.mark.parametrize("axis", [1, -1])
def test_one_for_each_element_of_an_axis(axis):
    count = X.shape[axis]
    scale, zero = np.arange(1, count + 1, dtype=np.float32), np.arange(count, dtype=np.uint8)
    shape = (1, 3, 1) if axis == 1 else (1, 1, 4)
    expected = (X.astype(np.float32) - zero.reshape(shape)) * scale.reshape(shape)
    assert np.array_equal(dequantized([X, scale, zero], {"axis": axis}), expected)


def test_one_for_each_block():
    scale = np.arange(1, 13, dtype=np.float32).reshape(2, 3, 2)
    expected = X * np.repeat(scale, 2, 2)
    assert np.array_equal(dequantized([X, scale], {"axis": 2, "block_size": 2}), expected)

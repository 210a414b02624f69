import numpy as np
import pytest

from sparse_engine.compiler.fallback.agreement import agreement


def test_floats_count_by_their_largest_error_and_indices_by_how_many_differ():
    x = np.float32([1, 2, 4])
    assert agreement([x], [x + np.float32(1e-4)], ["y"]) == pytest.approx(2.5e-5, rel=1e-2)
    indices = np.arange(1000)
    swapped = indices.copy()
    swapped[:2] = 1, 0
    assert agreement([x, swapped], [x, indices], ["y", "i"]) == 0
    with pytest.raises(ValueError, match=r"output y .* differs from the model's by 2.0e-01"):
        agreement([x], [x + 1], ["y"])
    with pytest.raises(ValueError, match=r"output i .* in 999 of 1000 elements"):
        agreement([np.roll(indices, 1) * (indices > 0)], [indices], ["i"])


def test_other_shapes_kinds_and_nan_are_refused():
    x = np.zeros(3, np.float32)
    with pytest.raises(ValueError, match="shape"):
        agreement([x], [x[:2]], ["y"])
    with pytest.raises(ValueError, match="int64"):
        agreement([x], [np.zeros(3, np.int64)], ["y"])
    with pytest.raises(ValueError, match="by inf"):
        agreement([x], [x * np.nan], ["y"])

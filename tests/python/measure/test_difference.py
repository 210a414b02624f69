import numpy as np

from sparse_engine.measure.difference import difference


def test_differences_count_shapes_and_nans():
    a = np.array([1.0, 2.0], np.float32)
    assert difference(a, a) == 0
    assert difference(a, np.array([1.0, 4.0], np.float32)) == 0.5
    assert difference(a, a[:1]) == np.inf
    assert difference(a, np.array([1.0, np.nan], np.float32)) == np.inf
    assert difference(np.full(2, np.nan, np.float32), np.full(2, np.nan, np.float32)) == 0


def test_the_difference_is_of_the_largest_output():
    assert difference(np.array([1.0, 2.0]), np.array([1.0, 4.0])) == 0.5
    assert difference(np.zeros(3), np.zeros(3)) == 0
    assert difference(np.zeros(3), np.zeros(2)) == float("inf")

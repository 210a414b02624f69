import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, assert_says_something, integers

GROUPS = [(2, 4), (1, 2), (1, 4), (4, 8), (2, 3), (15, 16)]


def group_weights(rng, rows, groups, n, m):
    w = rng.standard_normal((rows * groups, m)).astype(np.float32)
    np.put_along_axis(w, rng.permuted(np.tile(np.arange(m), (len(w), 1)), axis=1)[:, n:], 0, axis=1)
    return w.reshape(rows, groups * m)


@pytest.mark.parametrize(("n", "m"), GROUPS)
@pytest.mark.parametrize("columns", [1, 2, 8, 9, 70])
def test_product_lies_within_the_proven_bound(every_isa, rng, n, m, columns):
    w = group_weights(rng, 37, 33, n, m)
    x = rng.standard_normal((w.shape[1], columns)).astype(np.float32)
    assert_linear_within_bound((engine.NMMatrix.from_dense(w, n, m) @ x).T, x.T, w)


@pytest.mark.parametrize("columns", [1, 5, 70])
def test_products_of_integers_are_exact(every_isa, rng, columns):
    w = integers(rng, (70, 300), 4, without_zero=True).reshape(-1, 4)
    w[:, [1, 2]] = 0
    w, x = w.reshape(70, 300), integers(rng, (300, columns), 8)
    y = engine.NMMatrix.from_dense(w) @ x
    np.testing.assert_array_equal(y, w.astype(np.float64) @ x.astype(np.float64))
    assert_says_something(y)


@pytest.mark.parametrize(("n", "m"), GROUPS)
def test_parts_round_trip(rng, n, m):
    w = group_weights(rng, 9, 5, n, m)
    a = engine.NMMatrix.from_dense(w, n, m)
    values, indices = a.to_parts()
    assert values.shape == indices.shape == (9, 5 * n)
    assert indices.dtype == np.uint8
    b = engine.NMMatrix.from_parts(values, indices, w.shape, n, m)
    np.testing.assert_array_equal(b.to_dense(), w)
    assert (a.n, a.m, a.nnz, a.shape) == (n, m, 9 * 5 * n, w.shape)
    assert f"{n}:{m}" in repr(a)


def test_linear_and_convolution_take_it(rng):
    torch = pytest.importorskip("torch")
    w = group_weights(rng, 20, 18, 2, 4)
    a = engine.NMMatrix.from_dense(torch.from_numpy(w))
    x = torch.randn(2, 8, 9, 7)
    expected = torch.nn.functional.conv2d(x, torch.from_numpy(w.reshape(20, 8, 3, 3)), padding=1)
    torch.testing.assert_close(engine.conv2d(x, a, 3, padding=1), expected, rtol=1e-4, atol=1e-4)
    x = rng.standard_normal((3, 72)).astype(np.float32)
    assert_linear_within_bound(engine.linear(x, a), x, w)


def test_hostile_parts_are_refused():
    values, indices = np.ones((1, 4), np.float32), np.array([[0, 1, 2, 3]], np.uint8)
    make = engine.NMMatrix.from_parts
    for arguments, error, words in [
        ((values, indices.astype(np.int64), (1, 8)), TypeError, "uint8"),
        ((values.astype(np.float64), indices, (1, 8)), TypeError, "float32"),
        ((values, indices[:, :3], (1, 8)), ValueError, "must be equal"),
        ((values, indices, (2, 8)), ValueError, "values has 4 entries"),
        ((values, indices + np.uint8(1), (1, 8)), ValueError, r"= 4 is outside \[0, 4\)"),
        ((values, indices[:, ::-1], (1, 8)), ValueError, "follows"),
        ((values, indices, (1, 6)), ValueError, "do not divide"),
        ((values, indices, (-1, 8)), ValueError, "negative side"),
        ((values, indices, (2**62, 2**31)), ValueError, "does not fit"),
        ((values, indices, (1, 8), 4, 4), ValueError, "n < m"),
        ((values, indices, (1, 8), 0, 4), ValueError, "at least 1"),
    ]:
        with pytest.raises(error, match=words):
            make(*arguments)
    with pytest.raises(ValueError, match=r"weights\[1, 4:8\] holds 3 non-zeros; 2:4 stores 2"):
        engine.NMMatrix.from_dense(np.array([[0, 0, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1, 0, 3]], np.float32))


def test_torch_compresses_what_is_stored_here(rng):
    pytest.importorskip("torch")
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")
    import torch

    w = group_weights(rng, 32, 32, 2, 4)
    half = torch.from_numpy(engine.NMMatrix.from_dense(w).to_dense()).half()
    compressed, meta = conversions.sparse_semi_structured_from_dense_cutlass(half)
    back = conversions.sparse_semi_structured_to_dense_cutlass(compressed, meta)
    torch.testing.assert_close(back, half, rtol=0, atol=0)
    again = engine.NMMatrix.from_dense(back.float())
    np.testing.assert_array_equal(again.to_dense(), half.float().numpy())

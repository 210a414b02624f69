import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, assert_says_something, integers, sparse_weights

DTYPES = ["float32", "bfloat16", "float16", "int8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (33, 95), (65, 97), (64, 1025), (0, 5), (5, 0)])
@pytest.mark.parametrize("columns", [0, 1, 2, 8, 9, 65])
def test_product_lies_within_the_proven_bound_of_what_is_stored(every_isa, rng, dtype, shape, columns):
    a = engine.BitmaskMatrix.from_dense(sparse_weights(rng, shape, 0.6), dtype)
    x = rng.standard_normal((shape[1], columns)).astype(np.float32)
    assert_linear_within_bound((a @ x).T, x.T, a.to_dense())


@pytest.mark.parametrize("dtype", DTYPES[:3])
@pytest.mark.parametrize("columns", [1, 5, 100])
def test_products_of_integers_are_exact(every_isa, rng, dtype, columns):
    w = integers(rng, (70, 300), 4)
    x = integers(rng, (300, columns), 8)
    y = engine.BitmaskMatrix.from_dense(w, dtype) @ x
    np.testing.assert_array_equal(y, w.astype(np.float64) @ x.astype(np.float64))
    assert_says_something(y)


@pytest.mark.parametrize("columns", [1, 3, 64])
def test_what_no_stored_weight_touches_does_not_reach_the_output(every_isa, rng, columns):
    w = sparse_weights(rng, (40, 200), 0.6)
    w[:, ::3] = 0
    x = rng.standard_normal((200, columns)).astype(np.float32)
    x[::3] = rng.choice([np.inf, np.nan], x[::3].shape)
    y = engine.BitmaskMatrix.from_dense(w) @ x
    x[::3] = 0
    assert_linear_within_bound(y.T, x.T, w)


def test_values_are_rounded_as_their_type_rounds(rng):
    w = sparse_weights(rng, (50, 60), 0.5)
    np.testing.assert_array_equal(engine.BitmaskMatrix.from_dense(w).to_dense(), w)
    half = engine.BitmaskMatrix.from_dense(w, dtype="float16").to_dense()
    np.testing.assert_array_equal(half, w.astype(np.float16).astype(np.float32))
    torch = pytest.importorskip("torch")
    brain = engine.BitmaskMatrix.from_dense(torch.from_numpy(w), dtype="bfloat16").to_dense()
    np.testing.assert_array_equal(brain, torch.from_numpy(w).bfloat16().float().numpy())


@pytest.mark.parametrize("dtype", DTYPES[1:3])
def test_csr_stores_the_same_sixteen_bits(every_isa, rng, dtype):
    w = sparse_weights(rng, (50, 600), 0.8)
    a, b = engine.CSRMatrix.from_dense(w, dtype=dtype), engine.BitmaskMatrix.from_dense(w, dtype=dtype)
    np.testing.assert_array_equal(a.to_dense(), b.to_dense())
    assert a.dtype == b.dtype == dtype
    for columns in (1, 4, 50):
        x = rng.standard_normal((600, columns)).astype(np.float32)
        assert_linear_within_bound((a @ x).T, x.T, a.to_dense())


@pytest.mark.parametrize("dtype", DTYPES)
def test_parts_round_trip(rng, dtype):
    a = engine.BitmaskMatrix.from_dense(sparse_weights(rng, (13, 37), 0.5), dtype)
    mask, values = a.to_parts()
    b = engine.BitmaskMatrix.from_parts(mask, values, a.shape, dtype)
    np.testing.assert_array_equal(a.to_dense(), b.to_dense())
    assert (b.shape, b.nnz, b.dtype) == (a.shape, a.nnz, dtype)
    assert f"dtype={dtype}" in repr(b)


def test_packed_bits_are_a_mask_and_are_copied():
    kept = engine.masking.keep_largest(np.arange(12, dtype=np.float32), 5).reshape(3, 4)
    bits = np.packbits(kept, bitorder="little")
    a = engine.BitmaskMatrix.from_parts(bits, np.arange(7, 12, dtype=np.float32), (3, 4))
    bits[:] = 0
    np.testing.assert_array_equal(a.to_dense(), np.where(kept, np.arange(12).reshape(3, 4), 0))


def test_memory_is_a_bit_a_weight_and_the_values(rng):
    w = sparse_weights(rng, (256, 1024), 0.5)
    for dtype, size in zip(DTYPES, (4, 2, 2, 1), strict=True):
        a = engine.BitmaskMatrix.from_dense(w, dtype)
        assert a.nbytes <= w.size / 8 + size * np.count_nonzero(w) + 12 * (len(w) + 1) + 200


@pytest.mark.parametrize(
    ("mask", "values", "shape", "error", "words"),
    [
        ([7], 3, (2, 5), ValueError, r"mask has 1 bytes; a matrix of shape \(2, 5\) needs 2"),
        ([7, 4], 4, (2, 5), ValueError, "past the last weight"),
        ([7, 2], 3, (2, 5), ValueError, "4 ones but there are 3 values"),
        ([[7, 2]], 4, (2, 5), ValueError, "2 dimensions"),
        ([7, 2], 4, (-2, -5), ValueError, "negative side"),
        ([7, 2], 4, (2**62, 2**31), ValueError, "does not fit"),
        ([7, 2], 4, (2,), ValueError, "two integers"),
        ([7.0, 2.0], 4, (2, 5), TypeError, "uint8"),
    ],
)
def test_hostile_parts_are_refused(mask, values, shape, error, words):
    mask = np.array(mask)
    mask = mask if mask.dtype.kind == "f" else mask.astype(np.uint8)
    with pytest.raises(error, match=words):
        engine.BitmaskMatrix.from_parts(mask, np.ones(values, np.float32), shape)


def test_types_that_cannot_hold_the_weights_are_refused():
    with pytest.raises(ValueError, match=r"weights\[0, 1\] = 70000 does not fit float16"):
        engine.BitmaskMatrix.from_dense(np.array([[1, 70000]], np.float32), dtype="float16")
    with pytest.raises(ValueError, match="does not fit int8"):
        engine.BitmaskMatrix.from_dense(np.array([[1, np.nan]], np.float32), dtype="int8")
    with pytest.raises(ValueError, match="'float64' is not one of: 'float32', 'bfloat16', 'float16', 'int8'"):
        engine.BitmaskMatrix.from_dense(np.ones((1, 2), np.float32), dtype="float64")
    with pytest.raises(ValueError, match="not int8"):
        engine.CSRMatrix.from_dense(np.ones((1, 2), np.float32), dtype="int8")
    with pytest.raises(TypeError, match="float32"):
        engine.BitmaskMatrix.from_parts(np.array([1], np.uint8), np.ones(1), (1, 1))

import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, assert_says_something, integers

BLOCKS = [(4, 1), (8, 1), (16, 1), (2, 1), (1, 4), (4, 4), (3, 2)]


def block_weights(rng, block, draw, rows=12, cols=31):
    kept = np.kron(rng.random((rows, cols)) < 0.3, np.ones(block))
    return (draw((rows * block[0], cols * block[1])) * kept).astype(np.float32)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("columns", [0, 1, 5, 8, 9, 64, 130])
def test_product_lies_within_the_proven_bound(every_isa, rng, block, columns):
    w = block_weights(rng, block, rng.standard_normal)
    x = rng.standard_normal((w.shape[1], columns)).astype(np.float32)
    y = engine.BSRMatrix.from_dense(w, block) @ x
    assert_linear_within_bound(y.T, x.T, w)


@pytest.mark.parametrize("block", BLOCKS)
def test_linear_and_convolution_of_integers_are_exact(every_isa, rng, block):
    torch = pytest.importorskip("torch")
    w = block_weights(rng, block, lambda shape: integers(rng, shape, 4, without_zero=True), rows=48 // block[0], cols=45)
    a = engine.BSRMatrix.from_dense(w, block)
    x = integers(rng, (33, w.shape[1]), 8)
    y = engine.linear(x, a)
    np.testing.assert_array_equal(y, x.astype(np.float64) @ w.T.astype(np.float64))
    assert_says_something(y)
    images = torch.from_numpy(integers(rng, (2, w.shape[1] // 9, 10, 12), 8))
    y = engine.conv2d(images, a, 3, padding=1)
    exact = torch.nn.functional.conv2d(images.double(), torch.from_numpy(w).double().view(len(w), -1, 3, 3), padding=1)
    np.testing.assert_array_equal(y.double(), exact)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scipy_and_torch_forms_come_back_unchanged(rng, block):
    torch = pytest.importorskip("torch")
    w = block_weights(rng, block, rng.standard_normal)
    a = engine.BSRMatrix.from_dense(w, block)
    assert a.block == block
    assert a.to_torch().layout == torch.sparse_bsr
    np.testing.assert_array_equal(a.to_torch().to_dense(), w)
    for again in (engine.BSRMatrix.from_scipy(a.to_scipy()), engine.BSRMatrix.from_torch(a.to_torch())):
        assert again.block == block
        assert again.nnz == a.nnz
        np.testing.assert_array_equal(again.to_dense(), w)


def test_a_block_that_does_not_fit_is_refused_with_the_rule(rng):
    w = np.ones((6, 8), np.float32)
    with pytest.raises(ValueError, match=r"block = \(4, 1\) does not divide the shape \(6, 8\)"):
        engine.BSRMatrix.from_dense(w, (4, 1))
    for block in [(0, 1), (-1, 2), (1.5, 2), (2,), 4, "ab"]:
        with pytest.raises(ValueError, match="block"):
            engine.BSRMatrix.from_dense(w, block)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indptr": [0, 3, 2]}, "indptr"),
        ({"indptr": [0, 1, 2, 3]}, "indptr has 4 entries"),
        ({"indices": [0, 9, 1]}, "outside"),
        ({"indices": [0, 0, 1]}, "twice"),
        ({"indices": [0, -1, 1]}, "outside"),
        ({"shape": (5, 6)}, "divide"),
        ({"shape": (2**62, 2**62)}, "does not fit|at most"),
    ],
)
def test_parts_that_make_no_matrix_are_refused(change, message):
    good = {"indptr": [0, 2, 3], "indices": [0, 2, 1], "values": np.ones((3, 2, 2), np.float32), "shape": (4, 6)}
    engine.BSRMatrix.from_parts(**good)
    with pytest.raises(ValueError, match=message):
        engine.BSRMatrix.from_parts(**(good | change))


def test_parts_of_another_type_are_refused():
    for values in (np.ones((3, 2, 2)), np.ones((3, 4), np.float32)):
        with pytest.raises(TypeError, match="values must be a 3-dimensional float32 array"):
            engine.BSRMatrix.from_parts([0, 2, 3], [0, 2, 1], values, (4, 6))


def test_results_reuse_memory_that_nobody_holds_and_no_other(rng):
    a = engine.BSRMatrix.from_dense(block_weights(rng, (4, 1), rng.standard_normal))
    x = rng.standard_normal((a.shape[1], 100)).astype(np.float32)
    kept = [a @ x for _ in range(3)]
    assert len({y.ctypes.data for y in kept}) == 3
    for y in kept[1:]:
        np.testing.assert_array_equal(y, kept[0])
    address = kept.pop().ctypes.data
    del y
    assert (a @ x).ctypes.data == address

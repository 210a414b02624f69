"""What every sparse matrix has, and the checks that all constructors share."""

import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, sparse_weights
from sparse_engine.matrices import base

MATRICES = {
    "csr": engine.CSRMatrix.from_dense,
    "bsr": lambda w: engine.BSRMatrix.from_dense(w, (2, 4)),
    "bitmask": engine.BitmaskMatrix.from_dense,
}


@pytest.fixture(params=MATRICES.values(), ids=MATRICES)
def matrix_and_weights(request, rng):
    w = sparse_weights(rng, (12, 20), 0.7)
    return request.param(w), w


def test_shape_weights_and_memory_are_those_of_the_matrix(matrix_and_weights):
    matrix, w = matrix_and_weights
    assert matrix.shape == (12, 20)
    assert np.array_equal(matrix.to_dense(), w)
    assert matrix.nnz >= np.count_nonzero(w)
    before = matrix.nbytes
    assert before >= 4 * np.count_nonzero(w)
    matrix @ np.ones((20, 64), np.float32)
    assert matrix.layout_nbytes > 0, "a layout was packed"
    assert matrix.nbytes == before
    assert f"{type(matrix).__name__}(shape=(12, 20), nnz={matrix.nnz}, density={matrix.nnz / 240:.4f}" in repr(matrix)


def test_a_matrix_is_immutable_and_its_dense_form_a_copy(matrix_and_weights):
    matrix, w = matrix_and_weights
    for name in ("shape", "nnz", "nbytes", "other"):
        with pytest.raises(AttributeError):
            setattr(matrix, name, 1)
    matrix.to_dense()[:] = 5
    assert np.array_equal(matrix.to_dense(), w)


@pytest.mark.parametrize("shape", [(20,), (20, 0), (20, 1), (20, 7), (20, 70)])
def test_a_product_has_as_many_dimensions_as_x(matrix_and_weights, shape, every_isa, rng):
    matrix, w = matrix_and_weights
    x = rng.standard_normal(shape).astype(np.float32)
    y = matrix @ x
    assert y.shape == (12, *shape[1:])
    assert_linear_within_bound(y.reshape(12, -1).T, x.reshape(20, -1).T, w)


@pytest.mark.parametrize("shape", [(), (19,), (21, 3), (20, 3, 1)])
def test_an_x_that_does_not_fit_is_named(matrix_and_weights, shape):
    with pytest.raises(ValueError, match=r"A of shape \(12, 20\) needs \(20,\) or \(20, N\)"):
        matrix_and_weights[0] @ np.zeros(shape, np.float32)


def test_a_matrix_of_nothing_can_be_printed():
    assert "density=1.0000" in repr(engine.CSRMatrix.from_dense(np.zeros((0, 3), np.float32)))


def test_dense_weights_are_two_dimensional_and_contiguous():
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert base.dense_weights(w) is w
    assert base.dense_weights(w.T).flags.c_contiguous
    with pytest.raises(ValueError, match=r"weights has shape \(2, 3, 1\); a matrix has two dimensions"):
        base.dense_weights(w[..., None])


def test_shapes_and_pairs_are_two_integers():
    assert base.matrix_shape((np.int64(3), 0)) == (3, 0)
    assert base.positive_pair([4, np.uint8(1)], "block") == (4, 1)
    for bad in (3, (1, 2, 3), (1.0, 2), (True, 2), ("1", 2), (2**63, 1), (-(2**63) - 1, 1), None):
        with pytest.raises(ValueError, match="must be two integers"):
            base.matrix_shape(bad)
        with pytest.raises(ValueError, match=r"block = .* must be two integers"):
            base.positive_pair(bad, "block")
    for bad in ((0, 1), (1, -1)):
        with pytest.raises(ValueError, match="both must be at least 1"):
            base.positive_pair(bad, "block")


def test_values_are_float32_of_the_rank_asked_for():
    assert base.float32_values(np.ones((2, 3), np.float32).T, 2).flags.c_contiguous
    for bad in ([1.0], np.ones(3), np.ones((1, 1), np.float32)):
        with pytest.raises(TypeError, match="values must be a 1-dimensional float32 array"):
            base.float32_values(bad, 1)


def test_value_types_have_names():
    for name in ("float32", "bfloat16", "float16", "int8"):
        assert base.value_type(name).name == name
    for bad in ("float64", "", None, 3):
        with pytest.raises(ValueError, match="is not one of: 'float32', 'bfloat16', 'float16', 'int8'"):
            base.value_type(bad)


@pytest.mark.parametrize("value", [[], [0, 5], np.array([1, 2], np.uint8), np.arange(6)[::2], range(3)])
def test_indices_are_copied_as_int64(value):
    taken = base.index_array(value, "indices")
    assert taken.dtype == np.int64
    assert taken.tolist() == list(value)
    assert not np.shares_memory(taken, np.asarray(value))


def test_indices_are_integers_in_one_dimension():
    with pytest.raises(TypeError, match="indices has dtype float64; indices are integers"):
        base.index_array([1.0], "indices")
    with pytest.raises(TypeError, match="bool"):
        base.index_array([True], "indices")
    with pytest.raises(ValueError, match="indices has 2 dimensions; it needs 1"):
        base.index_array([[1]], "indices")
    assert base.index_array(np.array([2**64 - 1], np.uint64), "indices").tolist() == [-1], "refused later, as out of range"

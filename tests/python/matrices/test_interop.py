"""Sparse matrices of scipy and torch: whatever is wrong with them is an error that can be caught, whatever is right is kept."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import damage
import sparse_engine as engine
from reference import sparse_weights

sparse = pytest.importorskip("scipy.sparse")

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"]
KINDS = [f"{name}_{kind}" for name in FORMATS for kind in ("matrix", "array")]


def plain_weights(rng):
    return sparse_weights(rng, (12, 8), 0.6)


def make(kind, w):
    return sparse.bsr_array(w, blocksize=(4, 2)) if kind == "bsr_array" else getattr(sparse, kind)(w)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_read_and_left_as_it_was(rng, kind):
    w = plain_weights(rng)
    matrix = make(kind, w)
    csr = engine.CSRMatrix.from_scipy(matrix)
    bsr = engine.BSRMatrix.from_scipy(matrix, (4, 1))
    for got in (csr, bsr, engine.BSRMatrix.from_scipy(matrix)):
        np.testing.assert_array_equal(got.to_dense(), w)
        np.testing.assert_array_equal(got.to_scipy().toarray(), w)
    assert bsr.block == (4, 1)
    np.testing.assert_array_equal(matrix.toarray(), w)


@pytest.mark.parametrize("kind", KINDS)
def test_empty_matrices_of_every_format_are_read(kind):
    for shape in [(4, 8), (0, 8), (4, 0)]:
        try:
            matrix = getattr(sparse, kind)(shape, dtype=np.float32)
        except ValueError:  # scipy makes no such matrix of this format
            continue
        assert engine.CSRMatrix.from_scipy(matrix).shape == shape
        got = engine.BSRMatrix.from_scipy(matrix, (1, 1))
        assert (got.shape, got.nnz) == (shape, 0)


def test_blocks_of_a_block_matrix_are_kept_with_their_zeros(rng):
    data = rng.standard_normal((3, 4, 2)).astype(np.float32)
    data[1] = 0
    matrix = sparse.bsr_array((data, [0, 2, 1], [0, 2, 3]), shape=(8, 6))
    same = engine.BSRMatrix.from_scipy(matrix)
    assert (same.block, same.nnz) == ((4, 2), 24)
    assert engine.CSRMatrix.from_scipy(matrix).nnz == 24
    other = engine.BSRMatrix.from_scipy(matrix, (2, 3))
    assert other.block == (2, 3)
    for got in (same, other):
        np.testing.assert_array_equal(got.to_dense(), matrix.toarray())


def places(shape):
    return st.lists(st.tuples(st.integers(0, shape[0] - 1), st.integers(0, shape[1] - 1), st.integers(-9, 9)), max_size=40)


@given(places((6, 4)), st.sampled_from(["float32", "float64", "int8", "int64", "uint16"]))
def test_what_shares_a_place_is_added_up_in_any_order(entries, dtype):
    rows, cols, values = np.array(entries, np.int64).reshape(-1, 3).T
    values = values.astype(dtype) if dtype != "uint16" else np.abs(values).astype(dtype)
    expected = np.zeros((6, 4))
    np.add.at(expected, (rows, cols), values)
    coo = sparse.coo_array((values, (rows, cols)), shape=(6, 4))
    by_row = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=6))])
    csr = sparse.csr_array((values[by_row], cols[by_row], indptr), shape=(6, 4))
    before = csr.indices.copy(), csr.data.copy()
    for matrix in (coo, csr):
        np.testing.assert_array_equal(engine.CSRMatrix.from_scipy(matrix).to_dense(), expected)
        np.testing.assert_array_equal(engine.BSRMatrix.from_scipy(matrix, (3, 2)).to_dense(), expected)
    np.testing.assert_array_equal(csr.indices, before[0])
    np.testing.assert_array_equal(csr.data, before[1])


def test_duplicate_blocks_are_added_up(rng):
    data = rng.integers(-9, 9, (4, 2, 2)).astype(np.float32)
    matrix = sparse.bsr_array((data, [1, 0, 1, 0], [0, 3, 4]), shape=(4, 4))
    expected = np.zeros((4, 4), np.float32)
    expected[:2, 2:], expected[:2, :2], expected[2:, :2] = data[0] + data[2], data[1], data[3]
    for got in (engine.BSRMatrix.from_scipy(matrix), engine.CSRMatrix.from_scipy(matrix)):
        np.testing.assert_array_equal(got.to_dense(), expected)
    np.testing.assert_array_equal(matrix.indices, [1, 0, 1, 0])


def test_room_behind_the_last_entry_is_no_entry():
    matrix = sparse.csr_array(np.eye(2, dtype=np.float32))
    matrix.indices, matrix.data = np.array([0, 1, 77]), np.array([1, 2, 99], np.float32)
    np.testing.assert_array_equal(engine.CSRMatrix.from_scipy(matrix).to_dense(), [[1, 0], [0, 2]])


def from_csr(values):
    return engine.CSRMatrix.from_scipy(sparse.csr_array(values))


def from_bsr(values):
    return engine.BSRMatrix.from_scipy(sparse.bsr_array(values), (1, 1))


@pytest.mark.parametrize("read", [from_csr, from_bsr])
def test_complex_values_are_refused_and_told_the_way_out(read):
    for dtype in (np.complex64, np.complex128):
        with pytest.raises(TypeError, match=rf"{np.dtype(dtype)}; weights are real numbers \(matrix.real, or abs\(matrix\)\)"):
            read(np.array([[1 + 2j, 0], [0, 3j]], dtype))


@pytest.mark.parametrize("read", [from_csr, from_bsr])
def test_finite_values_beyond_float32_are_refused(read):
    for value in (1e300, -3.5e38, np.longdouble("1e4000")):
        with pytest.raises(ValueError, match=r"\(0, 1\), which does not fit float32; scale the matrix"):
            read(np.array([[1, value]]))
    fitting = np.array([[np.inf, 1.1, 3.4e38, 2.0**100]])
    np.testing.assert_array_equal(read(fitting).to_dense(), fitting.astype(np.float32))
    assert np.isnan(read(np.array([[np.nan, 1]])).to_dense()[0, 0])


def test_a_sum_of_duplicates_beyond_float32_is_refused():
    matrix = sparse.coo_array((np.array([3e38, 3e38], np.float32), ([0, 0], [0, 0])), shape=(1, 1))
    with pytest.raises(ValueError, match=r"6\.0\d*e\+38 at \(0, 0\), which does not fit float32"):
        engine.CSRMatrix.from_scipy(matrix)


def test_other_things_than_matrices_are_refused():
    for thing in (np.eye(2), [[1, 0]], None, "csr", object()):
        with pytest.raises(TypeError, match="must be a scipy sparse matrix or array"):
            engine.CSRMatrix.from_scipy(thing)
    with pytest.raises(ValueError, match="two integers"):
        engine.CSRMatrix.from_scipy(sparse.coo_array(np.ones(3)))
    with pytest.raises(ValueError, match=r"block = \(5, 1\) does not divide the shape \(12, 8\)"):
        engine.BSRMatrix.from_scipy(sparse.csr_array((12, 8)), (5, 1))


def test_damaged_matrices_of_scipy_are_refused_not_followed():
    # In a process of its own: scipy's conversions die of most of these.
    ran = subprocess.run([sys.executable, damage.__file__, "scipy"], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


def test_damaged_tensors_of_torch_are_refused_not_followed():
    pytest.importorskip("torch")
    ran = subprocess.run([sys.executable, damage.__file__, "torch"], capture_output=True, text=True, timeout=120)
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout + ran.stderr


numbers = st.one_of(st.integers(-3, 14), st.sampled_from([2**31 - 1, -(2**31), 10**9, -(10**9)]))
arrays = st.one_of(st.none(), st.lists(numbers, max_size=40).map(lambda values: np.array(values, np.int32)))


@given(st.sampled_from(["csr", "csc", "bsr"]), arrays, arrays, st.integers(0, 40), st.integers(0, 40), numbers)
@settings(deadline=None, max_examples=200)
def test_any_arrays_make_the_matrix_they_describe_or_are_refused(name, indptr, indices, place, other, value):
    matrix = damage.sound(name)
    matrix.indptr = matrix.indptr.copy() if indptr is None else indptr
    matrix.indices = matrix.indices.copy() if indices is None else indices
    for array, where in ((matrix.indptr, place), (matrix.indices, other)):
        if where < len(array):
            array[where] = value
    for read in (engine.CSRMatrix.from_scipy, lambda m: engine.BSRMatrix.from_scipy(m, (2, 1)), engine.BSRMatrix.from_scipy):
        try:
            dense = read(matrix).to_dense()
        except (ValueError, TypeError):
            continue
        matrix.check_format(full_check=True)
        np.testing.assert_array_equal(dense, matrix.toarray())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_of_another_kind_are_refused_with_the_way_out():
    torch = pytest.importorskip("torch")
    csr = torch.eye(4).to_sparse_csr()
    for tensor, words in [
        (np.eye(4), "must be a torch tensor of layout torch.sparse_csr, not ndarray"),
        (torch.eye(4), r"layout torch.strided; it must be torch.sparse_csr \(tensor.to_sparse_csr"),
        (torch.eye(4).to_sparse_bsr((2, 2)), "layout torch.sparse_bsr"),
        (csr.double(), r"float64; it must be torch.float32 \(tensor.to\(torch.float32\)\)"),
        (csr.to(torch.complex64), "complex64"),
        (csr.to("meta"), "meta; it must be on the CPU"),
    ]:
        with pytest.raises(TypeError, match=words):
            engine.CSRMatrix.from_torch(tensor)
    with pytest.raises(TypeError, match=r"layout torch.sparse_csr; it must be torch.sparse_bsr"):
        engine.BSRMatrix.from_torch(csr)
    with pytest.raises(ValueError, match="two integers"):
        engine.CSRMatrix.from_torch(torch.ones(2, 4, 4).to_sparse_csr())
    assert engine.CSRMatrix.from_torch(csr.requires_grad_()).nnz == 4

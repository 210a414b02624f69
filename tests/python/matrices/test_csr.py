import sys
import threading

import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, assert_says_something, integers, sparse_weights

SHAPES = [(1, 1), (1, 7), (9, 1), (33, 95), (65, 97), (257, 385), (0, 5), (5, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", [0, 1, 2, 7, 8, 9, 63, 64, 65, 130])
def test_product_lies_within_the_proven_bound(every_isa, rng, shape, columns):
    w = sparse_weights(rng, shape, 0.7)
    x = rng.standard_normal((shape[1], columns)).astype(np.float32)
    y = engine.CSRMatrix.from_dense(w) @ x
    assert_linear_within_bound(y.T, x.T, w)


@pytest.mark.parametrize("columns", [1, 5, 100])
def test_products_of_integers_are_exact(every_isa, rng, columns):
    w = integers(rng, (70, 300), 4, without_zero=True) * (rng.random((70, 300)) < 0.3)
    w = w.astype(np.float32)
    x = integers(rng, (300, columns), 8)
    y = engine.CSRMatrix.from_dense(w) @ x
    np.testing.assert_array_equal(y, w.astype(np.float64) @ x.astype(np.float64))
    assert_says_something(y)


@pytest.mark.parametrize("columns", [1, 3, 64, 70])
def test_what_no_stored_weight_touches_does_not_reach_the_output(every_isa, rng, columns):
    w = sparse_weights(rng, (40, 200), 0.8)
    untouched = rng.random(200) < 0.3
    untouched[0] = True
    w[:, untouched] = 0
    x = rng.standard_normal((200, columns)).astype(np.float32)
    x[untouched] = rng.choice([np.inf, np.nan, -np.inf], (untouched.sum(), columns))
    y = engine.CSRMatrix.from_dense(w) @ x
    x[untouched] = 0
    assert_linear_within_bound(y.T, x.T, w)


def test_any_strides_are_taken(rng):
    w = sparse_weights(rng, (50, 64), 0.5)
    a = engine.CSRMatrix.from_dense(w)
    base = rng.standard_normal((128, 80)).astype(np.float32)
    for x in (base[::2], base[::-2], base[:64].copy(order="F"), base[:64, ::-3], np.broadcast_to(base[0, :9], (64, 9))):
        assert_linear_within_bound((a @ x).T, x.T, w)
    packed = np.zeros(64, dtype=[("pad", "u1"), ("value", "<f4")])
    packed["value"] = base[:64, 0]
    assert_linear_within_bound((a @ packed["value"])[None], base[:64, 0][None], w)


def test_results_repeat_bit_for_bit_for_any_thread_count_and_position(rng):
    w = sparse_weights(rng, (600, 700), 0.8)
    x = rng.standard_normal((700, 1)).astype(np.float32).repeat(130, axis=1)
    a = engine.CSRMatrix.from_dense(w)
    results = []
    for threads in (1, 2, 3):
        engine.runtime.set_num_threads(threads)
        results += [a @ x, a @ x]
    engine.runtime.set_num_threads(0)
    for y in results:
        np.testing.assert_array_equal(y, results[0])
        np.testing.assert_array_equal(y, np.repeat(y[:, :1], 130, axis=1))


def test_torch_in_torch_out_and_numpy_in_numpy_out(rng):
    torch = pytest.importorskip("torch")
    w = sparse_weights(rng, (30, 20), 0.5)
    a = engine.CSRMatrix.from_dense(torch.from_numpy(w))
    x = rng.standard_normal((20, 4)).astype(np.float32)
    y = a @ torch.from_numpy(x)
    assert isinstance(y, torch.Tensor)
    np.testing.assert_array_equal(y.numpy(), a @ x)
    assert (a @ x[:, 0]).shape == (30,)
    with pytest.raises(TypeError, match=r"torch.no_grad\(\)"):
        a @ torch.from_numpy(x).requires_grad_()


def test_parts_round_trip_through_scipy(rng):
    sparse = pytest.importorskip("scipy.sparse")
    w = sparse_weights(rng, (40, 50), 0.8)
    a = engine.CSRMatrix.from_scipy(sparse.coo_array(w))
    np.testing.assert_array_equal(a.to_dense(), w)
    np.testing.assert_array_equal(a.to_scipy().toarray(), w)
    assert a.shape == (40, 50)
    assert a.nnz == np.count_nonzero(w)
    assert a.nbytes >= 6 * a.nnz


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled")
def test_parts_round_trip_through_torch(rng):
    torch = pytest.importorskip("torch")
    w = sparse_weights(rng, (40, 50), 0.8)
    a = engine.CSRMatrix.from_torch(torch.from_numpy(w).to_sparse_csr())
    np.testing.assert_array_equal(a.to_dense(), w)
    assert a.to_torch().layout == torch.sparse_csr
    np.testing.assert_array_equal(a.to_torch().to_dense(), w)


def test_unsorted_rows_are_sorted_and_input_is_copied():
    indices = np.array([2, 0, 1])
    values = np.array([3, 1, 2], np.float32)
    a = engine.CSRMatrix.from_parts([0, 2, 3], indices, values, (2, 3))
    indices[:] = 99
    values[:] = 99
    np.testing.assert_array_equal(a.to_dense(), [[1, 0, 3], [0, 2, 0]])


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("indptr", "indices", "values", "shape", "error", "words"),
    [
        ([1, 1], [0], ONE, (1, 1), ValueError, r"indptr\[0\] = 1; it must be 0"),
        ([0, 2, 1], [0], ONE, (2, 1), ValueError, "must never decrease"),
        ([0, 0], [0], ONE, (1, 1), ValueError, "there are 1 values"),
        ([0, 9], [0], ONE, (1, 1), ValueError, "there are 1 values"),
        ([0], [], ONE[:0], (1, 1), ValueError, r"needs 1 \+ 1"),
        ([0, 1], [0, 0], ONE, (1, 1), ValueError, "one index per value"),
        ([0, 1], [1], ONE, (1, 1), ValueError, r"indices\[0\] = 1 is outside \[0, 1\) \(row 0\)"),
        ([0, 1], [-1], ONE, (1, 1), ValueError, "outside"),
        ([0, 1], np.array([2**63 + 5], np.uint64), ONE, (1, 1), ValueError, "outside"),
        ([0, 2], [1, 1], np.ones(2, np.float32), (1, 3), ValueError, "occurs twice in row 0"),
        ([0, 1], [0.5], ONE, (1, 1), TypeError, "integers"),
        ([0, 1], [True], ONE, (1, 1), TypeError, "integers"),
        ([False, True], [0], ONE, (1, 1), TypeError, "integers"),
        ([[0, 1]], [0], ONE, (1, 1), ValueError, "2 dimensions"),
        ([0, 1], [0], np.ones(1), (1, 1), TypeError, "float32"),
        ([0, 1], [0], ONE, (-1, 1), ValueError, "negative side"),
        ([0, 1], [0], ONE, (2**62, 2**62), ValueError, "at most 2"),
        ([0, 1], [0], ONE, (2**62, 2**31), ValueError, "does not fit"),
        ([0, 1], [0], ONE, (2**70, 1), ValueError, "two integers"),
        ([0, 1], [0], ONE, (1,), ValueError, "two integers"),
        ([0, 1], [0], ONE, (1.0, 1), ValueError, "two integers"),
        ([0, 1], [0], ONE, "ab", ValueError, "two integers"),
    ],
)
def test_hostile_parts_are_refused(indptr, indices, values, shape, error, words):
    with pytest.raises(error, match=words):
        engine.CSRMatrix.from_parts(indptr, indices, values, shape)


def test_wrong_operands_are_refused(rng):
    a = engine.CSRMatrix.from_dense(np.ones((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"X has shape \(2, 2\)"):
        a @ np.ones((2, 2), np.float32)
    with pytest.raises(TypeError, match="float64"):
        a @ np.ones((3, 2))
    with pytest.raises(TypeError, match="list"):
        a @ [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="two dimensions"):
        engine.CSRMatrix.from_dense(np.ones(3, np.float32))


def test_a_matrix_serves_many_threads_at_once(rng):
    w = sparse_weights(rng, (300, 400), 0.8)
    a = engine.CSRMatrix.from_dense(w)
    xs = [rng.standard_normal((400, n)).astype(np.float32) for n in (1, 3, 40, 90)]
    expected = [engine.CSRMatrix.from_dense(w) @ x for x in xs]
    wrong = []

    def work(i):
        for _ in range(20):
            if not np.array_equal(a @ xs[i], expected[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i % len(xs),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_forked_child_computes(rng):
    import subprocess

    script = """
import os, numpy as np, sparse_engine as engine
a = engine.CSRMatrix.from_dense(np.eye(2000, dtype=np.float32) + np.eye(2000, k=1, dtype=np.float32))
x = np.ones((2000, 256), np.float32)
expected = a @ x
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(a @ x, expected) else 1)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

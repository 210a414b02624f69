import threading
from types import SimpleNamespace

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import helper, model_of, onnx, reals


def two_outputs():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["r"])]
    return model_of(nodes, {"x": ("N", 16)}, ["h", "r"], {"w": reals(16, 8, seed=1)})


@pytest.fixture
def path(tmp_path):
    onnx.save(two_outputs(), str(tmp_path / "m.onnx"))
    return tmp_path / "m.onnx"


X = reals(3, 16)


def test_it_answers_as_onnx_runtime_does(path):
    ort = pytest.importorskip("onnxruntime")
    ours = engine.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for a, b in zip((*ours.get_inputs(), *ours.get_outputs()), (*theirs.get_inputs(), *theirs.get_outputs()), strict=True):
        assert (a.name, a.type, a.shape[1:]) == (b.name, b.type, b.shape[1:])
    for names in (None, ["r"], ["r", "h"]):
        for a, b in zip(ours.run(names, {"x": X}), theirs.run(names, {"x": X}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_compiled_file_and_its_bytes_open_without_compiling(path, tmp_path):
    compiled = engine.compile(path)
    compiled.save(tmp_path / "m.sparse")
    for source in (tmp_path / "m.sparse", (tmp_path / "m.sparse").read_bytes()):
        session = engine.InferenceSession(source, SimpleNamespace(intra_op_num_threads=1))
        assert np.array_equal(session.run(["h"], {"x": X})[0], compiled(X)[0])
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_wrong_names_and_shapes_are_value_errors(path):
    session = engine.InferenceSession(path)
    with pytest.raises(ValueError, match="output_names has 'z'; the model's outputs are h, r"):
        session.run(["z"], {"x": X})
    with pytest.raises(ValueError, match="input_feed: input x is missing"):
        session.run(None, {})
    with pytest.raises(ValueError, match="input_feed: z is none"):
        session.run(None, {"x": X, "z": X})
    with pytest.raises(ValueError, match="x has shape"):
        session.run(None, {"x": X[:, :3]})


def test_an_asynchronous_run_hands_its_results_or_its_error_to_the_callback(path):
    session = engine.InferenceSession(path)
    done, seen = threading.Event(), []

    def callback(results, user_data, error):
        seen.append((results, user_data, error))
        done.set()

    session.run_async(["r"], {"x": X}, callback, "mine")
    assert done.wait(30)
    done.clear()
    session.run_async(["r"], {"x": X[:, :3]}, callback, None)
    assert done.wait(30)
    assert np.array_equal(seen[0][0][0], session.run(["r"], {"x": X})[0])
    assert seen[0][1:] == ("mine", "")
    assert seen[1][0] == []
    assert "has shape" in seen[1][2]


def test_threads_may_run_at_once(path):
    session = engine.InferenceSession(path)
    expected = session.run(None, {"x": X})
    failures = []

    def work():
        for _ in range(50):
            if not all(np.array_equal(a, b) for a, b in zip(session.run(None, {"x": X}), expected, strict=True)):
                failures.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures

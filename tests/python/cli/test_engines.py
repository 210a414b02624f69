import numpy as np
import pytest

from onnx_file import file, save_with_determinant
from sparse_engine.cli.engines import RIVALS, feeds_of, opened, random_array, sparse
from sparse_engine.cli.output import UserError
from sparse_engine.compiler.compiled import is_compiled

__all__ = ["file"]


def test_every_engine_computes_the_same(file):
    model = opened(str(file))
    feeds = feeds_of(model, 5)
    assert {name: array.shape for name, array in feeds.items()} == {"x": (5, 64)}
    ours = sparse(model, 1)(feeds)
    compared = 0
    for name, engine in RIVALS.items():
        try:
            call = engine(str(file), 1)
        except ModuleNotFoundError:
            continue
        compared += 1
        for a, b in zip(call(feeds), ours, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=name)
    if not compared:
        pytest.skip("no other engine is installed")


def test_files_are_told_apart_by_how_they_begin(file):
    opened(str(file)).save("a.sparse")
    assert is_compiled("a.sparse")
    assert not is_compiled(str(file))
    assert opened("a.sparse").inputs[0].shape == ("N", 64)


def test_what_cannot_be_opened_is_the_users_error(file):
    (file.parent / "bad").write_bytes(b"sparse\x1e\nnothing")
    with pytest.raises(UserError, match="no compiled model"):
        opened("bad")


def test_random_numbers_are_the_same_every_time():
    assert random_array([2, 3], 1, "bfloat16").dtype == random_array([2, 3], 1, "float16").dtype == np.float32
    assert np.array_equal(random_array([2, 3], 1), random_array([2, 3], 1))
    assert not np.array_equal(random_array([2, 3], 1), random_array([2, 3], 2))


def test_what_is_not_covered_runs_where_it_is_told_to(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    save_with_determinant("det.onnx")
    with pytest.raises(UserError, match="Det"):
        opened("det.onnx")
    model = opened("det.onnx", 1, fallback="onnxruntime")
    assert [segment.runtime for segment in model.segments] == ["compiled", "onnxruntime"]
    monkeypatch.setattr("sparse_engine.cli.engines.importable", lambda name: False)
    with pytest.raises(UserError, match="pip install onnxruntime"):
        opened("det.onnx", fallback="onnxruntime")

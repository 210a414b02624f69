import json

import numpy as np
import pytest

from onnx_file import file, network, save_with_determinant
from onnx_models import onnx
from sparse_engine.cli import engines
from sparse_engine.cli.main import main

__all__ = ["file"]


def test_a_row_for_each_engine_batch_and_number_of_threads(file, capsys):
    assert (
        main(["bench", "net.onnx", "--engine", "sparse", "--batch", "1,3", "--threads", "1,2", "--rounds", "3", "--json"]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [(r["batch"], r["threads"]) for r in rows] == [(1, 1), (1, 2), (3, 1), (3, 2)]
    assert all(0 < r["median_ms"] <= r["p99_ms"] and r["ratio"] is None for r in rows)
    assert all(r["per_second"] == pytest.approx(1e3 * r["batch"] / r["median_ms"]) for r in rows)


def test_others_take_turns_and_the_ratio_is_to_the_fastest(file, capsys):
    pytest.importorskip("onnxruntime")
    assert main(["bench", "net.onnx", "--engine", "sparse,onnxruntime", "--rounds", "5"]) == 0
    head, _, ours, theirs = capsys.readouterr().out.splitlines()
    assert head.split()[:2] == ["engine", "batch"]
    assert ours.startswith("sparse ")
    assert theirs.startswith("onnxruntime ")
    ratios = [float(line.rstrip("×").split()[-1]) for line in (ours, theirs)]
    assert ratios[0] * ratios[1] == pytest.approx(1, abs=0.05)


def test_an_engine_that_computes_something_else_is_not_timed(file, capsys, monkeypatch):
    monkeypatch.setitem(engines.RIVALS, "onnxruntime", lambda path, threads: lambda feeds: [np.zeros((1, 10), np.float32)])
    monkeypatch.setattr("sparse_engine.cli.bench.importable", lambda name: True)
    assert main(["bench", "net.onnx", "--engine", "sparse,onnxruntime"]) == 1
    assert "differ by 1.0e+00" in capsys.readouterr().err


def test_an_engine_that_computes_nan_is_not_timed(file, capsys, monkeypatch):
    nan = np.full((1, 10), np.nan, np.float32)
    monkeypatch.setitem(engines.RIVALS, "onnxruntime", lambda path, threads: lambda feeds: [nan])
    monkeypatch.setattr("sparse_engine.cli.bench.importable", lambda name: True)
    assert main(["bench", "net.onnx", "--engine", "sparse,onnxruntime"]) == 1
    assert "differ by inf" in capsys.readouterr().err


def test_wrong_engines_and_batches_are_refused(file, capsys):
    assert main(["bench", "net.onnx", "--engine", "fastest"]) == 1
    assert main(["compile", "net.onnx"]) == 0
    assert main(["bench", "net.sparse", "--engine", "onnxruntime"]) == 1
    onnx.save(network(2), "fixed.onnx")
    assert main(["bench", "fixed.onnx", "--engine", "sparse", "--batch", "4"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("sparse-engine: ") for line in lines] == [True] * 3


def test_a_model_with_a_fallback_is_timed(file, capsys):
    pytest.importorskip("onnxruntime")
    save_with_determinant("det.onnx")
    command = ["bench", "det.onnx", "--rounds", "2", "--batch", "1,3", "--engine", "sparse,onnxruntime"]
    assert main(command) == 1
    assert main([*command, "--fallback", "onnxruntime"]) == 0
    assert "onnxruntime" in capsys.readouterr().out

import json

import pytest

from onnx_file import file, zeros
from sparse_engine.cli.main import main

__all__ = ["file"]


def test_the_share_goes_and_the_table_says_what_is_left(file, capsys):
    assert main(["prune", "net.onnx", "--sparsity", "0.75"]) == 0
    assert zeros("net-pruned.onnx") == [0.75, 0.75]
    assert zeros("net.onnx") == [0, 0]
    shown = capsys.readouterr().out
    assert "first" in shown
    assert "1,776 of 7,104 weights kept (25.0%)" in shown


def test_patterns_names_and_scope(file, capsys):
    assert main(["prune", "net.onnx", "--granularity", "2:4", "--exclude", "second", "-o", "p.onnx", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [w["kept"] for w in found["weights"]] == [3072, 960]
    assert zeros("p.onnx") == [0.5, 0]
    assert main(["prune", "net.onnx", "--sparsity", "0.9", "--scope", "global", "-o", "g.onnx"]) == 0
    first, second = zeros("g.onnx")
    assert first != second
    assert round(first * 64 * 96 + second * 960) == round(0.9 * 7104)


def test_what_cannot_be_met_is_said(file, capsys):
    assert main(["prune", "net.onnx"]) == 1
    assert main(["prune", "net.onnx", "--sparsity", "0.5", "--include", "nothing"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
    for wrong in ("1.5", "x", "80%"):
        with pytest.raises(SystemExit, match="2"):
            main(["prune", "net.onnx", "--sparsity", wrong])

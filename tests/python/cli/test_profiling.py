import json

import pytest

from onnx_file import file, save_with_determinant
from sparse_engine.cli.main import main

__all__ = ["file"]


def test_every_node_is_shown_and_written(file, capsys):
    assert main(["profile", "net.onnx", "--rounds", "3", "--batch", "4", "--html", "p.html", "--csv", "p.csv"]) == 0
    assert "first" in capsys.readouterr().out
    assert "<html" in (file.parent / "p.html").read_text().lower()
    assert len((file.parent / "p.csv").read_text().splitlines()) == 3


def test_json_is_a_list_of_nodes(file, capsys):
    assert main(["compile", "net.onnx"]) == 0
    capsys.readouterr()
    assert main(["profile", "net.sparse", "--rounds", "2", "--json"]) == 0
    assert [node["operation"] for node in json.loads(capsys.readouterr().out)] == ["linear", "linear"]


def test_segments_in_another_runtime_are_rows(file, capsys):
    pytest.importorskip("onnxruntime")
    save_with_determinant("det.onnx")
    assert main(["profile", "det.onnx", "--rounds", "2", "--fallback", "onnxruntime"]) == 0
    text = capsys.readouterr().out
    assert "segment 2: Det (onnxruntime)" in text
    assert "layer: linear" in text

import json

from onnx_file import file
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

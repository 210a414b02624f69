import json

from onnx_file import file
from onnx_models import helper, model_of, onnx, reals
from sparse_engine.cli.main import main

__all__ = ["file"]


def test_operations_and_zeros_are_shown(file, capsys):
    assert main(["prune", "net.onnx", "--sparsity", "0.75", "--include", "first"]) == 0
    capsys.readouterr()
    assert main(["inspect", "net-pruned.onnx", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["operations"] == [["MatMul", 2, "yes"], ["Relu", 1, "yes"]]
    assert [(w["name"], w["sparsity"]) for w in found["weights"]] == [("first", 0.75), ("second", 0)]
    assert found["notes"][0].startswith("compiled: 2 nodes")


def test_what_if_times_a_pruned_copy(file, capsys):
    assert main(["inspect", "net.onnx", "--what-if", "0.9"]) == 0
    shown = capsys.readouterr().out
    assert "at 90% by magnitude: " in shown
    assert "measure the accuracy" in shown


def test_what_if_of_a_file_that_leaves_sizes_open(file, capsys):
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    onnx.save(model_of([node], {"x": ("N", "tokens", 64)}, ["y"], {"w": reals(64, 32)}), "open.onnx")
    assert main(["inspect", "open.onnx", "--shape", "x=1x5x64", "--what-if", "0.9"]) == 0
    assert "at 90% by magnitude: " in capsys.readouterr().out


def test_what_is_not_covered_is_named(file, capsys):
    model = model_of([helper.make_node("Det", ["x"], ["y"], name="d")], {"x": ("N", 3, 3)}, ["y"])
    onnx.save(model, "det.onnx")
    assert main(["inspect", "det.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "Det" in shown
    assert "not covered" in shown
    assert "not compiled: " in shown


def test_a_compiled_file_is_shown_too_but_not_pruned(file, capsys):
    assert main(["compile", "net.onnx"]) == 0
    assert main(["inspect", "net.sparse"]) == 0
    assert "linear" in capsys.readouterr().out
    assert main(["inspect", "net.sparse", "--what-if", "0.9"]) == 1
    assert "needs the ONNX file" in capsys.readouterr().err

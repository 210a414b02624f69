import json

import numpy as np
import pytest

import sparse_engine as engine
from onnx_file import file, network
from onnx_models import onnx, reals
from sparse_engine.cli.main import main

__all__ = ["file"]


def test_a_compiled_file_computes_what_the_model_does(file, capsys):
    assert main(["compile", "net.onnx"]) == 0
    shown = capsys.readouterr().out
    assert "net.sparse: " in shown
    assert "first" in shown
    x = reals(3, 64)
    assert np.array_equal(engine.load_compiled("net.sparse")(x), engine.compile(file)(x))


def test_json_says_where_it_is_and_how_large(file, capsys):
    assert main(["compile", str(file), "-o", "other.sparse", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == "other.sparse"
    assert found["bytes"] == (file.parent / "other.sparse").stat().st_size
    assert found["error"] < 1e-5


def test_sizes_that_the_file_leaves_open_are_given(file, capsys):
    model = network()
    dimension = model.graph.input[0].type.tensor_type.shape.dim.add()
    dimension.dim_value = 64
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "tokens"
    del model.graph.value_info[:]
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, "open.onnx")
    assert main(["compile", "open.onnx"]) == 1
    assert "leaves sizes of its input 'x' open" in capsys.readouterr().err
    assert main(["compile", "open.onnx", "--shape", "x=1x5x64"]) == 0
    assert engine.load_compiled("open.sparse").inputs[0].shape == ("N", 5, 64)


@pytest.mark.parametrize("shape", ["x", "x=", "=1x2", "x=1xa", "x=-1x2"])
def test_a_shape_of_another_form_is_refused(file, capsys, shape):
    assert main(["compile", "net.onnx", "--shape", shape]) == 1
    assert f"--shape {shape!r} is not of the form" in capsys.readouterr().err


def test_damaged_and_compiled_files_are_one_line_on_standard_error(file, capsys):
    (file.parent / "bad.onnx").write_bytes(b"nothing")
    assert main(["compile", "bad.onnx"]) == 1
    assert main(["compile", "net.onnx"]) == 0
    assert main(["compile", "net.sparse"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("sparse-engine: ") for line in lines] == [True, True]
    assert "is compiled already" in lines[1]
    with pytest.raises(SystemExit, match="2"):
        main(["compile", "nowhere.onnx"])

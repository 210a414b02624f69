"""A small ONNX file for the commands."""

import numpy as np
import pytest

from onnx_models import helper, model_of, onnx, reals


def network(batch="N"):
    """Two linear layers with an activation between."""
    nodes = [
        helper.make_node("MatMul", ["x", "first.weight"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="act"),
        helper.make_node("MatMul", ["b", "second.weight"], ["y"], name="second"),
    ]
    return model_of(
        nodes, {"x": (batch, 64)}, ["y"], {"first.weight": reals(64, 96, seed=1), "second.weight": reals(96, 10, seed=2)}
    )


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Its path, in the working directory."""
    monkeypatch.chdir(tmp_path)
    model = network()
    model.ir_version = 8
    onnx.save(model, str(tmp_path / "net.onnx"))
    return tmp_path / "net.onnx"


def save_with_determinant(path):
    """A linear layer, and the determinant of what it makes, which no program has."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="layer"),
        helper.make_node("Reshape", ["a", "square"], ["b"], name="square"),
        helper.make_node("Det", ["b"], ["y"], name="determinant"),
    ]
    model = model_of(nodes, {"x": ("N", 16)}, ["y"], {"w": reals(16, 9, seed=1), "square": np.array([-1, 3, 3])})
    model.ir_version = 8
    onnx.save(model, path)


def zeros(path):
    """Shares of zeros among the weights of a file."""
    return [float((onnx.numpy_helper.to_array(t) == 0).mean()) for t in onnx.load(str(path)).graph.initializer]


__all__ = ["file", "network", "save_with_determinant", "zeros"]

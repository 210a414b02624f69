"""Small ONNX models by hand, and whether a compiled one computes what onnx's reference implementation does."""

import numpy as np
import pytest

import sparse_engine as engine

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402


def model_of(nodes, inputs, outputs, constants=None, opset=17):
    """A checked model. `inputs`: name -> shape; `outputs`: names or name -> ONNX's data type; `constants`: name -> array."""
    kinds = outputs if isinstance(outputs, dict) else dict.fromkeys(outputs, TensorProto.FLOAT)
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()],  # shapes are inferred below
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(model)
    return model


def single(op, *constants, shape=("N", 3, 4), outputs=("y",), opset=17, **attributes):
    """A model of one operation on an input x and constants."""
    named = {f"c{i}": array for i, array in enumerate(constants) if array is not None}
    reads = ["x", *(f"c{i}" if array is not None else "" for i, array in enumerate(constants))]
    node = helper.make_node(op, reads, list(outputs), **attributes)
    return model_of([node], {"x": shape}, list(outputs), named, opset)


def reals(*shape, seed=0):
    """Normal random numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def check(model, *arrays, expected_of=None, rtol=1e-4, atol=1e-5):
    """Compile on these inputs and compare with the reference, at their batch and, where it is open, at others; the program.

    `expected_of`: what it computes, where onnx's reference implementation is wrong or knows no old opset.
    """
    compiled = engine.compile(model, arrays)
    batches = [arrays] if compiled.about.get("batch") == "fixed" else [arrays, tuple(np.concatenate([a, a, a]) for a in arrays)]
    names = [tensor.name for tensor in compiled.inputs]
    for given in batches:
        if expected_of is None:
            expected = ReferenceEvaluator(model).run(None, dict(zip(names, given, strict=True)))
        else:
            expected = [expected_of(*given)]
        found = compiled(*given)
        for a, b in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    return compiled

"""The cases that the package onnx ships: what is covered computes what they say, and all else is refused by name."""

import os
import pathlib
import warnings

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import numpy_helper, onnx
from sparse_engine.compiler.onnx_rules import RULES
from sparse_engine.onnx_files.reading import inputs_of, read_onnx

collect = pytest.importorskip("onnx.backend.test.case.node").collect_testcases
DATA = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
# What some operations are refused for, by what the name of a case has in it: see docs/guide.md.
REFUSED = {
    "AveragePool": ("3d", "dilations"),
    "BatchNormalization": ("training",),
    "Cast": ("",),  # to and from types that are not float32
    "CastLike": ("",),
    "Clip": ("int8",),
    "ConvTranspose": ("3d",),
    "Dropout": ("mask", "training"),
    "Einsum": ("",),
    "LSTM": ("peepholes",),
    "MaxPool": ("3d", "dilations", "argmax", "uint8"),
    "Pow": ("",),
    **{
        f"Reduce{kind}": ("empty", "bool")
        for kind in ["Max", "Min", "Sum", "Mean", "L1", "L2", "LogSum", "LogSumExp", "SumSquare"]
    },
    "Resize": ("cubic", "tf_crop", "antialias"),
    "Where": ("long",),
}


def cases():
    """Those of one operation that there is a rule for, with a float32 to compute from.

    A third of them, as each takes a third of a second and every rule has tests of its own; all with SPARSE_ENGINE_TEST_ALL=1.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they overflow and divide by zero on purpose
        found = collect("")
    for case in found:
        operations = {node.op_type for node in case.model.graph.node}
        if len(operations) != 1 or not operations <= set(RULES) or not case.data_sets:
            continue
        inputs, _ = case.data_sets[0]
        if inputs and all(isinstance(a, np.ndarray) for a in inputs) and any(a.dtype == np.float32 for a in inputs):
            yield pytest.param(case, id=case.name)


def with_constants(model, inputs, computed):
    """The model with all inputs but these as constants."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    made.ir_version = max(made.ir_version, 4)  # before, a constant had to be an input too
    for value, array in zip(model.graph.input, inputs, strict=True):
        if value.name not in computed:
            made.graph.initializer.append(numpy_helper.from_array(np.asarray(array), value.name))
    kept = [value for value in model.graph.input if value.name in computed]
    del made.graph.input[:]
    made.graph.input.extend(kept)
    return made


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", list(cases())[:: 1 if os.environ.get("SPARSE_ENGINE_TEST_ALL") else 3])
def test_a_case_of_onnx_is_right_or_refused(case):
    inputs, outputs = case.data_sets[0]
    names = [value.name for value in case.model.graph.input]
    floats = [name for name, array in zip(names, inputs, strict=True) if array.dtype == np.float32]
    refusal = None
    for computed in (floats, floats[:1]):  # a weight, say, may have to be a constant
        feeds = [array for name, array in zip(names, inputs, strict=True) if name in computed]
        try:
            found = engine.compile(with_constants(case.model, inputs, computed), feeds)(*feeds)
        except engine.UnsupportedModel as error:
            refusal = error
            continue
        for a, b in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
            assert a.shape == np.shape(b)
            np.testing.assert_allclose(a, np.asarray(b, np.float32), rtol=max(case.rtol, 1e-4), atol=1e-5)
        return
    operation = case.model.graph.node[0].op_type
    outputs_of_others = any(np.asarray(b).dtype != np.float32 for b in outputs)
    expected = outputs_of_others or any(part in case.name for part in REFUSED.get(operation, ()))
    assert expected, f"{operation} is covered, but: {refusal}"


@pytest.mark.parametrize("path", sorted((DATA / "light").glob("light_*.onnx")), ids=lambda path: path.stem)
def test_a_light_network_equals_its_reference(path):
    model = onnx.load(str(path))
    (given,) = inputs_of(read_onnx(model))
    x = np.random.default_rng(0).random(given.shape, np.float32)
    session = pytest.importorskip("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {given.name: x})
    compiled = engine.compile(model, x)
    assert np.abs(compiled(x) - expected).max() <= 1e-4 * np.abs(expected).max()

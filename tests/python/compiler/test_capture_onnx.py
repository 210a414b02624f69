import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import ReferenceEvaluator, check, helper, model_of, onnx, reals, single
from sparse_engine.compiler.capture_onnx import example_of, is_open_along, random_example
from sparse_engine.onnx_files.reading import read_onnx


def linear(shape=("N", 16)):
    return single("MatMul", reals(16, 8, seed=1), shape=shape)


def test_a_file_bytes_and_a_model_compile_to_the_same(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(linear(), str(path))
    x = reals(3, 16)
    programs = [engine.compile(source, x) for source in (path, str(path), path.read_bytes(), linear())]
    first, *others = (compiled(x) for compiled in programs)
    assert all(np.array_equal(first, other) for other in others)
    assert programs[0].about["model"] == "model"


def test_an_open_first_axis_serves_every_batch_and_a_fixed_one_its_own():
    assert is_open_along(read_onnx(linear()), 0)
    assert engine.compile(linear()).inputs[0].shape == ("N", 16)
    fixed = engine.compile(linear((2, 16)))
    assert fixed.inputs[0].shape == (2, 16)
    assert fixed.about["batch"] == "fixed"
    assert fixed(reals(2, 16)).shape == (2, 8)
    with pytest.raises(ValueError, match="has shape"):
        fixed(reals(3, 16))


def test_a_batch_that_moves_to_another_axis_stays_open_and_is_not_reduced():
    nodes = [helper.make_node("Reshape", ["x", "s"], ["r"]), helper.make_node("Softmax", ["r"], ["y"], axis=0)]
    model = model_of(nodes, {"x": ("N", 4)}, ["y"], {"s": np.array([2, -1])})
    assert check(model, reals(2, 4)).outputs[0].shape == (2, "2N")
    nodes[1].attribute[0].i = 1
    with pytest.raises(engine.UnsupportedModel, match="the batch among them"):
        engine.compile(model_of(nodes, {"x": ("N", 4)}, ["y"], {"s": np.array([2, -1])}), reals(2, 4))


def test_other_open_sizes_become_those_of_the_example():
    model = single("MatMul", reals(16, 8, seed=1), shape=("N", "tokens", 16))
    compiled = check(model, reals(2, 5, 16))
    assert compiled.inputs[0].shape == ("N", 5, 16)
    with pytest.raises(ValueError, match="leaves sizes of its input 'x' open"):
        engine.compile(model)


def test_examples_are_given_by_place_or_by_name_and_checked():
    model = model_of([helper.make_node("Add", ["a", "b"], ["y"])], {"a": ("N", 4), "b": ("N", 4)}, ["y"])
    file = read_onnx(model)
    a, b = reals(2, 4), reals(2, 4, seed=1)
    for given in ((a, b), [a, b], {"b": b, "a": a}):
        assert all(np.array_equal(t.numpy(), array) for t, array in zip(example_of(file, given), (a, b), strict=True))
    assert [tuple(t.shape) for t in example_of(file, None)] == [(1, 4), (1, 4)]
    with pytest.raises(TypeError, match="'c' is missing or unknown"):
        example_of(file, {"a": a, "c": b})
    with pytest.raises(TypeError, match="has 1 inputs"):
        example_of(file, a)
    with pytest.raises(ValueError, match=r"'a' has shape \(2, 5\)"):
        example_of(file, (reals(2, 5), b))
    with pytest.raises(ValueError, match=r"'a' is torch.float64; the program takes torch.float32"):
        example_of(file, (a.astype(np.float64), b))


def test_random_examples_are_of_the_files_dtypes_and_of_sizes_given():
    nodes = [helper.make_node("Gather", ["w", "ids"], ["e"]), helper.make_node("Mul", ["e", "x"], ["y"])]
    model = model_of(nodes, {"ids": ("N", "T"), "x": ("N", "T", 4)}, ["y"], {"w": reals(20, 4)})
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
    file = read_onnx(model)
    example = random_example(file, {"ids": [2, 5], "x": [2, 5, 4]})
    assert [(str(t.dtype), tuple(t.shape)) for t in example.values()] == [
        ("torch.int32", (2, 5)), ("torch.float32", (2, 5, 4))
    ]  # fmt: skip
    assert set(example["ids"].unique().tolist()) <= {0, 1}
    with pytest.raises(TypeError, match="'other' is none of the model's inputs; they are ids, x"):
        random_example(file, {"other": [1]})
    compiled = engine.compile(model, example)
    ids, x = np.random.default_rng(0).integers(0, 20, (3, 5)), reals(3, 5, 4)
    expected = ReferenceEvaluator(model).run(None, {"ids": ids.astype(np.int32), "x": x})[0]
    np.testing.assert_allclose(compiled(ids, x), expected, rtol=1e-6)
    assert example_of(file, {"ids": ids, "x": x})[0].dtype == example["ids"].dtype


def test_names_of_inputs_and_outputs_are_the_files():
    node = helper.make_node("Relu", ["input.1"], ["out:0"])
    compiled = engine.compile(model_of([node], {"input.1": ("N", 4)}, ["out:0"]))
    assert (compiled.inputs[0].name, compiled.outputs[0].name) == ("input.1", "out:0")
    x = reals(2, 4)
    assert np.array_equal(compiled(**{"input.1": x}), np.maximum(x, 0))

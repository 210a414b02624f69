import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import helper, model_of, onnx, reals, single
from refused_operations import at_once, check_onnxruntime, runtimes
from sparse_engine.compiler.compiled import CompiledModel

FLOAT, INT, BOOL = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL
node = helper.make_node


def several():
    """A convolution, the largest of its values, a product, a determinant; shapes are worked out in the graph."""
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        node("Relu", ["c"], ["r"]),
        node("Shape", ["r"], ["shape"]),
        node("Slice", ["shape", "zero", "one"], ["first"]),
        node("Concat", ["first", "rest"], ["flat"], axis=0),
        node("Reshape", ["r", "flat"], ["f"]),
        node("TopK", ["f", "k"], ["v", "i"], axis=-1),
        node("Gemm", ["v", "w2"], ["g"], name="gemm"),
        node("Add", ["g", "g"], ["s"]),
        node("Reshape", ["s", "square"], ["q"]),
        node("Det", ["q"], ["d"]),
    ]
    constants = {
        "w": reals(4, 3, 3, 3, seed=1),
        "w2": 0.3 * reals(9, 9, seed=2),
        "zero": np.array([0]),
        "one": np.array([1]),
        "rest": np.array([-1]),
        "k": np.array([9]),
        "square": np.array([-1, 3, 3]),
    }
    return model_of(nodes, {"x": ("N", 3, 6, 6)}, {"d": FLOAT, "i": INT, "s": FLOAT}, constants)


def test_covered_parts_are_few_compiled_segments_at_any_batch():
    compiled = check_onnxruntime(several(), reals(2, 3, 6, 6))
    assert runtimes(compiled) == ["compiled", "onnxruntime", "compiled", "onnxruntime"]
    assert [tensor.name for tensor in compiled.outputs] == ["d", "i", "s"]
    assert [segment.contents.names for segment in compiled.fallback_segments] == [{"TopK": 1}, {"Det": 1}]
    assert {"conv", "gemm"} <= {entry["name"] for entry in compiled.nodes}
    assert "TopK (1×, in TopK_6)" in str(compiled)
    assert at_once(compiled, reals(4, 3, 6, 6)) == 0


def test_it_is_profiled_and_takes_other_numbers_of_threads(tmp_path):
    pytest.importorskip("onnxruntime")
    x = reals(2, 3, 6, 6)
    model = several()
    model.ir_version = 10
    onnx.save(model, str(tmp_path / "several.onnx"))
    compiled = engine.compile(tmp_path / "several.onnx", x, threads=1, fallback="onnxruntime")
    assert compiled.about["model"] == "several"
    assert [row.kernel for row in compiled.profile(x, rounds=2).nodes].count("onnxruntime") == 2
    for a, b in zip(compiled(x), compiled.with_threads(2)(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(ValueError, match="is not written: 2 of the model's 4 segments run in onnxruntime"):
        compiled.save(tmp_path / "no.sparse")


def test_a_file_that_is_covered_is_compiled_whole_and_one_that_is_not_an_error():
    pytest.importorskip("onnxruntime")
    covered = single("MatMul", reals(4, 4), shape=("N", 4))
    assert type(engine.compile(covered, fallback="onnxruntime")) is CompiledModel
    with pytest.raises(ValueError, match=r"nothing of .* can be compiled: .*Det.*Run all of it in ONNX Runtime"):
        engine.compile(single("Det", shape=("N", 3, 3)), fallback="onnxruntime")


def test_torch_cannot_run_what_has_no_translation():
    with pytest.raises(engine.UnsupportedModel, match='for an ONNX file, fallback="onnxruntime" does so with every operation'):
        engine.compile(several(), reals(2, 3, 6, 6), fallback="torch")


def test_a_diamond_a_value_that_both_read_and_truth_values():
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("TopK", ["p", "k"], ["v", "i"], axis=-1),
        node("MatMul", ["p", "b"], ["q"]),
        node("Add", ["q", "v"], ["s"]),
        node("Greater", ["s", "zero"], ["positive"]),
        node("NonZero", ["positive"], ["where"]),
        node("Where", ["positive", "s", "v"], ["y"]),
        node("Not", ["positive"], ["negative"]),
    ]
    constants = {"a": reals(4, 4), "b": reals(4, 4, seed=1), "k": np.array([4]), "zero": np.float32(0)}
    outputs = {"y": FLOAT, "where": INT, "negative": BOOL, "i": INT, "p": FLOAT}
    compiled = check_onnxruntime(model_of(nodes, {"x": ("N", 4)}, outputs, constants), reals(3, 4))
    assert runtimes(compiled) == ["compiled", "onnxruntime", "compiled", "onnxruntime"]
    assert compiled.outputs[1].shape == ("?",)


def test_what_follows_a_size_that_depends_on_values_is_left():
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("Greater", ["p", "zero"], ["positive"]),
        node("Compress", ["p", "rows"], ["c"], axis=0),
        node("MatMul", ["c", "a"], ["y"]),
    ]
    constants = {"a": reals(4, 4), "zero": np.float32(0), "rows": np.array([True, False])}
    model = model_of([nodes[0], *nodes[2:]], {"x": ("N", 4)}, ["y", "p"], constants)
    compiled = check_onnxruntime(model, reals(2, 4), batches=range(2, 5))
    assert runtimes(compiled) == ["compiled", "onnxruntime"]
    reasons = [refused.reason for refused in compiled.fallback_segments[0].contents.refused]
    assert reasons == ["", "its size depends on values"]


def test_a_batch_that_the_file_fixes_stays_fixed():
    nodes = [node("MatMul", ["x", "a"], ["p"]), node("TopK", ["p", "k"], ["v", "i"], axis=-1)]
    constants = {"a": reals(4, 4), "k": np.array([2])}
    model = model_of(nodes, {"x": (2, 4)}, {"v": FLOAT, "i": INT}, constants)
    compiled = check_onnxruntime(model, reals(2, 4), batches=[2])
    assert compiled.about["batch"] == "fixed"
    with pytest.raises(ValueError, match="has shape"):
        compiled(reals(3, 4))


def test_an_open_batch_with_sizes_written_into_the_file_is_fixed():
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("Reshape", ["p", "shape"], ["r"]),
        node("TopK", ["r", "k"], ["v", "i"], axis=-1),
    ]
    constants = {"a": reals(4, 4), "k": np.array([2]), "shape": np.array([4, 2])}
    model = model_of(nodes, {"x": ("N", 4)}, {"v": FLOAT, "i": INT}, constants)
    assert check_onnxruntime(model, reals(2, 4), batches=[2]).about["batch"] == "fixed"


def test_branches_run_in_onnxruntime_with_what_they_read():
    then = helper.make_graph([node("Neg", ["p"], ["t"])], "then", [], [helper.make_tensor_value_info("t", FLOAT, None)])
    other = helper.make_graph([node("Abs", ["p"], ["e"])], "else", [], [helper.make_tensor_value_info("e", FLOAT, None)])
    nodes = [
        node("MatMul", ["x", "a"], ["p"]),
        node("ReduceSum", ["p"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["condition"]),
        node("If", ["condition"], ["y"], then_branch=then, else_branch=other),
    ]
    model = model_of(nodes, {"x": ("N", 4)}, ["y"], {"a": reals(4, 4), "zero": np.float32(0)})
    compiled = check_onnxruntime(model, reals(2, 4))
    assert runtimes(compiled) == ["compiled", "onnxruntime"]
    assert "p" in compiled.fallback_segments[0].contents.reads


def test_whole_numbers_are_taken_where_onnxruntime_alone_reads_them():
    pytest.importorskip("onnxruntime")
    nodes = [
        node("GatherND", ["table", "tokens"], ["e"]),
        node("TopK", ["e", "k"], ["v", "i"], axis=-1),
        node("MatMul", ["v", "a"], ["y"]),
    ]
    constants = {"table": reals(20, 4), "k": np.array([4]), "a": reals(4, 3)}
    model = model_of(nodes, {"tokens": ("N", 1)}, ["y"], constants)
    model.graph.input[0].type.tensor_type.elem_type = INT
    compiled = check_onnxruntime(model, np.array([[3], [5]]))
    assert compiled.inputs[0].dtype == "int64"
    with pytest.raises(ValueError, match=r"is torch\.float32; the program takes torch\.int64"):
        engine.compile(model, reals(2, 1), fallback="onnxruntime")
    assert engine.compile(model, fallback="onnxruntime").inputs == compiled.inputs


def test_half_floats_cross_into_onnxruntime_and_leave_as_float32():
    pytest.importorskip("onnxruntime")
    half = onnx.TensorProto.FLOAT16
    nodes = [node("MatMul", ["x", "a"], ["p"]), node("TopK", ["p", "k"], ["v", "i"], axis=-1)]
    model = model_of(nodes, {"x": ("N", 4)}, {"v": FLOAT, "i": INT}, {"a": np.eye(4, dtype=np.float32), "k": np.array([2])})
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.eye(4, dtype=np.float16), "a"))
    model.graph.input[0].type.tensor_type.elem_type = half
    model.graph.output[0].type.tensor_type.elem_type = half
    del model.graph.value_info[:]
    model.ir_version = 10
    compiled = engine.compile(model, np.float32([[1, 3, 2, 0]]), fallback="onnxruntime")
    assert [tensor.dtype for tensor in (*compiled.inputs, *compiled.outputs)] == ["float32", "float32", "int64"]
    values, indices = compiled(np.float32([[1, 3, 2, 0], [0, 1, 2, 3]]))
    assert values.dtype == np.float32
    assert values.tolist() == [[3, 2], [3, 2]]
    assert indices.tolist() == [[1, 2], [3, 2]]

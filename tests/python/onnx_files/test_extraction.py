import numpy as np

from onnx_models import ReferenceEvaluator, helper, model_of, onnx, reals
from sparse_engine.onnx_files.extraction import extracted, reads_of

FLOAT = onnx.TensorProto.FLOAT


def info(name):
    return helper.make_tensor_value_info(name, FLOAT, None)


def test_a_part_holds_its_nodes_and_the_constants_they_read():
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
    ]
    model = model_of(nodes, {"x": ("N", 4)}, ["y"], {"w": reals(4, 4), "b": reals(4, seed=1)})
    part = extracted(model, [2, 1], [info("a")], [info("y")])
    assert [node.op_type for node in part.graph.node] == ["Add", "Relu"]
    assert [tensor.name for tensor in part.graph.initializer] == ["b"]
    a = reals(2, 4)
    (y,) = ReferenceEvaluator(part).run(None, {"a": a})
    np.testing.assert_array_equal(y, np.maximum(a + reals(4, seed=1), 0))


def test_what_a_branch_reads_is_read_by_its_node():
    then = helper.make_graph([helper.make_node("Add", ["outside", "own"], ["t"])], "then", [], [info("t")],
                             [onnx.numpy_helper.from_array(reals(1), "own")])  # fmt: skip
    other = helper.make_graph([], "else", [], [info("left")])
    node = helper.make_node("If", ["condition"], ["y"], then_branch=then, else_branch=other)
    assert sorted(reads_of(node)) == ["condition", "left", "outside"]

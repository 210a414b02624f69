import copy

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import TensorProto, check, helper, model_of, reals, single
from sparse_engine.compiler.onnx_module import OnnxModule
from sparse_engine.onnx_files.reading import read_onnx


def module_of(model):
    return OnnxModule(read_onnx(model)).eval()


def test_what_depends_on_constants_alone_is_computed_once():
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("Add", ["t", "t"], ["u"]),
        helper.make_node("MatMul", ["x", "u"], ["y"]),
    ]
    model = model_of(nodes, {"x": ("N", 16)}, ["y"], {"w": reals(8, 16, seed=1)})
    module = module_of(model)
    assert [name for name, _ in module.named_children()] == ["MatMul_2"]
    assert [tuple(buffer.shape) for buffer in module.buffers()] == [(16, 8)]
    check(model, reals(2, 16))


def test_a_weight_that_two_operations_read_is_held_once():
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "w"], ["y"])]
    model = model_of(nodes, {"x": ("N", 16)}, ["y"], {"w": reals(16, 16, seed=1)})
    assert len(list(module_of(model).buffers())) == 1
    compiled = check(model, reals(2, 16), rtol=1e-3, atol=1e-4)
    assert len(compiled._program.to_bytes()) < 2 * 16 * 16 * 4


def test_modules_have_the_names_of_the_files_nodes_and_no_two_the_same():
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="block.0/act"),
        helper.make_node("Relu", ["a"], ["y"], name="block.0/act"),
    ]
    names = [name for name, _ in module_of(model_of(nodes, {"x": ("N", 4)}, ["y"])).named_children()]
    assert names == ["block_0/act", "block_0/act_1"]


def test_a_copy_shares_constants_and_computes_the_same():
    module = module_of(single("MatMul", reals(16, 8, seed=1), shape=("N", 16)))
    copied = copy.deepcopy(module)
    assert copied._constants is module._constants


def test_every_unknown_operation_is_named_with_its_domain():
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="first"),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Mine", ["r"], ["m"], domain="org.example", name="second"),
        helper.make_node("Det", ["x"], ["e"], name="third"),
        helper.make_node("Add", ["m", "e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, 3))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N",))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)])
    with pytest.raises(
        engine.UnsupportedModel, match=r"Det \(2×, in first, third\).*org\.example\.Mine \(1×, in second\)"
    ) as caught:
        engine.compile(model, reals(2, 3, 3))
    assert [one.path for one in caught.value.refused] == ["first", "second", "third"]


def test_inputs_of_integers_are_taken_and_those_of_other_types_refused():
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "ids"], ["y"])],
        "g",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ("N",))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 4))],
        [helper.make_tensor("w", TensorProto.FLOAT, (5, 4), np.ones(20))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    compiled = engine.compile(model)
    assert [(tensor.name, tensor.dtype) for tensor in compiled.inputs] == [("ids", "int64")]
    assert np.array_equal(compiled(np.array([4, 0, 2])), np.ones((3, 4)))
    graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    graph.node[0].CopyFrom(helper.make_node("Relu", ["ids"], ["y"]))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    with pytest.raises((engine.UnsupportedModel, ValueError), match=r"data type 11|damaged"):
        engine.compile(model)


def test_quantized_operations_are_refused_by_name_and_quantized_weights_are_not():
    scale, zero = np.array(0.5, np.float32), np.array(128, np.uint8)
    weight = np.random.default_rng(0).integers(0, 256, (16, 8)).astype(np.uint8)
    weight[:, ::2] = 128  # zeros are the zero point
    nodes = [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"]), helper.make_node("MatMul", ["x", "d"], ["y"])]
    model = model_of(nodes, {"x": ("N", 16)}, ["y"], {"w": weight, "s": scale, "z": zero}, opset=21)
    compiled = check(model, reals(2, 16), rtol=1e-3, atol=1e-3)
    assert compiled.nodes[0]["weight"][2] <= 64
    with pytest.raises(engine.UnsupportedModel, match="QuantizeLinear"):
        engine.compile(model_of([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
                                 helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"])],
                                {"x": ("N", 4)}, ["y"], {"s": scale, "z": zero}), reals(2, 4))  # fmt: skip


def test_random_constants_and_constants_that_fail_are_refused():
    nodes = [helper.make_node("RandomNormal", [], ["r"], shape=[4]), helper.make_node("Add", ["x", "r"], ["y"])]
    with pytest.raises(engine.UnsupportedModel, match=r"RandomNormal.*random"):
        engine.compile(model_of(nodes, {"x": ("N", 4)}, ["y"]), reals(2, 4))
    nodes = [helper.make_node("Reshape", ["c", "s"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    model = model_of(nodes, {"x": ("N", 4)}, ["y"], {"c": reals(6), "s": np.array([3, 2])})
    next(t for t in model.graph.initializer if t.name == "s").raw_data = np.array([4, 4]).tobytes()
    with pytest.raises(engine.UnsupportedModel, match=r"Reshape.*on constants"):
        engine.compile(model, reals(2, 4))


def test_an_input_that_is_an_output_and_an_output_given_twice_keep_their_names():
    model = model_of([helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Identity", ["x"], ["b"]),
                      helper.make_node("Identity", ["a"], ["c"])], {"x": ("N", 4)}, ["a", "b", "c"])  # fmt: skip
    compiled = check(model, reals(2, 4))
    assert [t.name for t in (*compiled.inputs, *compiled.outputs)] == ["x", "a", "b", "c"]


def test_a_result_that_nothing_reads_is_in_nobodys_way():
    nodes = [helper.make_node("Dropout", ["x"], ["a", "mask"]), helper.make_node("Relu", ["a"], ["y"])]
    check(model_of(nodes, {"x": ("N", 4)}, ["y"]), reals(2, 4))
    with pytest.raises(engine.UnsupportedModel, match=r"Dropout.*its mask is read"):
        engine.compile(model_of(nodes, {"x": ("N", 4)}, {"y": 1, "mask": 9}), reals(2, 4))

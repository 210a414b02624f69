import sys

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import onnx, reals, single
from sparse_engine.onnx_files.reading import inputs_of, is_onnx, read_onnx, saved_whole


def linear():
    return single("MatMul", reals(64, 32, seed=1), shape=("N", 64))


def with_data_beside(folder):
    onnx.save_model(linear(), str(folder / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=0)
    return folder / "m.onnx"


def test_paths_bytes_and_models_are_onnx_and_modules_are_not():
    assert all(map(is_onnx, ("a.onnx", b"", linear())))
    assert not is_onnx(object())


def test_inputs_are_what_no_initialiser_gives():
    model = linear()
    model.graph.input.append(onnx.helper.make_tensor_value_info("c0", 1, (64, 32)))  # as old files list their weights
    (given,) = inputs_of(read_onnx(model))
    assert given == ("x", 1, ("N", 64))


def test_a_size_of_minus_one_is_open():
    model = linear()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert inputs_of(read_onnx(model))[0].shape == (None, 64)
    assert engine.compile(model, reals(3, 64)).inputs[0].shape == ("N", 64)


def test_weights_beside_the_file_are_read_and_come_inside(tmp_path):
    path = with_data_beside(tmp_path)
    file = read_onnx(path)
    assert np.array_equal(file.constants["c0"], reals(64, 32, seed=1))
    whole = saved_whole(file, path)
    assert np.array_equal(onnx.numpy_helper.to_array(whole.graph.initializer[0]), reals(64, 32, seed=1))


def test_weights_elsewhere_or_missing_are_refused(tmp_path):
    path = with_data_beside(tmp_path)
    (tmp_path / "m.data").unlink()
    with pytest.raises(ValueError, match=r"m.onnx"):
        read_onnx(path)
    (tmp_path / "secret").write_bytes(bytes(64 * 32 * 4))
    inner = tmp_path / "inner"
    inner.mkdir()
    model = onnx.load(str(path), load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../secret"
    (inner / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match=r"m.onnx"):
        read_onnx(inner / "m.onnx")


def test_floats_of_16_bits_become_float32():
    model = single("MatMul", reals(4, 5).astype(np.float16), shape=("N", 4))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    assert read_onnx(model).constants["c0"].dtype == np.float32
    y = engine.compile(model)(reals(2, 4, seed=1))
    np.testing.assert_allclose(y, reals(2, 4, seed=1) @ reals(4, 5).astype(np.float16).astype(np.float32), rtol=1e-4, atol=1e-5)


def test_functions_of_a_model_are_put_in_their_places():
    relu2 = onnx.helper.make_function(
        "mine", "Twice", ["a"], ["c"],
        [onnx.helper.make_node("Relu", ["a"], ["b"]), onnx.helper.make_node("Add", ["b", "b"], ["c"])],
        [onnx.helper.make_opsetid("", 17)],
    )  # fmt: skip
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Twice", ["x"], ["y"], domain="mine")],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ("N", 4))],
        [onnx.helper.make_tensor_value_info("y", 1, ("N", 4))],
    )
    opsets = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("mine", 1)]
    model = onnx.helper.make_model(graph, functions=[relu2], opset_imports=opsets)
    x = reals(2, 4)
    assert np.array_equal(engine.compile(model)(x), 2 * np.maximum(x, 0))


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", bytes(100), b"\x08\x07"])
def test_what_is_no_model_is_refused(content, tmp_path):
    with pytest.raises(ValueError, match=r"is no ONNX model|is a damaged ONNX model"):
        read_onnx(content)
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.onnx"):
        engine.compile(tmp_path / "a.onnx")


def test_opsets_outside_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"opset 6 of ONNX; 7 to 28 are covered: convert it with onnx\.version_converter"):
        read_onnx(single("Relu", opset=6))


def test_damaged_files_are_value_errors(rng):
    content = linear().SerializeToString()
    for _ in range(300):
        broken = bytearray(content[: rng.integers(1, len(content) + 1)] if rng.random() < 0.3 else content)
        for _ in range(rng.integers(1, 4)):
            place = rng.integers(0, min(len(broken), 200 if rng.random() < 0.8 else len(broken)))
            broken[place] = rng.integers(0, 256)
        try:
            y = engine.compile(bytes(broken), np.zeros((1, 64), np.float32))
        except (ValueError, TypeError):  # TypeError: it has other inputs now
            continue
        assert [t.name for t in y.outputs]


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'sparse-engine\[onnx\]'"):
        read_onnx(b"")

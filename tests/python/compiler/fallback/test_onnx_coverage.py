import numpy as np
import pytest

from onnx_models import helper, model_of, onnx, reals
from sparse_engine.compiler.fallback.onnx_coverage import OnnxCoverage
from sparse_engine.compiler.unsupported import Refused
from sparse_engine.onnx_files.reading import read_onnx

node = helper.make_node
FLOAT, INT = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


def coverage():
    nodes = [
        node("MatMul", ["x", "w"], ["p"], name="product"),
        node("Shape", ["p"], ["shape"], name="shape"),
        node("ReduceProd", ["shape"], ["count"], name="count", keepdims=1),
        node("Reshape", ["p", "count"], ["flat"], name="flatten"),
        node("NonZero", ["flat"], ["where"], name="where"),
        node("Cast", ["flat"], ["whole"], name="cast", to=INT),
        node("Relu", ["p"], ["y"], name="relu"),
    ]
    model = model_of(nodes, {"x": ("N", 4)}, {"y": FLOAT, "where": INT, "whole": INT}, {"w": reals(4, 4)})

    def values(n):
        p = np.ones((n, 4), np.float32)
        flat = p.ravel()
        where = np.zeros((1, 4 * n if n == 2 else 7), np.int64)
        return {
            "x": p, "p": p, "shape": np.array([n, 4]), "count": np.array([4 * n]), "flat": flat, "where": where,
            "whole": flat.astype(np.int64), "y": p,
        }  # fmt: skip

    return OnnxCoverage(read_onnx(model), model, values(2), values(3))


def test_shapes_are_known_and_belong_to_whoever_reads_them():
    found = coverage()
    assert found.with_known([3]) == [1, 2, 3]
    assert found.reads([3]) == ["p"]
    assert found.maker("count") is None
    assert found.maker("flat") == 3
    assert found.makes([0]) == ["p"]


def test_what_is_refused_says_why():
    found = coverage()
    why = {refused.path: refused.reason for refused in found.uncovered.values()}
    assert why["where"] == ""
    assert why["cast"] == "of int64"
    assert not {"product", "relu", "flatten"} & set(why)
    assert found.shape("where") is None
    assert found.shape("flat") == [(0, 4)]
    assert found.dtype("whole") == "int64"


def test_parts_hold_the_numbers_of_nodes():
    found = coverage()
    assert [(part.compiled, part.units) for part in found.parts()] == [(True, [0, 3, 6]), (False, [4, 5])]
    found.refuse({6: Refused("relu", "relu", "as it stands")})
    assert found.uncovered[6] == Refused("Relu", "relu", "relu in torch: as it stands")
    assert [part.units for part in found.parts() if part.compiled] == [[0, 3]]


def test_value_infos_leave_open_what_grows():
    info = coverage().value_info("p").type.tensor_type
    assert info.elem_type == FLOAT
    assert [d.HasField("dim_value") for d in info.shape.dim] == [False, True]


def test_a_constant_is_no_unit():
    found = coverage()
    np.testing.assert_array_equal(found.constant("w"), reals(4, 4))
    assert found.constant("p") is None
    with pytest.raises(KeyError):
        found.value_info("nothing")

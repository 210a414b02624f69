import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, helper, model_of, reals, single

X = reals(2, 4, 6, 6)
SHAPE = ("N", 4, 6, 6)


def integers(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("op", "constants", "attributes"),
    [
        ("Identity", (), {}),
        ("Flatten", (), {"axis": 1}),
        ("Flatten", (), {"axis": 2}),
        ("Reshape", (integers(0, -1),), {}),
        ("Reshape", (integers(0, 2, 2, 36),), {}),
        ("Unsqueeze", (integers(1, -1),), {}),
        ("Transpose", (), {"perm": [0, 2, 3, 1]}),
        ("Slice", (integers(1), integers(3), integers(1)), {}),
        ("Slice", (integers(-1, 0), integers(-9, 9), integers(1, 2), integers(-2, 2)), {}),
        ("Gather", (integers(2, 0, 0, -1),), {"axis": 1}),
        ("Gather", (np.array(1, np.int64),), {"axis": 2}),
        ("Gather", (np.array([[0, 1], [3, 2]]),), {"axis": 1}),
        ("Tile", (integers(1, 2, 1, 3),), {}),
        ("Pad", (integers(0, 0, 1, 2, 0, 1, 0, 1),), {}),
        ("Pad", (integers(0, 0, 1, 2, 0, 1, 0, 1), np.array(1.5, np.float32)), {}),
        ("Pad", (integers(0, 0, 1, 2, 0, 0, 0, 1),), {"mode": "reflect"}),
        ("Pad", (integers(0, 0, 1, 2, 0, 0, 0, 1),), {"mode": "edge"}),
        ("DepthToSpace", (), {"blocksize": 2}),
        ("DepthToSpace", (), {"blocksize": 2, "mode": "CRD"}),
        ("SpaceToDepth", (), {"blocksize": 2}),
    ],
)
def test_moves(op, constants, attributes):
    check(single(op, *constants, shape=SHAPE, **attributes), X)


def test_splits_by_sizes_and_into_equal_parts():
    check(single("Split", integers(1, 3), shape=SHAPE, outputs=("a", "b"), axis=1), X)
    check(single("Split", shape=SHAPE, outputs=("a", "b", "c"), axis=2, opset=18, num_outputs=3), X)
    check(single("Split", shape=SHAPE, outputs=("a", "b"), axis=1, opset=11), X)


def test_shapes_are_arithmetic_on_numbers():
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("Concat", ["r", "r"], ["y"], axis=1),
    ]
    compiled = check(model_of(nodes, {"x": SHAPE}, ["y"], {"zero": integers(0), "rest": integers(2, -1)}), X)
    assert compiled.outputs[0].shape == ("N", 4, 72)


def test_squeezes_and_expands():
    nodes = [
        helper.make_node("Unsqueeze", ["x", "two"], ["u"]),
        helper.make_node("Squeeze", ["u", "two"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "two"], ["v"]),
        helper.make_node("Expand", ["v", "shape"], ["y"]),
    ]
    check(model_of(nodes, {"x": ("N", 3, 4)}, ["y"], {"two": integers(2), "shape": integers(1, 1, 5, 1)}), reals(2, 3, 4))


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("size", [(12, 12), (9, 4), (3, 6)])
def test_resizes(coordinates, mode, size):
    extra = {"nearest_mode": "floor"} if mode == "nearest" else {}
    model = single("Resize", None, None, integers(2, 4, *size), shape=(2, 4, 6, 6), mode=mode,
                   coordinate_transformation_mode=coordinates, opset=18, **extra)  # fmt: skip
    check(model, X)


def test_resizes_by_scales_as_exporters_write_them():
    scales = np.array([1, 1, 2, 2], np.float32)
    compiled = check(single("Resize", None, scales, shape=SHAPE, mode="nearest", nearest_mode="floor",
                            coordinate_transformation_mode="asymmetric"), X)  # fmt: skip
    assert [node["operation"] for node in compiled.nodes if node["operation"] not in ("reshape", "expand")] == []


def test_cubic_resizes_and_selections_of_the_batch_are_refused():
    with pytest.raises(engine.UnsupportedModel, match=r"Resize.*cubic"):
        engine.compile(single("Resize", None, np.array([1, 1, 2, 2], np.float32), shape=SHAPE, mode="cubic"), X)
    with pytest.raises(engine.UnsupportedModel, match="of the batch"):
        engine.compile(single("Gather", integers(1, 0), shape=SHAPE, axis=0), X)

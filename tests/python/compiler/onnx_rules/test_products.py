import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, helper, model_of, reals, single


@pytest.mark.parametrize(
    ("attributes", "weight"),
    [
        ({}, (5, 4, 3, 3)),
        ({"pads": [1, 1, 1, 1], "strides": [2, 2]}, (5, 4, 3, 3)),
        ({"pads": [0, 1, 2, 0]}, (5, 4, 3, 3)),
        ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (5, 4, 3, 3)),
        ({"auto_pad": "SAME_LOWER", "strides": [2, 1]}, (5, 4, 2, 4)),
        ({"auto_pad": "VALID"}, (5, 4, 1, 1)),
        ({"dilations": [2, 2], "pads": [2, 2, 2, 2]}, (5, 4, 3, 3)),
        ({"group": 2}, (6, 2, 3, 3)),
        ({"group": 4}, (4, 1, 3, 3)),
    ],
)
def test_convolutions(attributes, weight):
    model = single("Conv", reals(*weight, seed=1), reals(weight[0], seed=2), shape=("N", 4, 9, 8), **attributes)
    check(model, reals(2, 4, 9, 8))


def test_convolutions_over_one_axis_and_three_and_a_refusal_over_four():
    check(single("Conv", reals(5, 4, 3, seed=1), shape=("N", 4, 9), pads=[1, 1]), reals(2, 4, 9))
    volume = reals(6, 2, 3, 2, 3, seed=1)
    for attributes in (
        {},
        {"pads": [1, 0, 1, 0, 1, 2], "strides": [2, 1, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [1, 2, 2]},
    ):
        check(single("Conv", volume, reals(6), shape=("N", 4, 5, 6, 7), group=2, **attributes), reals(2, 4, 5, 6, 7))
    with pytest.raises(engine.UnsupportedModel, match=r"Conv.*4 axes"):
        engine.compile(single("Conv", reals(5, 4, 3, 3, 3, 3), shape=("N", 4, 5, 5, 5, 5)), reals(2, 4, 5, 5, 5, 5))


@pytest.mark.parametrize("turned", [0, 1])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
@pytest.mark.parametrize("bias", [None, (5,), (1, 5)])
def test_gemm(turned, alpha, bias):
    weight = reals(5, 6, seed=1) if turned else reals(6, 5, seed=1)
    constants = (weight,) if bias is None else (weight, reals(*bias, seed=2))
    compiled = check(single("Gemm", *constants, shape=("N", 6), transB=turned, alpha=alpha, beta=0.25), reals(3, 6))
    assert compiled.nodes[0]["operation"] == "linear"


def test_matmul_by_a_weight_and_of_two_computed_values():
    compiled = check(single("MatMul", reals(4, 5, seed=1), shape=("N", 3, 4)), reals(2, 3, 4))
    assert compiled.nodes[0]["weight"] == (5, 4, 20)
    model = model_of([helper.make_node("MatMul", ["a", "b"], ["y"])], {"a": ("N", 3, 4), "b": ("N", 4, 5)}, ["y"])
    check(model, reals(2, 3, 4), reals(2, 4, 5, seed=1))


@pytest.mark.parametrize(
    ("equation", "weight"),
    [("nij,jk->nik", (4, 5)), ("nij,kj->nik", (5, 4)), ("nij,ijk->nk", (3, 4, 5)), ("nij,jkl->nikl", (4, 2, 5))],
)
def test_einsum_that_is_a_product(equation, weight):
    check(single("Einsum", reals(*weight, seed=1), shape=("N", 3, 4), equation=equation), reals(2, 3, 4))


def test_other_einsums_are_refused():
    with pytest.raises(engine.UnsupportedModel, match=r"Einsum.*ij,ij->ij"):
        engine.compile(single("Einsum", reals(3, 4), shape=(3, 4), equation="ij,ij->ij"), reals(3, 4))


def test_weights_of_16_bits_are_computed_in_float32():
    weight = reals(5, 4, seed=1).astype(np.float16)
    nodes = [helper.make_node("Cast", ["w"], ["v"], to=1), helper.make_node("MatMul", ["x", "v"], ["y"])]
    check(model_of(nodes, {"x": ("N", 5)}, ["y"], {"w": weight}), reals(2, 5))


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 1, 0]},
        {"strides": [3, 2], "output_shape": [27, 17]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"dilations": [2, 2]},
    ],
)
def test_transposed_convolutions(attributes):
    weight = reals(4, 3, 3, 3, seed=1)
    check(single("ConvTranspose", weight, reals(3, seed=2), shape=("N", 4, 9, 8), **attributes), reals(2, 4, 9, 8))

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, helper, model_of, reals, single

X = reals(2, 3, 4)


@pytest.mark.parametrize(
    "op",
    [
        "Abs",
        "Ceil",
        "Cos",
        "Exp",
        "Floor",
        "HardSwish",
        "Mish",
        "Neg",
        "Reciprocal",
        "Relu",
        "Selu",
        "Sigmoid",
        "Sign",
        "Sin",
        "Softplus",
        "Softsign",
        "Tanh",
    ],
)
def test_functions_of_one_element(op):
    check(single(op, opset=22), X)


@pytest.mark.parametrize("op", ["Sqrt", "Log"])
def test_functions_of_positive_elements(op):
    check(single(op), np.abs(X) + 0.01)


@pytest.mark.parametrize(
    ("op", "attributes"),
    [
        ("LeakyRelu", {"alpha": 0.2}),
        ("Elu", {"alpha": 0.7}),
        ("Celu", {"alpha": 0.7}),
        ("Selu", {"alpha": 1.5, "gamma": 1.1}),
        ("HardSigmoid", {}),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
        ("Gelu", {"approximate": "tanh"}),
        ("Gelu", {}),
        ("ThresholdedRelu", {"alpha": 0.4}),
        ("Shrink", {"lambd": 0.3, "bias": 0.1}),
    ],
)
def test_functions_with_parameters(op, attributes):
    check(single(op, opset=22, **attributes), X)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min"])
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 3, 4)])
@pytest.mark.parametrize("first", [True, False])
def test_constants_on_either_side_are_broadcast(op, shape, first):
    reads = ["c", "x"] if first else ["x", "c"]
    model = model_of(
        [helper.make_node(op, reads, ["y"])], {"x": ("N", 3, 4)}, ["y"], {"c": np.abs(reals(*shape, seed=1)) + 0.5}
    )
    check(model, X + 3)


def test_sums_and_means_of_several():
    for op in ("Sum", "Mean", "Max", "Min"):
        model = model_of([helper.make_node(op, ["a", "b", "c"], ["y"])], dict.fromkeys("abc", ("N", 3)), ["y"])
        check(model, reals(2, 3), reals(2, 3, seed=1), reals(2, 3, seed=2))


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, 0.75, -1.0, -0.5, 1.0, 5.0])
def test_powers_by_multiples_of_a_quarter(exponent):
    check(single("Pow", np.array(exponent, np.float32)), np.abs(X) + 0.1)


def test_other_powers_are_refused():
    with pytest.raises(engine.UnsupportedModel, match=r"Pow.*exponent 0.3"):
        engine.compile(single("Pow", np.array(0.3, np.float32)), X)


@pytest.mark.parametrize("op", ["Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
def test_what_is_chosen_by_a_comparison(op):
    nodes = [helper.make_node(op, ["x", "c"], ["b"]), helper.make_node("Not", ["b"], ["n"]),
             helper.make_node("Or", ["b", "n"], ["all"]), helper.make_node("And", ["b", "all"], ["both"]),
             helper.make_node("Where", ["both", "x", "d"], ["y"])]  # fmt: skip
    x = np.round(X)
    model = model_of(nodes, {"x": ("N", 3, 4)}, ["y"], {"c": np.round(reals(3, 4, seed=3)), "d": reals(4, seed=4)})
    check(model, x)


def test_clips_with_bounds_as_inputs_and_as_attributes():
    check(single("Clip", np.array(-0.5, np.float32), np.array(0.25, np.float32)), X)
    check(single("Clip", None, np.array(0.25, np.float32)), X)
    check(single("Clip", opset=7, min=0.0, max=6.0), X)


@pytest.mark.parametrize("shape", [(1,), (3, 1), (3, 4)])
def test_slopes_of_prelu(shape):
    check(single("PRelu", np.abs(reals(*shape, seed=2))), X)


def test_casts_between_floats_and_of_truth_values():
    nodes = [helper.make_node("Greater", ["x", "c"], ["b"]), helper.make_node("Cast", ["b"], ["y"], to=1)]
    check(model_of(nodes, {"x": ("N", 3, 4)}, ["y"], {"c": np.zeros(1, np.float32)}), X)
    with pytest.raises(engine.UnsupportedModel, match=r"Cast.*to torch.int64"):
        engine.compile(model_of([helper.make_node("Cast", ["x"], ["y"], to=7)], {"x": ("N", 3)}, {"y": 7}), reals(2, 3))

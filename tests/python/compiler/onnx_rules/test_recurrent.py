import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, helper, model_of, reals, single

GATES = {"LSTM": 4, "GRU": 3}
STEPS, BATCH, INPUT, HIDDEN = 4, 2, 5, 12


def weights(op, directions, bias=True):
    gates = GATES[op] * HIDDEN
    found = [reals(directions, gates, INPUT, seed=1) / 3, reals(directions, gates, HIDDEN, seed=2) / 3]
    return [*found, reals(directions, 2 * gates, seed=3)] if bias else found


def layer(op, direction="forward", states=True, bias=True, **attributes):
    """A model with all of its results, whose states are inputs."""
    directions = 2 if direction == "bidirectional" else 1
    constants = dict(zip("wrb", weights(op, directions, bias), strict=False))
    names = ["h", "c"] if op == "LSTM" else ["h"]
    inputs = {"x": (STEPS, BATCH, INPUT)} | (dict.fromkeys(names, (directions, BATCH, HIDDEN)) if states else {})
    reads = ["x", "w", "r", "b" if bias else "", "", *(names if states else [])]
    outputs = ["y", "y_h", "y_c"] if op == "LSTM" else ["y", "y_h"]
    if op == "GRU":
        attributes.setdefault("linear_before_reset", 1)
    node = helper.make_node(op, reads, outputs, hidden_size=HIDDEN, direction=direction, **attributes)
    model = model_of([node], inputs, outputs, constants)
    return model, [reals(*shape, seed=4 + i) for i, shape in enumerate(inputs.values())]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("states", [True, False])
def test_layers_are_those_of_onnx_runtime(op, direction, states):
    """Its reference implementation knows one direction."""
    ort = pytest.importorskip("onnxruntime")
    for options in ({}, {"bias": False}) + (({"linear_before_reset": 0},) if op == "GRU" else ()):
        model, arrays = layer(op, direction, states, **options)
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        expected = session.run(None, dict(zip([i.name for i in session.get_inputs()], arrays, strict=True)))
        compiled = engine.compile(model, arrays)
        for a, b in zip(compiled(*arrays), expected, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("op", GATES)
def test_the_weight_of_the_state_is_that_of_one_node(op):
    model, arrays = layer(op, "bidirectional")
    nodes = [node for node in engine.compile(model, arrays).nodes if node["operation"] == op.lower()]
    assert [node["weight"][:2] for node in nodes] == [(2 * GATES[op] * HIDDEN, HIDDEN)]


def test_a_batch_that_is_open_comes_first_with_layout_1():
    for op in GATES:
        more = {"linear_before_reset": 1} if op == "GRU" else {}
        model = single(op, *weights(op, 1), shape=("N", STEPS, INPUT), hidden_size=HIDDEN, layout=1, **more)
        compiled = check(model, reals(3, STEPS, INPUT))
        assert compiled.about.get("batch") != "fixed"


def test_lengths_that_are_all_of_it_are_none():
    x = ("x", "w", "r", "", "lengths")
    named = dict(zip("wr", weights("LSTM", 1, bias=False), strict=True))
    node = helper.make_node("LSTM", x, ["y"], hidden_size=HIDDEN)
    arrays = reals(STEPS, BATCH, INPUT)
    inputs = {"x": arrays.shape}
    check(model_of([node], inputs, ["y"], named | {"lengths": np.full(BATCH, STEPS, np.int32)}), arrays)
    with pytest.raises(engine.UnsupportedModel, match=r"LSTM.*different lengths"):
        engine.compile(model_of([node], inputs, ["y"], named | {"lengths": np.array([STEPS, 1], np.int32)}), arrays)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"clip": 2.0}, "clip"),
        ({"input_forget": 1}, "input_forget"),
        ({"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations Sigmoid, Relu, Tanh"),
    ],
)
def test_variants_are_refused_by_name(attributes, reason):
    model, arrays = layer("LSTM", **attributes)
    with pytest.raises(engine.UnsupportedModel, match=rf"LSTM.*{reason}"):
        engine.compile(model, arrays)


def test_the_usual_activations_may_be_written_out():
    model, arrays = layer("GRU", activations=["Sigmoid", "Tanh"])
    engine.compile(model, arrays)


def test_peepholes_are_refused():
    named = dict(zip("wr", weights("LSTM", 1, bias=False), strict=True)) | {"p": reals(1, 3 * HIDDEN)}
    node = helper.make_node("LSTM", ["x", "w", "r", "", "", "", "", "p"], ["y"], hidden_size=HIDDEN)
    with pytest.raises(engine.UnsupportedModel, match=r"LSTM.*peepholes"):
        engine.compile(model_of([node], {"x": (STEPS, BATCH, INPUT)}, ["y"], named), reals(STEPS, BATCH, INPUT))


def test_a_gru_that_resets_first_is_refused_over_many_steps():
    model = single("GRU", *weights("GRU", 1), shape=(65, BATCH, INPUT), hidden_size=HIDDEN)
    with pytest.raises(engine.UnsupportedModel, match=r"GRU.*linear_before_reset = 0 over 65 steps"):
        engine.compile(model, reals(65, BATCH, INPUT))

import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, reals, single

X = reals(2, 3, 4, 5)
SHAPE = ("N", 3, 4, 5)


@pytest.mark.parametrize("kind", ["Mean", "Sum", "Max", "Min", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"])
@pytest.mark.parametrize(("axes", "keep"), [([1], 1), ([-1, 1], 0), ([2, 3], 1)])
def test_reductions_with_axes_as_attribute_and_as_input(kind, axes, keep):
    x = np.abs(X) + 0.1 if kind == "LogSum" else X
    old = {"axes": axes} if kind != "Sum" else {}
    constants = (np.array(axes),) if kind == "Sum" else ()
    check(single(f"Reduce{kind}", *constants, shape=SHAPE, opset=13, keepdims=keep, **old), x)
    check(single(f"Reduce{kind}", np.array(axes), shape=SHAPE, opset=18, keepdims=keep), x)


def test_all_axes_of_a_fixed_batch_and_none_of_them():
    check(single("ReduceMean", shape=(2, 3), opset=18), reals(2, 3))
    check(single("ReduceMax", shape=(2, 3), opset=18, keepdims=0), reals(2, 3))
    check(single("ReduceSum", np.zeros(0, np.int64), shape=(2, 3), opset=18, noop_with_empty_axes=1), reals(2, 3))


def test_the_open_batch_is_not_reduced():
    with pytest.raises(engine.UnsupportedModel, match="the batch among them"):
        engine.compile(single("ReduceMean", np.array([0]), shape=SHAPE, opset=18), X)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("axis", "opset"), [(-1, 17), (1, 17), (1, 11), (3, 11)])
def test_softmax_of_old_and_new_opsets(op, axis, opset):
    def expected(x):  # before opset 13 all axes from this one on are one
        flat = x.reshape(*x.shape[:axis], -1).astype(np.float64) if opset < 13 else np.moveaxis(x, axis, -1)
        shifted = flat - flat.max(axis=-1, keepdims=True)
        logarithms = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        logarithms = logarithms.reshape(x.shape) if opset < 13 else np.moveaxis(logarithms, -1, axis)
        return np.exp(logarithms) if op == "Softmax" else logarithms

    check(single(op, shape=SHAPE, axis=axis, opset=opset), 10 * X, expected_of=expected)

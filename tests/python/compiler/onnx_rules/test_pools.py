import pytest

import sparse_engine as engine
from onnx_models import check, reals, single

X = reals(2, 3, 9, 8)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 2]},
        {"strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"strides": [2, 2], "pads": [0, 1, 2, 0]},
        {"strides": [2, 2], "ceil_mode": 1},
        {"strides": [3, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [1, 1], "auto_pad": "SAME_LOWER"},
    ],
)
def test_windows(op, attributes):
    check(single(op, shape=("N", 3, 9, 8), opset=19, kernel_shape=[3, 3], **attributes), X)


@pytest.mark.parametrize("attributes", [{}, {"ceil_mode": 1}, {"pads": [0, 1, 2, 0]}])
def test_averages_that_count_their_padding(attributes):
    given = {"pads": [1, 1, 1, 1], **attributes}
    check(
        single(
            "AveragePool", shape=("N", 3, 9, 8), opset=19, kernel_shape=[3, 3], strides=[2, 2], count_include_pad=1, **given
        ),
        X,
    )


def test_pools_over_one_axis_and_over_all():
    check(single("MaxPool", shape=("N", 3, 9), kernel_shape=[2], strides=[2]), reals(2, 3, 9))
    check(single("GlobalAveragePool", shape=("N", 3, 9, 8)), X)
    check(single("GlobalMaxPool", shape=("N", 3, 9, 8)), X)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes", [{}, {"strides": [2, 2, 1], "pads": [1, 0, 1, 0, 1, 1]}, {"strides": [2, 2, 2], "ceil_mode": 1}]
)
def test_pools_of_volumes(op, attributes):
    check(single(op, shape=("N", 3, 5, 6, 7), opset=19, kernel_shape=[3, 2, 3], **attributes), reals(2, 3, 5, 6, 7))
    check(single("GlobalAveragePool", shape=("N", 3, 5, 6, 7)), reals(2, 3, 5, 6, 7))


def test_dilation_and_four_axes_are_refused():
    with pytest.raises(engine.UnsupportedModel, match=r"MaxPool.*dilation"):
        engine.compile(single("MaxPool", shape=("N", 3, 9, 8), kernel_shape=[2, 2], dilations=[2, 2]), X)
    with pytest.raises(engine.UnsupportedModel, match=r"MaxPool.*4 axes"):
        engine.compile(single("MaxPool", shape=("N", 3, 3, 3, 3, 3), kernel_shape=[2] * 4), reals(1, 3, 3, 3, 3, 3))

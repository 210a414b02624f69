import numpy as np
import pytest

import sparse_engine as engine
from onnx_models import check, reals, single

X = reals(2, 4, 5, 6)
SHAPE = ("N", 4, 5, 6)


def positive(*shape, seed=0):
    return np.abs(reals(*shape, seed=seed)) + 0.5


def test_batch_norm_in_inference_and_a_refusal_in_training():
    constants = (reals(4, seed=1), reals(4, seed=2), reals(4, seed=3), positive(4, seed=4))
    check(single("BatchNormalization", *constants, shape=SHAPE, epsilon=1e-3), X)
    with pytest.raises(engine.UnsupportedModel, match="training"):
        engine.compile(single("BatchNormalization", *constants, shape=SHAPE, outputs=("y", "m", "v"), training_mode=1), X)


def test_instance_and_group_norm():
    check(single("InstanceNormalization", reals(4, seed=1), reals(4, seed=2), shape=SHAPE), X)
    check(single("GroupNormalization", reals(4, seed=1), reals(4, seed=2), shape=SHAPE, opset=21, num_groups=2), X)


@pytest.mark.parametrize("axis", [-1, 2])
def test_layer_norm_with_all_of_its_results(axis):
    shape = (6,) if axis == -1 else (5, 6)
    outputs = ("y", "mean", "inverse")
    check(
        single("LayerNormalization", reals(*shape, seed=1), reals(*shape, seed=2), shape=SHAPE, outputs=outputs, axis=axis), X
    )
    check(single("LayerNormalization", reals(*shape, seed=1), shape=SHAPE, axis=axis), X)


def test_rms_norm():
    check(single("RMSNormalization", positive(6, seed=1), shape=SHAPE, opset=23), X)


@pytest.mark.parametrize(("size", "beta"), [(3, 0.75), (4, 0.5), (5, 1.0)])
def test_local_response_norm(size, beta):
    def expected(x):
        y = np.empty_like(x)
        for channel in range(4):
            near = slice(max(0, channel - (size - 1) // 2), channel + size // 2 + 1)
            y[:, channel] = x[:, channel] / (1.5 + 0.3 / size * (x[:, near] ** 2).sum(axis=1)) ** beta
        return y

    check(single("LRN", shape=SHAPE, size=size, alpha=0.3, beta=beta, bias=1.5), X, expected_of=expected)


@pytest.mark.parametrize("p", [1, 2])
def test_lp_norm_of_zeros_is_zero(p):
    def expected(x):
        norm = np.linalg.norm(x, ord=p, axis=3, keepdims=True)
        return np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)

    x = X.copy()
    x[:, :, 2] = 0
    check(single("LpNormalization", shape=SHAPE, axis=3, p=p), x, expected_of=expected)


def test_mean_variance_norm_of_a_fixed_batch():
    check(single("MeanVarianceNormalization", shape=SHAPE, axes=[2, 3]), X)

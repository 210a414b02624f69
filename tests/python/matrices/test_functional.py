import numpy as np
import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound, gamma, integers, sparse_weights

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("lead", [(), (1,), (9,), (2, 3), (0,), (4, 0, 2), (70,)])
def test_linear_takes_any_leading_dimensions(every_isa, rng, lead):
    w = sparse_weights(rng, (37, 101), 0.8)
    b = rng.standard_normal(37).astype(np.float32)
    x = rng.standard_normal((*lead, 101)).astype(np.float32)
    y = engine.linear(x, engine.CSRMatrix.from_dense(w), b)
    assert y.shape == (*lead, 37)
    assert_linear_within_bound(y.reshape(-1, 37), x.reshape(-1, 101), w, b)


@pytest.mark.parametrize(("name", "reference"), [("relu", lambda v: max(v, 0)), ("relu6", lambda v: min(max(v, 0), 6))])
def test_activations_follow_the_bias(every_isa, rng, name, reference):
    w = integers(rng, (33, 60), 4)
    x = integers(rng, (1, 60), 8)
    for n in (1, 20):
        y = engine.linear(np.repeat(x, n, axis=0), engine.CSRMatrix.from_dense(w), w[:, 0].copy(), activation=name)
        expected = np.vectorize(reference)((x @ w.T + w[:, 0])[0])
        np.testing.assert_array_equal(y, np.repeat(expected[None], n, axis=0))
    assert np.isnan(engine.linear(np.full((1, 60), np.nan, np.float32), engine.CSRMatrix.from_dense(w), activation=name)).all()
    with pytest.raises(ValueError, match="not one of: None, relu, relu6"):
        engine.linear(x, engine.CSRMatrix.from_dense(w), activation="rule")


TORCH_ACTIVATIONS = {
    None: lambda v: v,
    "relu": torch.nn.functional.relu,
    "relu6": torch.nn.functional.relu6,
    "gelu": torch.nn.functional.gelu,
    "gelu_tanh": lambda v: torch.nn.functional.gelu(v, approximate="tanh"),
    "silu": torch.nn.functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hardswish": torch.nn.functional.hardswish,
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "elu": torch.nn.functional.elu,
    "mish": torch.nn.functional.mish,
    "softplus": torch.nn.functional.softplus,
}


@pytest.mark.parametrize("name", TORCH_ACTIVATIONS)
def test_activations_are_torchs(every_isa, rng, name):
    w = sparse_weights(rng, (33, 40), 0.5)
    for n in (1, 5, 70):
        x = torch.from_numpy(3 * rng.standard_normal((n, 40)).astype(np.float32))
        y = engine.linear(x, engine.CSRMatrix.from_dense(w), activation=name)
        expected = TORCH_ACTIVATIONS[name](torch.nn.functional.linear(x.double(), torch.from_numpy(w).double()))
        torch.testing.assert_close(y.double(), expected, rtol=1e-5, atol=1e-5)
    image = torch.from_numpy(rng.standard_normal((2, 10, 7, 9)).astype(np.float32))
    y = engine.conv2d(image, engine.CSRMatrix.from_dense(w), 2, activation=name)
    expected = torch.nn.functional.conv2d(image.double(), torch.from_numpy(w.reshape(33, 10, 2, 2)).double())
    torch.testing.assert_close(y.double(), TORCH_ACTIVATIONS[name](expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lead", [(), (1,), (5,), (2, 3), (70,), (0,)])
def test_a_residual_is_added_before_the_activation(every_isa, rng, lead):
    w = integers(rng, (33, 60), 4)
    x, residual = integers(rng, (*lead, 60), 8), integers(rng, (*lead, 33), 8)
    expected = np.maximum(x @ w.T + residual, 0)
    matrix = engine.CSRMatrix.from_dense(w)
    turned = np.ascontiguousarray(residual.T).T
    for r in (residual, turned, np.repeat(residual, 2, axis=-1)[..., ::2], torch.from_numpy(residual)):
        np.testing.assert_array_equal(engine.linear(x, matrix, activation="relu", residual=r), expected)
        assert isinstance(engine.linear(torch.from_numpy(x), matrix, residual=r), torch.Tensor)
    np.testing.assert_array_equal(residual, np.asarray(turned))  # read only
    with pytest.raises(ValueError, match="residual has shape"):
        engine.linear(x, matrix, residual=residual[..., :-1])
    with pytest.raises(TypeError, match="residual has dtype float64"):
        engine.linear(x, matrix, residual=residual.astype(np.float64))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": (2, 0, 1), "stride": (1, 2, 3), "groups": 2},
        {"padding": "same", "dilation": (2, 1, 1)},
        {"kernel_size": (3, 1, 1), "stride": (2, 1, 1), "padding": (1, 0, 0)},
        {"kernel_size": 1, "stride": 2},
    ],
    ids=str,
)
def test_convolutions_of_volumes_are_torchs_whatever_their_memory_order(every_isa, rng, options):
    options = {"kernel_size": (2, 3, 3), **options}
    kernel, groups = options.pop("kernel_size"), options.get("groups", 1)
    w = integers(rng, (12, 6 // groups, *((kernel,) * 3 if isinstance(kernel, int) else kernel)), 4)
    x, b = torch.from_numpy(integers(rng, (3, 6, 5, 7, 8), 8)), integers(rng, (12,), 4)
    expected = torch.nn.functional.conv3d(x, torch.from_numpy(w), torch.from_numpy(b), **options)
    matrix, last = engine.CSRMatrix.from_dense(w.reshape(12, -1)), torch.channels_last_3d
    residual = torch.from_numpy(integers(rng, tuple(expected.shape), 8))
    wider = torch.from_numpy(integers(rng, (3, 6, 5, 7, 16), 8))
    wider[..., ::2] = x
    for volume in (x, x.contiguous(memory_format=last), wider[..., ::2], x.flip(0).flip(0)):
        for r in (residual, residual.contiguous(memory_format=last)):
            y = engine.conv3d(volume, matrix, kernel, b, **options, residual=r, activation="relu")
            torch.testing.assert_close(y, torch.relu(expected + residual), rtol=0, atol=0)
        y = engine.conv3d(volume.numpy(), matrix, kernel, b, **options)
        np.testing.assert_array_equal(y, expected.numpy())
        np.testing.assert_array_equal(engine.conv3d(volume[0], matrix, kernel, b, **options), expected[0].numpy())
    y = engine.conv3d(x.contiguous(memory_format=last), matrix, kernel, b, **options)
    assert y.is_contiguous(memory_format=last)
    with pytest.raises(ValueError, match=r"convolution takes \(N, C, D, H, W\) or \(C, D, H, W\)"):
        engine.conv3d(x[0, 0], matrix, kernel, b, **options)


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_residual_of_either_memory_order_is_added_to_a_convolution(every_isa, rng, kernel):
    w = integers(rng, (20, 6, kernel, kernel), 4)
    matrix = engine.CSRMatrix.from_dense(w.reshape(20, -1))
    x = torch.from_numpy(integers(rng, (3, 6, 9, 8), 8))
    residual = torch.from_numpy(integers(rng, (3, 20, 9, 8), 8))
    expected = torch.relu(torch.nn.functional.conv2d(x, torch.from_numpy(w), padding=kernel // 2) + residual)
    last = torch.channels_last
    for image in (x, x.contiguous(memory_format=last)):
        for r in (residual, residual.contiguous(memory_format=last), residual[:1].expand(3, -1, -1, -1)):
            y = engine.conv2d(image, matrix, kernel, padding=kernel // 2, activation="relu", residual=r)
            torch.testing.assert_close(y[0], expected[0], rtol=0, atol=0)
            if r.stride(0) != 0:
                torch.testing.assert_close(y, expected, rtol=0, atol=0)
    y = engine.conv2d(x[0], matrix, kernel, padding=kernel // 2, activation="relu", residual=residual[0])
    torch.testing.assert_close(y, expected[0], rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"residual has shape \(3, 20, 9, 8\); it needs the result's, \(20, 9, 8\)"):
        engine.conv2d(x[0], matrix, kernel, padding=kernel // 2, residual=residual)


GEOMETRIES = [
    # cin, cout, kernel, size, stride, padding, dilation, groups
    (3, 8, 3, (9, 11), 1, 1, 1, 1),
    (4, 6, 1, (8, 8), 1, 0, 1, 1),
    (4, 6, 1, (9, 7), 2, 0, 1, 1),
    (8, 70, 3, (14, 14), 2, 1, 1, 1),
    (6, 9, 5, (12, 17), 3, 2, 1, 3),
    (5, 5, 3, (10, 10), 1, 1, 1, 5),
    (4, 8, 3, (15, 13), 1, 2, 2, 2),
    (4, 8, (3, 2), (15, 13), (2, 3), (0, 1), (2, 3), 2),
    (40, 33, 3, (7, 7), 1, 1, 1, 1),
    (2, 3, 7, (40, 70), 1, 3, 1, 1),
    (2, 3, 4, (4, 4), 1, 0, 1, 1),
    (2, 3, 2, (5, 5), 4, 0, 1, 1),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_convolution_lies_within_the_proven_bound(every_isa, rng, geometry, batch):
    cin, cout, kernel, size, stride, padding, dilation, groups = geometry
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    w = sparse_weights(rng, (cout, cin // groups, kh, kw), 0.6)
    b = rng.standard_normal(cout).astype(np.float32)
    x = rng.standard_normal((batch, cin, *size)).astype(np.float32)
    matrix = engine.CSRMatrix.from_dense(w.reshape(cout, -1))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def exact(images, weights, bias):
        parts = [torch.from_numpy(np.asarray(a, np.float64)) for a in (images, weights, bias)]
        return torch.nn.functional.conv2d(*parts, **options).numpy()

    terms = np.count_nonzero(w.reshape(cout, -1), axis=1)[:, None, None]
    bound = gamma(terms + 2) * exact(np.abs(x), np.abs(w), np.abs(b)) + 1e-40
    for given in (x, torch.from_numpy(x), torch.from_numpy(x).contiguous(memory_format=torch.channels_last)):
        y = engine.conv2d(given, matrix, kernel, b, **options)
        assert np.all(np.abs(np.asarray(y, np.float64) - exact(x, w, b)) <= bound)
        if isinstance(given, torch.Tensor) and batch and min(y.shape[1:]) > 1:
            assert y.is_contiguous(memory_format=torch.channels_last) == given.is_contiguous(memory_format=torch.channels_last)
    if batch:
        single = engine.conv2d(x[0], matrix, kernel, b, **options)
        np.testing.assert_array_equal(single, engine.conv2d(x, matrix, kernel, b, **options)[0])


def test_channels_that_no_weight_reads_do_not_reach_the_output(every_isa, rng):
    w = sparse_weights(rng, (20, 10, 3, 3), 0.5)
    w[:, [0, 4]] = 0
    x = rng.standard_normal((2, 10, 9, 9)).astype(np.float32)
    matrix = engine.CSRMatrix.from_dense(w.reshape(20, -1))
    clean = engine.conv2d(x, matrix, 3, padding=1)
    x[:, 0], x[:, 4] = np.inf, np.nan
    np.testing.assert_array_equal(engine.conv2d(x, matrix, 3, padding=1), clean)


def test_convolution_refuses_geometry_that_makes_no_sense(rng):
    matrix = engine.CSRMatrix.from_dense(np.ones((4, 18), np.float32))
    x = np.ones((1, 2, 5, 5), np.float32)
    for options, words in [
        ({"stride": 0}, "stride height = 0"),
        ({"dilation": 0}, "dilation height = 0"),
        ({"padding": -1}, "padding height = -1"),
        ({"groups": 3}, "groups = 3 does not divide"),
        ({"groups": 0}, "groups = 0"),
        ({"dilation": 9}, "reaches over 19 cells"),
        ({"kernel_size": 2}, "need 8"),
        ({"stride": (1, 1, 1)}, "one integer or two"),
        ({"bias": np.ones(3, np.float32)}, "bias has shape"),
    ]:
        arguments = {"kernel_size": 3, **options}
        with pytest.raises(ValueError, match=words):
            engine.conv2d(x, matrix, **arguments)
    with pytest.raises(ValueError, match="takes"):
        engine.conv2d(x[0, 0], matrix, 3)


@pytest.mark.parametrize(
    "geometry", [(3, 8, 3, 11, 1, 1, 1, 1), (8, 70, 5, 140, 2, 2, 3, 2), (6, 6, 1, 9, 3, 0, 1, 6), (4, 3, 1, 8, 1, 0, 1, 1)]
)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_convolution_over_one_axis_lies_within_the_proven_bound(every_isa, rng, geometry, batch):
    cin, cout, kernel, length, stride, padding, dilation, groups = geometry
    w = sparse_weights(rng, (cout, cin // groups, kernel), 0.5)
    b = rng.standard_normal(cout).astype(np.float32)
    x = rng.standard_normal((batch, cin, length)).astype(np.float32)
    matrix = engine.CSRMatrix.from_dense(w.reshape(cout, -1))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}

    def exact(lines, weights, bias):
        parts = [torch.from_numpy(np.asarray(a, np.float64)) for a in (lines, weights, bias)]
        return torch.nn.functional.conv1d(*parts, **options).numpy()

    terms = np.count_nonzero(w.reshape(cout, -1), axis=1)[:, None]
    bound = gamma(terms + 2) * exact(np.abs(x), np.abs(w), np.abs(b)) + 1e-40
    turned = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1))).transpose(1, 2)
    for given in (x, torch.from_numpy(x), turned):
        y = engine.conv1d(given, matrix, kernel, b, **options)
        assert isinstance(y, type(given))
        assert np.all(np.abs(np.asarray(y, np.float64) - exact(x, w, b)) <= bound)
    for line in x:
        ones = np.ones(bound.shape[1:], np.float32)
        y = engine.conv1d(line, matrix, (kernel,), b, **options, activation="relu", residual=ones)
        assert np.all(np.abs(y - np.maximum(exact(line[None], w, b)[0] + 1, 0)) <= bound.max() + 1e-5)


def test_padding_may_differ_from_side_to_side(every_isa, rng):
    w = integers(rng, (5, 4, 2, 3), 4)
    matrix = engine.CSRMatrix.from_dense(w.reshape(5, -1))
    x = integers(rng, (2, 4, 7, 9), 8)
    conv = torch.nn.functional.conv2d
    for top, bottom, left, right in [(1, 0, 0, 2), (0, 3, 1, 0), (0, 0, 4, 0), (2, 1, 1, 3)]:
        padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom))
        for stride in (1, 2):
            y = engine.conv2d(x, matrix, (2, 3), padding=((top, bottom), (left, right)), stride=stride)
            np.testing.assert_array_equal(y, conv(padded, torch.from_numpy(w), stride=stride))
        line = engine.conv1d(x[:, :, 0], engine.CSRMatrix.from_dense(w[:, :, 0].reshape(5, -1)), 3, padding=(left, right))
        np.testing.assert_array_equal(line, conv(padded[:, :, top : top + 1], torch.from_numpy(w[:, :, :1])).squeeze(2))
    np.testing.assert_array_equal(
        engine.conv2d(x, matrix, (2, 3), padding=(1, (0, 2))), engine.conv2d(x, matrix, (2, 3), padding=((1, 1), (0, 2)))
    )


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_padding_has_torchs_two_names(rng, dilation):
    w, x = integers(rng, (5, 4, 2, 3), 4), integers(rng, (2, 4, 7, 9), 8)
    matrix, line = engine.CSRMatrix.from_dense(w.reshape(5, -1)), engine.CSRMatrix.from_dense(w[:, :, 0].reshape(5, -1))
    for name in ("same", "valid"):
        expected = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=name, dilation=dilation)
        np.testing.assert_array_equal(engine.conv2d(x, matrix, (2, 3), padding=name, dilation=dilation), expected)
        expected = torch.nn.functional.conv1d(
            torch.from_numpy(x[:, :, 1]), torch.from_numpy(w[:, :, 0]), padding=name, dilation=dilation
        )
        np.testing.assert_array_equal(engine.conv1d(x[:, :, 1], line, 3, padding=name, dilation=dilation), expected)
    with pytest.raises(ValueError, match="'same' needs stride 1"):
        engine.conv2d(x, matrix, (2, 3), padding="same", stride=2)
    for bad in ("full", (1, 2, 3), (1, (2, 3, 4)), ((1, 2), 1.5), 0.5, None):
        with pytest.raises(ValueError, match=r"padding = .* must be one integer"):
            engine.conv2d(x, matrix, (2, 3), padding=bad)
        with pytest.raises(ValueError, match=r"padding = .* must be one integer"):
            engine.conv1d(x[:, :, 1], line, 3, padding=bad)
    for option in ("kernel_size", "stride", "dilation"):
        with pytest.raises(ValueError, match=f"{option} = .* must be one integer$"):
            engine.conv1d(x[:, :, 1], line, **{"kernel_size": 3, option: (1, 2)})
    with pytest.raises(ValueError, match="takes"):
        engine.conv1d(x, line, 3)

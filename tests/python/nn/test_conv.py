import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

CONVOLUTIONS = [
    {},
    {"padding": 1},
    {"padding": "same"},
    {"padding": "same", "kernel_size": 4, "dilation": 2},
    {"padding": "valid"},
    {"padding": (2, 0), "stride": (1, 3)},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 2, "padding_mode": "circular", "stride": 2},
    {"padding": (1, 2), "padding_mode": "replicate"},
    {"groups": 4, "padding": 1, "bias": False},
    {"groups": 8, "padding": 1},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_convolution_takes_what_torch_takes(native_always, plain_copy, options, channels_last):
    layer = engine.prune(nn.Conv2d(8, 16, **{"kernel_size": 3, **options}), engine.Spec(sparsity=0.7)).eval()
    reference = plain_copy(layer)
    for x in (torch.randn(3, 8, 11, 13), torch.randn(1, 8, 12, 9), torch.randn(8, 11, 13), torch.randn(0, 8, 11, 13)):
        if channels_last and x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            y, expected = layer(x), reference(x)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        assert y.stride() == expected.stride() or y.numel() == 0 or min(y.shape) == 1


CONVOLUTIONS_1D = [
    {},
    {"padding": 1},
    {"padding": "same"},
    {"padding": "same", "kernel_size": 4, "dilation": 3},
    {"padding": "valid"},
    {"padding": 2, "stride": 3},
    {"padding": 1, "padding_mode": "reflect"},
    {"padding": 2, "padding_mode": "circular", "stride": 2},
    {"padding": 2, "padding_mode": "replicate"},
    {"groups": 4, "padding": 1, "bias": False},
    {"groups": 8, "padding": 1},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
]


@pytest.mark.parametrize("options", CONVOLUTIONS_1D, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_convolution_over_one_axis_takes_what_torch_takes(native_always, plain_copy, options):
    layer = engine.prune(nn.Conv1d(8, 16, **{"kernel_size": 3, **options}), engine.Spec(sparsity=0.7)).eval()
    assert type(layer) is engine.nn.SparseConv1d
    reference = plain_copy(layer)
    assert type(reference) is nn.Conv1d
    last = torch.randn(3, 90, 8).transpose(1, 2)
    for x in (torch.randn(3, 8, 11), torch.randn(1, 8, 200), torch.randn(8, 13), torch.randn(0, 8, 11), last):
        with torch.inference_mode():
            y, expected = layer(x), reference(x)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        assert y.is_contiguous()
    report = engine.report(layer, example_inputs=torch.randn(2, 8, 20))
    assert report.layers[0].kernel in ("csr", "bitmask")


CONVOLUTIONS_3D = [
    {},
    {"padding": 1},
    {"padding": "same"},
    {"padding": "same", "kernel_size": (4, 2, 3), "dilation": (1, 2, 1)},
    {"padding": (2, 0, 1), "stride": (1, 3, 2)},
    {"padding": 1, "padding_mode": "replicate"},
    {"padding": (1, 0, 2), "padding_mode": "circular", "stride": 2},
    {"groups": 4, "padding": 1, "bias": False},
    {"groups": 8, "padding": 1},
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (3, 1, 1), "padding": (1, 0, 0), "stride": (2, 1, 1)},
    {"kernel_size": (1, 3, 3), "padding": (0, 1, 1)},
]


@pytest.mark.parametrize("options", CONVOLUTIONS_3D, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
def test_convolution_over_three_axes_takes_what_torch_takes(native_always, plain_copy, options):
    layer = engine.prune(nn.Conv3d(8, 16, **{"kernel_size": 3, **options}), engine.Spec(sparsity=0.7)).eval()
    assert type(layer) is engine.nn.SparseConv3d
    reference = plain_copy(layer)
    assert type(reference) is nn.Conv3d
    last = torch.randn(3, 8, 5, 7, 6).contiguous(memory_format=torch.channels_last_3d)
    for x in (
        torch.randn(3, 8, 5, 6, 7),
        torch.randn(1, 8, 7, 9, 6),
        torch.randn(8, 6, 7, 5),
        torch.randn(0, 8, 5, 6, 7),
        last,
    ):
        with torch.inference_mode():
            y, exact = layer(x), reference.double()(x.double())
        torch.testing.assert_close(y, exact.float(), rtol=1e-4, atol=1e-5)
        # Torch's own layout of a padded or pointwise result from channels_last_3d is not always that of its input.
        assert y.is_contiguous() or (x is last and y.is_contiguous(memory_format=torch.channels_last_3d))
    report = engine.report(layer, example_inputs=torch.randn(2, 8, 5, 6, 7))
    assert report.layers[0].kernel in ("csr", "bitmask")


def test_a_volume_that_filters_cover_whole_is_one_row(native_always):
    layer = engine.prune(nn.Conv3d(6, 16, (2, 4, 3)), engine.Spec(sparsity=0.5)).eval()
    for x in (torch.randn(2, 6, 2, 4, 3), torch.randn(6, 2, 4, 3)):
        assert layer._columns(layer._geometry(x), x) == (2 if x.dim() == 5 else 1)
        with torch.inference_mode():
            torch.testing.assert_close(layer(x), nn.functional.conv3d(x, layer.weight, layer.bias), rtol=1e-4, atol=1e-5)


def test_squeeze_and_excite_convolutions_are_one_row(native_always):
    layer = engine.prune(nn.Conv2d(64, 16, 1), engine.Spec(sparsity=0.9)).eval()
    whole = engine.prune(nn.Conv2d(6, 16, (4, 3)), engine.Spec(sparsity=0.5)).eval()
    for conv, x in ((layer, torch.randn(1, 64, 1, 1)), (layer, torch.randn(64, 1, 1)), (whole, torch.randn(2, 6, 4, 3))):
        with torch.inference_mode():
            expected = nn.functional.conv2d(x, conv.weight, conv.bias)
            torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)
            assert conv(x).shape == expected.shape
    assert layer._columns(layer._geometry(torch.randn(1, 64, 1, 1)), torch.randn(1, 64, 1, 1)) == 1

import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.nn import transposed  # noqa: E402

CONVOLVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
GEOMETRIES = [
    # axes, kernel, stride, padding, output_padding, dilation, groups, size
    (1, 4, 2, 1, 0, 1, 1, (9,)),
    (1, 16, 8, 4, 0, 1, 2, (13,)),
    (1, 3, 1, 2, 0, 3, 1, (7,)),
    (1, 3, 3, 0, 2, 2, 1, (6,)),
    (1, 1, 3, 1, 2, 1, 1, (5,)),
    (1, 2, 1, 2, 0, 1, 1, (9,)),  # padding beyond the kernel: inputs that nothing reads
    (2, 2, 2, 0, 0, 1, 1, (7, 5)),  # as in U-Net
    (2, 2, 2, 1, 0, 1, 4, (7, 5)),
    (2, 3, 1, 1, 0, 1, 1, (6, 9)),
    (2, 3, 2, 1, 1, 1, 2, (5, 6)),
    (2, 4, 2, 1, 0, 1, 1, (8, 8)),
    (2, (3, 5), (3, 2), (0, 2), (2, 1), (1, 2), 4, (5, 3)),
    (2, 3, 2, 0, 1, 2, 1, (4, 5)),  # the stride divides the dilation: phases of the bias alone
    (2, (4, 1), (1, 2), (3, 0), (0, 1), (1, 3), 1, (5, 4)),
    (2, 4, 1, 0, 0, 1, 1, (1, 1)),
    (2, 1, 1, 0, 0, 1, 1, (1, 3)),
    (3, 2, 2, 0, 0, 1, 1, (3, 4, 5)),
    (3, 3, (1, 2, 3), 1, (0, 1, 2), 1, 2, (3, 2, 4)),
    (3, (2, 3, 1), 2, (0, 1, 0), 1, (1, 2, 1), 1, (3, 4, 2)),
]


def geometry_layer(axes, kernel, stride, padding, output_padding, dilation, groups, bias=True, channels=(8, 12)):
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    layer = kind(*channels, kernel, stride, padding, output_padding, groups, bias, dilation)
    with torch.no_grad():
        layer.weight[0, 0].view(-1)[0] = 5.0
    return engine.prune(layer, engine.Spec(sparsity=0.6)).eval()


def exact(layer, x, magnitude=False):
    """The float64 result, or that of magnitudes, which bounds what rounding adds to it."""
    tensors = [t if t is None else t.detach().double() for t in (x, layer.weight, layer.bias)]
    tensors = [t if t is None or not magnitude else t.abs() for t in tensors]
    sides = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
    return CONVOLVE[len(layer.kernel_size)](*tensors, *sides)


def assert_within_bound(y, layer, x):
    expected = exact(layer, x)
    terms = layer.weight.shape[0] // layer.groups * layer.weight[0, 0].numel() + 2
    unit = 2.0**-24
    bound = terms * unit / (1 - terms * unit) * exact(layer, x, magnitude=True)
    assert y.shape == expected.shape
    assert bool(((y.double() - expected).abs() <= bound).all())
    assert float(y.abs().max()) > 0.1


def kernels_of(layer):
    return {choice.kernel for choice in layer._sparse.choices.buckets.values()}


@pytest.fixture
def threads():
    before = torch.get_num_threads()

    def use(count):
        torch.set_num_threads(count)
        engine.runtime.set_num_threads(count)

    yield use
    torch.set_num_threads(before)
    engine.runtime.set_num_threads(0)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_native_results_lie_within_the_proven_bound(native_always, threads, geometry, bias):
    *sides, size = geometry
    torch.manual_seed(1)
    layer = geometry_layer(*sides, bias=bias)
    for batch in range(1, 6):
        threads(1 + batch % 3)
        x = torch.randn(batch, 8, *size)
        with torch.inference_mode():
            assert_within_bound(layer(x), layer, x)
    with torch.inference_mode():
        assert layer(x[0]).equal(layer(x)[0])
    assert kernels_of(layer) <= {"csr", "bitmask"}
    assert not layer._sparse.fallbacks


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_native_results_of_integers_are_exact_and_the_same_for_any_threads(native_always, threads, geometry):
    *sides, size = geometry
    layer = geometry_layer(*sides)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        layer.weight.copy_(torch.randint(-8, 9, layer.weight.shape, generator=generator).float())
        layer.bias.copy_(torch.randint(-8, 9, layer.bias.shape, generator=generator).float())
    x = torch.randint(-8, 9, (3, 8, *size), generator=generator).float()
    for count in (1, 2, 3):
        threads(count)
        with torch.inference_mode():
            y = layer(x)
        assert y.double().equal(exact(layer, x))
    assert "dense" not in kernels_of(layer)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_results_have_the_memory_format_of_torchs(native_always, plain_copy, axes, stride):
    layer = geometry_layer(axes, 3, stride, 1, 0, 1, 2)
    last = torch.channels_last if axes == 2 else torch.channels_last_3d
    x = torch.randn(2, 8, *(4, 5, 6)[:axes]).to(memory_format=last)
    with torch.inference_mode():
        y, plain = layer(x), layer(x.contiguous())
        assert y.is_contiguous(memory_format=last)
        assert plain.is_contiguous()
        assert y.stride() == plain_copy(layer)(x).stride()
        assert_within_bound(y, layer, x)
        assert_within_bound(layer(x.transpose(-1, -2)), layer, x.transpose(-1, -2))
        assert_within_bound(layer(x[:, :, ::2]), layer, x[:, :, ::2])
    assert "dense" not in kernels_of(layer)


def test_strips_of_four_output_channels_are_multiplied_as_such(native_always, plain_copy):
    layer = nn.ConvTranspose2d(16, 32, 4, 2, 1, groups=2)
    engine.prune(layer, engine.Spec(sparsity=0.75, granularity="4x1")).eval()
    assert layer._sparse.fitting == ("csr", "bitmask", "bsr4x1")
    assert engine.prune(nn.ConvTranspose2d(16, 32, 4), engine.Spec(sparsity=0.75))._sparse.fitting == ("csr", "bitmask")
    x = torch.randn(2, 16, 9, 9)
    with torch.inference_mode():
        layer._geometry(x)
        for kernel in layer._sparse.fitting:
            assert_within_bound(layer._multiply(x, kernel, layer.bias, layer._geometry(x), torch.float32), layer, x)
        assert layer(x).shape == (2, 32, 18, 18)
    assert kernels_of(layer) == {"bsr4x1"}
    assert engine.report(layer, x).layers[0].kernel == "bsr4x1"


def test_a_changed_weight_or_geometry_is_never_served_stale(native_always):
    layer = geometry_layer(2, 4, 2, 1, 0, 1, 1)
    x = torch.randn(2, 8, 5, 6)

    def padding():
        layer.padding = (0, 0)

    def stride():
        layer.stride = (3, 1)

    def scale():
        with torch.no_grad():
            layer.weight.mul_(2)

    def write_through_data():
        layer.weight.data.normal_()

    def replace():
        layer.weight = nn.Parameter(torch.randn(8, 12, 4, 4))

    for change in (padding, stride, scale, write_through_data, replace):
        with torch.inference_mode():
            layer(x)
            packed = layer._sparse.packed["weight"]
            layer(x)
            assert layer._sparse.packed["weight"] is packed  # once for each state of the weight
        change()
        with torch.inference_mode():
            y = layer(x)
        assert (layer.weight[~engine.masks(layer)["weight"]] == 0).all()
        assert_within_bound(y, layer, x)
    twin = copy.deepcopy(layer)
    with torch.inference_mode():
        assert twin(x).equal(layer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_values_of_sixteen_bits_are_rounded_once(native_always, dtype, autocast):
    layer = geometry_layer(2, 3, 2, 1, 1, 1, 2)
    x = torch.randn(2, 8, 5, 6)
    if not autocast:
        layer, x = layer.to(dtype), x.to(dtype)
    with torch.inference_mode(), torch.autocast("cpu", dtype=dtype, enabled=autocast):
        y = layer(x)
    assert y.dtype is dtype
    rounded = layer.to(dtype)
    expected, size = exact(rounded, x.to(dtype)), exact(rounded, x.to(dtype), magnitude=True)
    unit = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}[dtype]
    assert bool(((y.double() - expected).abs() <= unit * 1.01 * expected.abs() + 40 * 2.0**-24 * size + 2.0**-24).all())
    assert "dense" not in {choice.kernel for choice in layer._sparse.choices.buckets.values()}


def test_an_output_size_of_its_own_runs_dense_and_says_so(native_always, plain_copy):
    layer = geometry_layer(2, 3, 2, 1, 0, 1, 1)
    x = torch.randn(2, 8, 5, 6)
    with torch.inference_mode():
        assert layer(x, output_size=(9, 11)).equal(layer(x))  # what it makes anyway
        assert not layer._sparse.fallbacks
        y = layer(x, (10, 11))
    assert y.equal(plain_copy(layer)(x, (10, 11)))
    assert layer._sparse.fallbacks == {transposed.OUTPUT_SIZE: 1}
    with pytest.raises(ValueError, match="output size"):
        layer(x, (90, 11))


def test_wrong_inputs_raise_what_torch_raises(native_always, plain_copy):
    layer = geometry_layer(2, 3, 2, 3, 0, 1, 1)
    reference = plain_copy(layer)
    shapes = (2, 7, 5, 6), (8, 5), (1, 2, 8, 5, 6), (2, 8, 2, 1), (2, 8, 0, 5)
    for x in (*map(torch.randn, shapes), torch.randn(2, 8, 5, 6).double()):
        messages = []
        for module in (layer, reference):
            with torch.inference_mode(), pytest.raises((RuntimeError, ValueError)) as caught:
                module(x)
            messages.append(str(caught.value))
        assert messages[0] == messages[1]
    with torch.inference_mode():
        assert layer(torch.randn(0, 8, 5, 6)).shape == reference(torch.randn(0, 8, 5, 6)).shape


def test_decisions_are_read_and_taken_up():
    layer = geometry_layer(2, 2, 2, 0, 0, 1, 1, channels=(64, 64))
    x = torch.randn(1, 64, 14, 14)
    decided = engine.autotune(layer, x)
    assert [entry["size"] for entry in decided[""]] == [[192]]
    twin = copy.deepcopy(layer)
    engine.nn.set_decisions(twin, decided)
    with torch.inference_mode():
        assert twin(x).equal(layer(x))

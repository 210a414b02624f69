import copy
import threading

import pytest

import sparse_engine as engine
from reference import assert_linear_within_bound
from sparse_engine.nn import dispatch as choice

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

INPUTS = {
    "batch 1": lambda: torch.randn(1, 96),
    "batch 70": lambda: torch.randn(70, 96),
    "vector": lambda: torch.randn(96),
    "three leading": lambda: torch.randn(2, 3, 4, 96),
    "transposed": lambda: torch.randn(96, 9).t(),
    "sliced": lambda: torch.randn(9, 200)[:, 3:195:2],
    "expanded": lambda: torch.randn(1, 96).expand(5, 96),
    "empty": lambda: torch.randn(0, 96),
    "empty between": lambda: torch.randn(3, 0, 96),
    "negated view": lambda: torch.imag(torch.randn(4, 96, dtype=torch.complex64).conj()),
}


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_linear_takes_what_torch_takes(native_always, plain_copy, make):
    layer = engine.prune(nn.Linear(96, 50), engine.Spec(sparsity=0.9)).eval()
    x = make()
    with torch.inference_mode():
        y, expected = layer(x), plain_copy(layer)(x)
    assert y.shape == expected.shape
    assert_linear_within_bound(
        y.reshape(-1, 50), x.reshape(-1, 96).resolve_neg(), layer.weight.detach().numpy(), layer.bias.detach().numpy()
    )


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


def test_wrong_inputs_raise_what_torch_raises(native_always, plain_copy):
    linear = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval()
    conv = engine.prune(nn.Conv2d(3, 4, 3), engine.Spec(sparsity=0.5)).eval()
    line = engine.prune(nn.Conv1d(3, 4, 3), engine.Spec(sparsity=0.5)).eval()
    cases = [
        (line, torch.randn(1, 4, 5)),
        (line, torch.randn(1, 3, 2)),
        (line, torch.randn(5)),
        (linear, torch.randn(2, 7)),
        (linear, torch.tensor(1.0)),
        (conv, torch.randn(1, 4, 5, 5)),
        (conv, torch.randn(1, 3, 2, 2)),
    ]
    for layer, x in cases:
        with torch.inference_mode():
            with pytest.raises(RuntimeError) as ours:
                layer(x)
            with pytest.raises(RuntimeError) as theirs:
                plain_copy(layer)(x)
        assert str(ours.value) == str(theirs.value)


def test_a_changed_weight_is_never_served_stale(native_always, plain_copy):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.8)).eval()
    x = torch.randn(5, 64)

    def scale_in_place():
        with torch.no_grad():
            layer.weight.mul_(2)

    def swap_data():
        layer.weight.data = torch.randn(64, 64)

    def write_through_data():
        layer.weight.data.mul_(3)

    def replace():
        layer.weight = nn.Parameter(torch.randn(64, 64))

    def load():
        layer.load_state_dict({"weight": torch.randn(64, 64), "bias": torch.randn(64)})

    for change in (scale_in_place, swap_data, write_through_data, replace, load):
        with torch.inference_mode():
            layer(x)
        change()
        with torch.inference_mode():
            y = layer(x)
        masked = torch.where(engine.masks(layer)["weight"], layer.weight, 0)
        torch.testing.assert_close(y, torch.nn.functional.linear(x, masked, layer.bias), rtol=1e-4, atol=1e-4)


def test_one_decision_a_bucket_costs_a_few_calls(monkeypatch):
    layer = engine.prune(nn.Linear(32, 32), engine.Spec(sparsity=0.5)).eval()
    trials = set()
    measure = choice._measure
    monkeypatch.setattr(choice, "_measure", lambda trial, *given: trials.add(trial) or measure(trial, *given))
    with torch.inference_mode():
        for n in [100, 100, 101, 110, 111, 100] * 5:
            layer(torch.randn(n, 32))
        assert len(trials) == 1
        layer(torch.randn(180, 32))
        assert len(trials) == 1, "a size near one that was measured takes over its decision"
        layer(torch.randn(300, 32))
        assert len(trials) == 2


def test_buckets_are_exact_when_small_and_within_a_quarter_when_large():
    assert [choice.bucket_of(n) for n in range(17)] == list(range(17))
    for n in range(17, 5000, 7):
        assert n / 1.25 <= choice.bucket_of(n) <= n


def test_dense_is_kept_where_it_is_faster_and_said_so():
    model = engine.prune(nn.Linear(16, 16), engine.Spec(sparsity=0.1)).eval()
    engine.autotune(model, torch.randn(2, 16))
    (decided,) = model._sparse.choices.buckets.values()
    dense = decided.seconds["dense"]
    fastest = min((k for k in decided.seconds if k != "dense"), key=decided.seconds.get, default="dense")
    if decided.seconds[fastest] >= choice.MARGIN * dense:
        assert decided.kernel == "dense"
    elif decided.seconds[fastest] < choice.MARGIN_AGAINST_MODEL * dense:
        assert decided.kernel == fastest


FALLBACKS = {
    "float64": (lambda m: m.double(), torch.float64),
    "bfloat16": (lambda m: m.bfloat16(), torch.bfloat16),
}


@pytest.mark.parametrize(("convert", "dtype"), FALLBACKS.values(), ids=FALLBACKS)
def test_other_types_fall_back_with_a_reason(convert, dtype):
    layer = convert(engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval())
    report = engine.report(layer, example_inputs=torch.randn(2, 8, dtype=dtype))
    assert str(dtype) in report.layers[0].reason
    assert report.layers[0].kernel == "dense"


def test_autocast_tracing_and_transforms_fall_back_and_are_right():
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval().requires_grad_(False)
    x = torch.randn(4, 8)
    with torch.inference_mode():
        expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
    exported = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(exported(x), expected)


def test_results_need_no_gradient_and_gradients_still_flow_when_asked(native_always):
    layer = engine.prune(nn.Linear(8, 8), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 8, requires_grad=True)
    with torch.no_grad():
        assert not layer(x).requires_grad
    layer(x).sum().backward()
    assert x.grad is not None


def test_dense_only_switches_native_kernels_off_and_on_again(native_always):
    layer = engine.prune(nn.Linear(64, 64), engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(3, 64)
    with torch.inference_mode():
        with engine.nn.dense_only():
            dense = layer(x)
        torch.testing.assert_close(dense, torch.nn.functional.linear(x, layer.weight, layer.bias), rtol=0, atol=0)
        torch.testing.assert_close(layer(x), dense)
    assert "engine.nn.dense_only() is active" in layer._sparse.fallbacks


def test_a_model_serves_many_threads_at_once(native_always):
    model = engine.prune(nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 50)), engine.Spec(sparsity=0.9)).eval()
    x = torch.randn(40, 300)
    twin = copy.deepcopy(model)
    with torch.inference_mode():
        expected = twin(x)
    wrong = []

    def work():
        with torch.inference_mode():
            for _ in range(20):
                if not torch.equal(model(x), expected):
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_attention_and_recurrent_models_prune_and_run():
    attention = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    engine.prune(attention, engine.Spec(sparsity=0.5)).eval()
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        fused = attention(x)
    attention.requires_grad_(True)
    torch.testing.assert_close(attention(x), fused, rtol=1e-4, atol=1e-5)

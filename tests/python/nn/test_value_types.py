"""Pruned layers of 16-bit floats, and under autocast: values of the type, float32 arithmetic, one rounding."""

import copy

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.nn import dispatch, formats, value_types  # noqa: E402

HALF_UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}  # relative error of a rounding, of 8 and 11 significant bits
SMALLEST = {torch.bfloat16: 2.0**-134, torch.float16: 2.0**-25}  # absolute, among subnormals
TYPES = list(HALF_UNIT)


def assert_rounded_once(y, compute, x, weight, bias):
    """`y` is the exact result of these values rounded once, beside the proven bound of a sum in float32."""
    exact = compute(x.double(), weight.double(), None if bias is None else bias.double())
    sizes = compute(x.double().abs(), weight.double().abs(), None if bias is None else bias.double().abs())
    terms = weight[0].numel() + 2
    sums = terms * 2.0**-24 / (1 - terms * 2.0**-24) * sizes
    allowed = sums + HALF_UNIT[y.dtype] * 1.01 * (exact.abs() + sums) + SMALLEST[y.dtype]
    assert bool(((y.double() - exact).abs() <= allowed).all())


def pruned(layer, sparsity=0.9):
    return engine.prune(layer, engine.Spec(sparsity=sparsity)).eval()


def ran_native(layer):
    return all(decided.native for decided in layer._sparse.choices.exact.values()) and layer._sparse.choices.exact


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 150), (5, 150), (70, 150), (2, 3, 150), (150,)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_rounds_once(native_always, dtype, shape, bias):
    layer = pruned(nn.Linear(150, 61, bias=bias)).to(dtype)
    x = torch.randn(shape).to(dtype)
    with torch.inference_mode():
        y = layer(x)
    assert y.dtype is dtype
    assert y.shape == (*shape[:-1], 61)
    assert_rounded_once(y, F.linear, x, layer.weight.detach(), layer.bias if layer.bias is None else layer.bias.detach())
    assert ran_native(layer)
    assert engine.report(layer, x).layers[0].kernel != "dense"


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("last", [False, True], ids=["nchw", "channels_last"])
@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_convolution_rounds_once_in_the_memory_format_of_its_input(native_always, dtype, last, mode, batch):
    layer = pruned(nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2, padding_mode=mode), 0.7).to(dtype)
    x = torch.randn(batch, 8, 9, 11).to(dtype)
    x = x.to(memory_format=torch.channels_last) if last else x
    with torch.inference_mode():
        y = layer(x)
    padded = F.pad(x, (1, 1, 1, 1), mode=mode) if mode != "zeros" else F.pad(x, (1, 1, 1, 1))

    def compute(x, weight, bias):
        return F.conv2d(x, weight, bias, stride=2, groups=2)

    assert y.dtype is dtype
    assert y.is_contiguous(memory_format=torch.channels_last if last and mode == "zeros" else torch.contiguous_format)
    assert_rounded_once(y, compute, padded, layer.weight.detach(), layer.bias.detach())
    assert ran_native(layer)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_convolution_over_one_axis_and_one_of_a_whole_image_round_once(native_always, dtype):
    line, whole = pruned(nn.Conv1d(6, 8, 3, padding=1), 0.6).to(dtype), pruned(nn.Conv2d(6, 8, 2), 0.6).to(dtype)
    row, image = torch.randn(2, 6, 40).to(dtype), torch.randn(3, 6, 2, 2).to(dtype)
    with torch.inference_mode():
        rows, images = line(row), whole(image)
    assert_rounded_once(rows, lambda *a: F.conv1d(*a, padding=1), row, line.weight.detach(), line.bias.detach())
    assert_rounded_once(images, F.conv2d, image, whole.weight.detach(), whole.bias.detach())
    assert ran_native(line)
    assert ran_native(whole)


class Turned(nn.Module):
    """GPT-2's Conv1D: a linear layer whose weight is (in, out)."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(40, 24)), nn.Parameter(torch.randn(24))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, 40), self.weight).view(*x.shape[:-1], 24)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_forward_of_ones_own_rounds_once(native_always, dtype):
    engine.nn.register(Turned)
    layer = pruned(Turned()).to(dtype)
    x = torch.randn(2, 9, 40).to(dtype)
    with torch.inference_mode():
        layer(x)  # finds out what it multiplies by
        y = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            cast = layer(x)
    weight = layer.weight.detach()
    assert_rounded_once(y, F.linear, x, weight.t().contiguous(), layer.bias.detach())
    assert cast.dtype is torch.bfloat16
    rounded = [t.bfloat16() for t in (x, weight.t().contiguous(), layer.bias.detach())]
    assert_rounded_once(cast, F.linear, *rounded)
    assert ran_native(layer)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True, "batch_first": True}, {"bias": False}])
def test_recurrent_layers_round_once_at_the_end(native_always, dtype, kind, options):
    torch.manual_seed(0)
    layer = pruned(kind(13, 21, **options), 0.8).to(dtype)
    layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    for shape in ((5, 13), (5, 1, 13), (6, 9, 13)):
        x = torch.randn(shape).to(dtype)
        batch = () if x.dim() == 2 else (shape[0 if options.get("batch_first") else 1],)
        state = torch.randn(layers, *batch, 21).to(dtype)
        for given in (None, (state, state * 0.5) if kind is nn.LSTM else state):
            wide = given if given is None else (state.float(), state.float() * 0.5) if kind is nn.LSTM else state.float()
            with torch.inference_mode():
                found = layer(x, given)
                with engine.nn.dense_only():
                    theirs, exact = layer(x, given), copy.deepcopy(layer).float()(x.float(), wide)
            for ours, dense, right in zip(*map(flat, (found, theirs, exact)), strict=True):
                assert ours.dtype is dtype
                assert ours.shape == dense.shape
                allowed = HALF_UNIT[dtype] * 1.01 * right.abs() + 4e-6
                assert bool(((ours.float() - right).abs() <= allowed).all()), "rounded once, at the end"
    assert any(decided.native for decided in layer._sparse.choices.exact.values())


def flat(result):
    y, after = result
    return [y, *(after if isinstance(after, tuple) else [after])]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("own", [True, False], ids=["self", "cross"])
@pytest.mark.parametrize("weights", [True, False])
def test_attention_is_as_near_as_torchs(native_always, dtype, autocast, own, weights):
    torch.manual_seed(0)
    layer = pruned(nn.MultiheadAttention(64, 4, batch_first=True), 0.8)
    layer, x = (layer, torch.randn(3, 9, 64)) if autocast else (layer.to(dtype), torch.randn(3, 9, 64).to(dtype))
    other = x if own else torch.randn(3, 7, 64).to(x.dtype)
    padding = torch.zeros(3, other.shape[1], dtype=torch.bool)
    padding[1, -2:] = True
    mask = torch.rand(9, other.shape[1]) < 0.2
    mask[:, 0] = False

    def call(layer, x, other, mask):
        y, scores = layer(x, other, other, key_padding_mask=padding, attn_mask=mask, need_weights=weights)
        return [y] if scores is None else [y, scores]

    with torch.inference_mode():
        with torch.autocast("cpu", dtype, enabled=autocast):
            found = call(layer, x, other, mask)
            with engine.nn.dense_only():
                theirs = call(layer, x, other, mask)
        rounded = copy.deepcopy(layer).to(dtype).float()
        with engine.nn.dense_only():
            values = x.to(dtype).float()
            exact = call(rounded, values, values if own else other.to(dtype).float(), mask)
    assert found[0].dtype is dtype
    for ours, dense, right in zip(found, theirs, exact, strict=True):
        scale = right.abs().max()
        error, reference = ((y.float() - right).abs().max() / scale for y in (ours, dense))
        assert error <= max(2 * reference, 8 * HALF_UNIT[dtype])
    assert ran_native(layer)
    assert ran_native(layer.out_proj)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16], ids=str)
def test_autocast_rounds_values_first_and_the_result_once_as_torch_does(native_always, dtype, given, own):
    layer = pruned(nn.Linear(150, 64)).to(own)
    x = torch.randn(6, 150).to(given)
    with torch.inference_mode(), torch.autocast("cpu", dtype):
        y = layer(x)
        with engine.nn.dense_only():
            assert layer(x).dtype is dtype
    assert y.dtype is dtype
    assert_rounded_once(y, F.linear, *(t.detach().to(dtype) for t in (x, layer.weight, layer.bias)))
    assert ran_native(layer)


def test_float32_and_autocast_decide_and_pack_apart(native_always):
    layer = pruned(nn.Linear(150, 64))
    x = torch.randn(20, 150)
    with torch.inference_mode():
        plain = layer(x)
        with torch.autocast("cpu", torch.bfloat16):
            layer(x)
        assert torch.equal(layer(x), plain)
    assert {type_ for *_, type_ in layer._sparse.choices.buckets} == {"float32", "bfloat16"}
    kept = [packed.matrix("csr").value_type.name for packed in layer._sparse.packed.values()]
    assert sorted(kept) == ["bfloat16", "float32"]
    found = engine.nn.decisions(layer)[""]
    assert sorted(entry["dtype"] for entry in found) == ["bfloat16", "float32"]
    again = copy.deepcopy(layer)
    for entry in found:
        if entry["dtype"] == "float32":
            del entry["dtype"]  # written before there was any other
    engine.nn.set_decisions(again, {"": found})
    assert again._sparse.choices.buckets == layer._sparse.choices.buckets


@pytest.mark.parametrize("kernel", list(formats.FORMATS))
def test_every_format_rounds_once(monkeypatch, rng, kernel):
    kept = rng.permuted([[True, True, False, False]] * 16 * 12, axis=1).reshape(16, 48).repeat(4, axis=0)
    layer = pruned(nn.Linear(48, 64)).bfloat16()
    engine.set_masks(layer, {"weight": torch.from_numpy(kept)})
    decided = dispatch.Choice(kernel, {"dense": 1.0, kernel: 1.0})
    monkeypatch.setattr(dispatch, "_measure", lambda *_: (decided, kernel, None))
    for columns in (1, 5, 70):
        x = torch.randn(columns, 48).bfloat16()
        with torch.inference_mode():
            y = layer(x)
        assert_rounded_once(y, F.linear, x, layer.weight.detach(), layer.bias.detach())


def test_a_changed_weight_is_packed_anew(native_always):
    layer, x = pruned(nn.Linear(64, 64)).bfloat16(), torch.randn(5, 64).bfloat16()
    with torch.inference_mode():
        before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.mul_(2)
    with torch.inference_mode():
        assert torch.equal(layer(x), before * 2)
    layer.float()
    with torch.inference_mode():
        assert layer(x.float()).dtype is torch.float32


def test_infinities_that_a_type_makes_of_weights_are_those_of_torch(native_always):
    layer = pruned(nn.Linear(8, 8, bias=False), 0.5)
    with torch.no_grad():
        layer.weight.mul_(1e6)
    x = torch.ones(4, 8)
    with torch.inference_mode(), torch.autocast("cpu", torch.float16):
        y = layer(x)
        with engine.nn.dense_only():
            assert torch.equal(torch.isfinite(y), torch.isfinite(layer(x)))
    assert not torch.isfinite(y).all()


def test_types_that_do_not_go_together_are_torchs_to_refuse(native_always, plain_copy):
    for layer, x in (
        (pruned(nn.Linear(8, 8)).bfloat16(), torch.randn(2, 8)),
        (pruned(nn.Linear(8, 8)), torch.randn(2, 8).bfloat16()),
        (pruned(nn.Linear(8, 8)).half(), torch.randn(2, 8).bfloat16()),
    ):
        with torch.inference_mode():
            with pytest.raises(RuntimeError) as ours:
                layer(x)
            with pytest.raises(RuntimeError) as theirs:
                plain_copy(layer)(x)
        assert str(ours.value) == str(theirs.value)
        assert any("beside a weight of" in reason for reason in layer._sparse.fallbacks)


def test_training_stays_torchs():
    layer = pruned(nn.Linear(64, 64)).bfloat16().train()
    x = torch.randn(5, 64).bfloat16()
    layer(x).sum().backward()
    assert layer.weight.grad.dtype is torch.bfloat16
    assert not layer._sparse.packed


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_an_exported_program_is_native(native_always, dtype):
    model = nn.Sequential(pruned(nn.Linear(64, 64)), nn.Flatten()).to(dtype)
    x = torch.randn(5, 64).to(dtype)
    program = torch.export.export(model, (x,))
    assert any("sparse_engine" in str(node.target) for node in program.graph.nodes)
    module = program.module()
    with torch.inference_mode():
        for _ in range(3):
            y = module(x)
    assert_rounded_once(y, F.linear, x, model[0].weight.detach(), model[0].bias.detach())


def test_torch_compile_keeps_layers_native(native_always):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.line = nn.Linear(64, 64), nn.Conv1d(4, 4, 3, padding=1)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, x):
            y = self.line(torch.relu(self.linear(x)).view(-1, 4, 16))
            return self.attention(y, y, y)[0]

    graphs = []
    model = pruned(Model()).bfloat16()
    compiled = torch.compile(model, backend=lambda graph, _: graphs.append(graph) or graph)
    x = torch.randn(5, 64).bfloat16()
    with torch.inference_mode():
        for _ in range(2):
            assert torch.equal(compiled(x), model(x))
        names = [str(node.target) for node in graphs[0].graph.nodes if "sparse_engine" in str(node.target)]
        assert len(names) == 4
        with torch.autocast("cpu", torch.bfloat16):
            assert compiled(x).dtype is torch.bfloat16


def test_float16_is_kept_where_an_instruction_widens_it(every_isa, native_always):
    for dtype in TYPES:
        layer, x = pruned(nn.Linear(64, 64)).to(dtype), torch.randn(1, 64).to(dtype)
        with torch.inference_mode():
            y = layer(x)
        assert_rounded_once(y, F.linear, x, layer.weight.detach(), layer.bias.detach())
        (packed,) = layer._sparse.packed.values()
        kept = "float32" if dtype is torch.float16 and every_isa == "baseline" else str(dtype).removeprefix("torch.")
        assert packed.matrix("csr").value_type.name == kept


def test_dense_16_bit_products_cost_what_the_processor_makes_of_them(monkeypatch):
    assert value_types.dense_cost(torch.float32, 100) == value_types.dense_cost(torch.bfloat16, 1) == 1.0
    for fast, expected in ((True, 0.4), (False, 1.0)):
        value_types._wide_cost.cache_clear()
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False, raising=False)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda fast=fast: fast, raising=False)
        assert value_types.dense_cost(torch.bfloat16, 100) == expected
    value_types._wide_cost.cache_clear()
    # What is dear beside float32 is not beside a fast 16-bit product.
    monkeypatch.setattr(value_types, "_wide_cost", lambda _: 0.2)
    assert formats.modelled(["csr"], 0.4, 100, torch.float32) == "csr"
    assert formats.modelled(["csr"], 0.4, 100, torch.bfloat16) == "dense"
    assert formats.candidates(("csr",), 0.9, 100, torch.bfloat16) == []

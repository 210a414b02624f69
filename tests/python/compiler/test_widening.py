"""Models of 16-bit floats: computed in float32 on their own weights, given and giving what they were given and gave."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

import sparse_engine as engine
from sparse_engine.compiler.widening import widened
from sparse_engine.measure.model_calls import Arguments

TYPES = [torch.bfloat16, torch.float16]
UNIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.lstm, self.head = nn.Embedding(50, 24), nn.LSTM(24, 32, batch_first=True), nn.Linear(32, 7)

    def forward(self, ids):
        return self.head(self.lstm(self.table(ids))[0]).float(), ids.to(self.head.weight.dtype) * 0.5


def network(name):
    torch.manual_seed(0)
    if name == "mlp":
        return nn.Sequential(nn.Linear(40, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, 9)), torch.randn(5, 40)
    if name == "convolutions":
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.Flatten()
        )
        nn.init.uniform_(model[1].running_var, 0.5, 2)
        return model, torch.randn(5, 3, 10, 10)
    return Recurrent(), torch.randint(0, 50, (5, 6))


def results(value):
    return value if isinstance(value, tuple) else (value,)


def given(x, dtype):
    return x.to(dtype) if x.is_floating_point() else x


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("name", ["mlp", "convolutions", "recurrent"])
def test_a_model_computes_what_its_copy_in_float32_does_rounded_once(name, sparsity, dtype):
    model, x = network(name)
    if sparsity:
        engine.prune(model, engine.Spec(sparsity=sparsity, exclude=["table"]))
    model, x = model.to(dtype).eval(), given(x, dtype)
    compiled = engine.compile(model, x[:2])
    assert compiled.about["error"] < 1e-5
    assert compiled.inputs[0].dtype == str(x.dtype).removeprefix("torch.")
    wide = copy.deepcopy(model).float()
    for threads in (1, 2, 3):
        session = compiled.with_threads(threads)
        session._session.fill_arena(True)
        for batch in (1, 2, 3, 4, 5):
            with torch.inference_mode():
                own, exact = results(model(x[:batch])), results(wide(given(x[:batch], torch.float32)))
            for found, theirs, right in zip(results(session(x[:batch])), own, exact, strict=True):
                assert found.dtype is theirs.dtype, "the type that the model gives"
                scale = right.abs().max()
                allowed = 1e-5 * scale + (0 if found.dtype is torch.float32 else UNIT[dtype]) * right.abs()
                assert bool(((found.float() - right).abs() <= allowed).all())
                assert (theirs.float() - right).abs().max() <= 50 * UNIT[dtype] * scale, "the reference is the right one"


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_file_holds_sixteen_bits_and_gives_the_same(tmp_path, dtype):
    model = engine.prune(nn.Sequential(nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 100)), engine.Spec(sparsity=0.5)).eval()
    wide = engine.compile(model, torch.randn(2, 300))
    compiled = engine.compile(model.to(dtype), torch.randn(2, 300).to(dtype))
    for name, kept in (("wide", wide), ("narrow", compiled)):
        kept.save(tmp_path / name)
    weights = 300 * 200 + 200 * 100
    saved = (tmp_path / "wide").stat().st_size - (tmp_path / "narrow").stat().st_size
    assert abs(saved - weights // 2 * 2) < 0.02 * weights, "two bytes less for each weight that stays"
    x = torch.randn(3, 300).to(dtype)
    again = engine.load_compiled(tmp_path / "narrow")
    assert torch.equal(again(x), compiled(x))
    assert again(x).dtype is dtype
    assert [port.dtype for port in (*again.inputs, *again.outputs)] == [str(dtype).removeprefix("torch.")] * 2
    assert again.about["rounding"] > 0
    assert "16-bit arithmetic is off by" in str(again)
    with torch.inference_mode():
        assert isinstance(again.profile(x, rounds=1).nodes, tuple)


def test_numpy_has_no_bfloat16_and_takes_and_gives_float32():
    model, x = nn.Linear(8, 5).bfloat16().eval(), torch.randn(3, 8).bfloat16()
    compiled = engine.compile(model, x)
    found = compiled(x.float().numpy())
    assert found.dtype == np.float32
    assert torch.equal(torch.from_numpy(found).bfloat16(), compiled(x)), "not rounded yet"
    with pytest.raises(ValueError, match=r"input is float64; the model was compiled for float32"):
        compiled(x.double().numpy())


def test_float16_arrays_come_and_go_and_overflow_as_in_torch():
    model = nn.Linear(8, 5, bias=False).half().eval()
    with torch.no_grad():
        model.weight.fill_(6e4)
    x = torch.ones(3, 8).half()
    compiled = engine.compile(model, torch.zeros(2, 8).half())
    found = compiled(x.numpy())
    assert found.dtype == np.float16
    assert np.isposinf(found).all()
    assert torch.isposinf(compiled(x)).all()
    assert np.array_equal(compiled(x.float().numpy()), found)
    with pytest.raises(ValueError, match=r"input is float64; the model was compiled for float32"):
        compiled(x.double().numpy())


def test_tensors_of_another_type_are_refused_with_the_way_out():
    compiled = engine.compile(nn.Linear(8, 5).bfloat16().eval(), torch.randn(2, 8).bfloat16())
    for x in (torch.randn(2, 8), torch.randn(2, 8).half(), torch.ones(2, 8, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"input is torch\.\w+; .* for bfloat16: pass input\.to\(torch\.bfloat16\)"):
            compiled(x)
    with pytest.raises(TypeError, match="takes numpy arrays and torch tensors"):
        compiled([1.0])


def test_only_what_is_sixteen_bits_is_widened_and_nothing_given_is_changed():
    plain = nn.Linear(4, 4).eval()
    assert widened(plain, Arguments((torch.ones(2, 4),), {})) is None
    mixed = nn.Sequential(nn.Linear(4, 4), nn.Embedding(9, 4)).bfloat16().eval()
    engine.prune(mixed[0], engine.Spec(sparsity=0.5))
    before = {name: tensor.clone() for name, tensor in mixed.state_dict().items()}
    x = torch.randn(2, 4).bfloat16()
    found = widened(mixed[0], Arguments((x,), {}))
    assert found.inputs == found.outputs == ("bfloat16",)
    assert found.arguments.args[0].dtype is torch.float32
    assert {tensor.dtype for tensor in found.model.parameters()} == {torch.float32}
    assert 0 < found.rounding < 0.02
    for name, tensor in mixed.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert engine.masks(mixed)


def test_what_is_not_covered_is_named_and_segments_in_torch_ask_for_float32():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, x):
            return torch.linalg.vector_norm(torch.cumprod(self.linear(x), 1), dim=1, ord=3.0)

    model, x = Odd().bfloat16().eval(), torch.randn(2, 8).bfloat16()
    with pytest.raises(engine.UnsupportedModel):
        engine.compile(model, x)
    with pytest.raises(ValueError, match=r"compile model\.float\(\), whose weights are the same"):
        engine.compile(model, x, fallback="torch")
    for other in (torch.float64, torch.float8_e4m3fn):
        with pytest.raises(ValueError, match=r"is torch\.float.*compile a float32 copy: model\.float\(\)"):
            engine.compile(nn.Linear(4, 4).to(other).eval(), torch.randn(2, 4))


def test_a_conversion_that_the_model_itself_asks_for_is_refused_by_name():
    class Rounds(nn.Module):
        def forward(self, x):
            return x.to(torch.bfloat16).float() + 1

    with pytest.raises(engine.UnsupportedModel, match=r"from torch\.float32 to torch\.bfloat16"):
        engine.compile(Rounds().eval(), torch.randn(2, 4))

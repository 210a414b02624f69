"""What each layer is given once the layers before it are changed, with every module run about once a batch."""

import copy
from collections import Counter

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from sparse_engine.measure.model_calls import Arguments  # noqa: E402
from sparse_engine.pruning import layer_inputs  # noqa: E402
from sparse_engine.pruning.layer_inputs import Irregular, walk  # noqa: E402


def calls(*inputs):
    return [Arguments((x,), {}) for x in inputs]


def forwards(model):
    return [vars(module).get("forward") for module in model.modules()]


def test_every_layer_is_given_what_the_changed_ones_before_it_make():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    batches = torch.randn(2, 4), torch.randn(3, 4)
    given = []

    def solve(layer, inputs):
        given.append((layer, [call.args[0].clone() for call in inputs]))
        with torch.no_grad():
            layer.weight.mul_(2)

    before = forwards(model)
    with torch.no_grad():
        assert walk(model, calls(*batches), [model[2][1], model[0], model[2][0]], solve) == []
        assert [layer for layer, _ in given] == [model[0], model[2][0], model[2][1]], "in the order of calls"
        for i, x in enumerate(batches):
            assert torch.equal(given[0][1][i], x)
            assert torch.equal(given[1][1][i], model[0](x).relu())
            assert torch.equal(given[2][1][i], model[2][0](model[0](x).relu()))
    assert forwards(model) == before


def test_layers_that_are_not_reached_are_returned():
    class Partly(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.used(x)

    model, solved = Partly(), []
    left = walk(model, calls(torch.randn(2, 4)), [model.unused, model.used], lambda layer, _: solved.append(layer))
    assert left == [model.unused]
    assert solved == [model.used]


def test_arguments_by_name_and_several_outputs_go_through():
    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x, *, scale):
            return {"y": self.layer(x) * scale, "parts": (x, [scale], None, "text")}

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = Inner(), nn.Linear(4, 2)

        def forward(self, x, scale):
            found = self.inner(x, scale=scale)
            assert found["parts"][2:] == (None, "text")
            return self.last(found["y"] + found["parts"][1][0])

    model, x, given = Outer(), torch.randn(3, 4), {}
    with torch.no_grad():
        walk(
            model, [Arguments((x,), {"scale": torch.tensor(3.0)})], [model.inner.layer, model.last],
            lambda layer, inputs: given.update({layer: inputs[0].args[0]}),
        )  # fmt: skip
        torch.testing.assert_close(given[model.last], model.inner.layer(x) * 3 + 3)


class Routed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = self.first(x)
        return self.one(y) if x.sum() > 0 else self.other(y)


class Around(nn.Module):
    """Holds a layer and multiplies by its weight without calling it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return F.linear(x, self.layer.weight)


def test_batches_that_take_different_ways_are_irregular_and_what_was_solved_is_solved():
    model, solved, x = Routed(), [], torch.ones(1, 4)
    before = forwards(model)
    with pytest.raises(Irregular, match="different ways"):
        walk(model, calls(x, -x), [model.first, model.one, model.other], lambda layer, _: solved.append(layer))
    assert solved == [model.first]
    assert forwards(model) == before


def test_a_module_that_does_not_call_its_layer_is_irregular():
    model = nn.Sequential(Around(), nn.Linear(4, 4))
    with pytest.raises(Irregular, match="Around does not call its layers"):
        walk(model, calls(torch.ones(1, 4)), [model[0].layer, model[1]], lambda *_: None)


def test_inputs_that_take_too_much_memory_are_irregular(monkeypatch):
    monkeypatch.setattr(layer_inputs, "REMEMBERED", 63)
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    with pytest.raises(Irregular, match="memory"):
        walk(model, calls(torch.ones(4, 4)), list(model), lambda *_: None)


def test_outputs_beyond_the_limit_are_computed_again_and_the_results_are_the_same(monkeypatch):
    monkeypatch.setattr(layer_inputs, "REMEMBERED", 64)  # room for the inputs of a batch, not for outputs as well
    torch.manual_seed(0)
    model, x, given, runs = nn.Sequential(*(nn.Linear(4, 4) for _ in range(4))), torch.randn(4, 4), {}, Counter()
    model[1].forward = lambda y, plain=model[1].forward: (runs.update([1]), plain(y))[1]
    with torch.no_grad():
        walk(model, calls(x), [model[2], model[3]], lambda layer, inputs: given.update({layer: inputs[0].args[0]}))
        assert runs[1] == 3, "once in each of three passes"
        assert torch.equal(given[model[3]], model[2](model[1](model[0](x))))


def test_what_writes_into_its_input_runs_again_each_pass():
    class Raises(nn.Module):
        def __init__(self):
            super().__init__()
            self.amount = nn.Parameter(torch.ones(()))

        def forward(self, x):
            x += self.amount
            return x.sum()

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.raises, self.one, self.other = Raises(), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            x = x.clone()
            self.raises(x)
            return self.other(self.one(x) + x)

    model, given = Outer(), {}
    with torch.no_grad():
        walk(
            model,
            calls(torch.zeros(2, 4)),
            [model.one, model.other],
            lambda one, inputs: given.update({one: inputs[0].args[0]}),
        )
        assert torch.equal(given[model.one], torch.ones(2, 4))
        torch.testing.assert_close(given[model.other], model.one(torch.ones(2, 4)) + 1)


def test_what_hands_its_input_on_hands_on_the_very_tensor_each_pass():
    class Passes(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return x.view(4, 2)

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.passes, self.one, self.other = Passes(), nn.Linear(4, 4), nn.Linear(2, 4)

        def forward(self, x):
            x = x.clone()
            y = self.passes(x)
            x += 1
            self.one(x)
            return self.other(y)

    model, given = Outer(), {}
    with torch.no_grad():
        walk(model, calls(torch.zeros(2, 4)), [model.one, model.other], lambda one, now: given.update({one: now[0].args[0]}))
    assert torch.equal(given[model.other], torch.ones(4, 2))


def test_a_call_that_fails_leaves_the_models_forwards_as_they_were():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(3, 3))
    before = forwards(model)
    with pytest.raises(RuntimeError):
        walk(model, calls(torch.ones(1, 4)), list(model), lambda *_: None)
    assert forwards(model) == before


class Block(nn.Module):
    """As in transformers: queries, keys and values of one input, sums between modules, one of them in place."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.up, self.down = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x, cache=None):
        y = self.norm(x)
        y = self.out(F.scaled_dot_product_attention(self.query(y), self.key(y), self.value(y)))
        if cache is not None:
            cache.append(y)
        y += x
        return y + self.down(F.relu(self.up(y)))


class Stack(nn.Module):
    def __init__(self, width=16, depth=3, caches=False):
        super().__init__()
        self.blocks, self.head, self.caches = nn.ModuleList(Block(width) for _ in range(depth)), nn.Linear(width, 4), caches

    def forward(self, x):
        cache = [] if self.caches else None
        for block in self.blocks:
            x = block(x, cache=cache)
        return self.head(x)


class InPlace(nn.Sequential):
    """As in residual networks: activations and sums write into what they are given."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
        )

    def forward(self, x):
        y = self[2](self[1](self[0](x)))
        z = self[4](self[3](y))
        z += y
        return self[2](z)


def layer_by_layer(model, spec, data):
    """The same by passes from the start for every layer."""
    from sparse_engine.pruning import layer_inputs
    from sparse_engine.pruning import sparsegpt as obs

    def refuse(*_):
        raise layer_inputs.Irregular

    walk, obs.walk = obs.walk, refuse
    try:
        return engine.prune(model, spec, data=data)
    finally:
        obs.walk = walk


@pytest.mark.parametrize(
    "make", [Stack, lambda: Stack(caches=True), InPlace, lambda: nn.Sequential(InPlace(), nn.Conv2d(8, 4, 1))]
)
@pytest.mark.parametrize("scope", ["layer", "row"])
def test_what_layers_are_given_is_what_passes_from_the_start_would_show(make, scope):
    torch.manual_seed(0)
    first = make()
    second = copy.deepcopy(first)
    size = (2, 5, 16) if isinstance(first, Stack) else (2, 3, 6, 6)
    data = [torch.randn(size) for _ in range(3)]
    spec = engine.Spec(sparsity=0.5, criterion="obs", scope=scope)
    engine.prune(first, spec, data=data)
    layer_by_layer(second, spec, data)
    for name, mask in engine.masks(first).items():
        assert torch.equal(mask, engine.masks(second)[name]), name
        torch.testing.assert_close(first.get_parameter(name), second.get_parameter(name), rtol=1e-4, atol=1e-5)
        if scope == "row":
            assert mask.flatten(1).sum(1).max() - mask.flatten(1).sum(1).min() <= 1
    assert all("forward" not in module.__dict__ for module in first.modules())


def test_every_module_runs_about_once_for_each_batch():
    torch.manual_seed(0)
    model, calls = Stack(depth=4), Counter()
    for name, module in model.named_modules():
        if name.endswith(("query", "up")):
            plain = type(module).forward
            module.forward = lambda x, m=module, f=plain, n=name: (calls.update([n]), F.linear(x, m.weight, m.bias))[1]
    engine.prune(model, engine.Spec(sparsity=0.5, criterion="obs"), data=[torch.randn(2, 5, 16) for _ in range(4)])
    assert max(calls.values()) <= 2 * 4 + 1


def test_layers_that_only_some_batches_reach_are_solved_with_those():
    class Routed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x):
            y = self.one(self.first(x))
            return self.other(y) if x.sum() > 0 else y

    torch.manual_seed(0)
    x = torch.randn(4, 8).abs()
    model = engine.prune(Routed(), engine.Spec(sparsity=0.5, criterion="obs"), data=[x, -x, x])
    assert all(mask.sum() == 32 for mask in engine.masks(model).values())
    assert len(engine.masks(model)) == 3


def test_a_layer_called_several_times_is_solved_once():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.last = nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(self.layer(self.layer(x).relu()))

    model = engine.prune(Shared(), engine.Spec(sparsity=0.5, criterion="obs"), data=[torch.randn(9, 8)])
    assert model.layer.mask.kept == 32

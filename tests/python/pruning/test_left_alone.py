"""What is not pruned unless it is named, why, and the one warning that says so."""

import copy
import warnings

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.left_alone import LeftAlone, is_adapter, is_named  # noqa: E402


def half(model, **options):
    return engine.prune(model, engine.Spec(**{"sparsity": 0.5, **options}))


def test_names_are_told_by_reason_three_of_each_and_each_once():
    left = LeftAlone()
    assert not left
    for name in ("a", "b", "a", "c", "d", "e"):
        left.add("frozen", name)
    left.add("embedding", "")
    assert left
    assert str(left) == "a, b, c and 2 more: frozen; (the model itself): embedding"


def test_a_warning_is_given_at_the_callers_line_and_none_for_nothing():
    left = LeftAlone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left.warn()
    left.add("frozen", "a")
    with pytest.warns(UserWarning, match=r"left alone: a: frozen\. Name them in include= .* or in exclude=") as seen:
        left.warn()
    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, False),
        ({"include": ["*"]}, False),
        ({"include": ["enc*"]}, True),
        ({"include": ["*", "encoder"]}, True),
        ({"include": ["decoder"]}, False),
        ({"sparsity": {"encoder": 0.5}}, True),
        ({"sparsity": {"*": 0.5}}, False),
    ],
)
def test_only_a_pattern_that_says_more_than_everything_names_a_weight(options, expected):
    spec = engine.Spec(**{"sparsity": 0.5, **options})
    assert is_named(spec, ["encoder", "encoder.weight"]) is expected


@pytest.mark.parametrize(
    "name",
    [
        "q_proj.lora_A.default", "block.lora_embedding_B", "layer.dora_magnitude", "layer.vera_lambda_b", "fc.hada_w1_a",
        "fc.lokr_w2", "fc.oft_r", "fc.boft_R", "mlp.ia3_l", "encoder.adapters.one", "adapter_down", "x.up_adapter.0",
    ],
)  # fmt: skip
def test_what_adapter_packages_add_is_known_by_name(name):
    assert is_adapter(name)


@pytest.mark.parametrize("name", ["flora_net", "adapter", "lora", "explore_fc", "downsample", "my_lora_A", ""])
def test_other_names_are_no_adapters(name):
    assert not is_adapter(name)


def test_with_adapters_freezing_says_nothing_of_single_layers():
    model = nn.ModuleDict({"base": nn.Linear(8, 8), "other": nn.Linear(8, 8), "lora_A": nn.Linear(8, 2)})
    model["base"].requires_grad_(False)
    with pytest.warns(UserWarning, match="left alone: lora_A: adapter"):
        half(model)
    assert sorted(engine.masks(model)) == ["base.weight", "other.weight"]


def test_a_frozen_layer_is_left_alone_while_others_train():
    fixed = nn.Conv2d(4, 1, 1, bias=False).requires_grad_(False)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), fixed)
    before = fixed.weight.clone()
    with pytest.warns(UserWarning, match=r"1: frozen \(requires_grad=False\)"):
        half(model)
    assert torch.equal(fixed.weight, before)
    assert list(engine.masks(model)) == ["0.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        half(copy.deepcopy(model), include=["0", "1"])
        half(copy.deepcopy(model), exclude=["1"])
        assert len(engine.masks(half(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)).requires_grad_(False)))) == 2


class Language(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 20, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.body(self.embed(tokens)))


def test_a_head_tied_to_the_embedding_is_left_alone_unless_it_is_named():
    with pytest.warns(UserWarning, match=r"embed: embedding.*head: weight shared with an embedding") as seen:
        model = half(Language(tied=True))
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert list(engine.masks(model)) == ["body.weight"]
    with pytest.warns(UserWarning, match="left alone: embed"):
        assert sorted(engine.masks(half(Language(tied=False)))) == ["body.weight", "head.weight"]
    model = half(Language(tied=True), include=["body", "head"])
    assert (model.embed.weight == 0).sum() == 80
    model = half(Language(tied=False), include=["embed"])
    assert (model.embed.weight == 0).sum() == 80
    assert model(torch.tensor([1, 2])).shape == (2, 20)


def test_adapters_are_left_alone_and_what_they_adapt_is_pruned():
    class Adapted(nn.Module):
        def __init__(self):
            super().__init__()
            self.base_layer = nn.Linear(8, 8).requires_grad_(False)
            self.lora_A = nn.ModuleDict({"default": nn.Linear(8, 2, bias=False)})
            self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 8, bias=False)})

    model = nn.ModuleDict({"q_proj": Adapted()})
    with pytest.warns(UserWarning, match=r"q_proj\.lora_A\.default, q_proj\.lora_B\.default: adapter"):
        half(model)
    assert list(engine.masks(model)) == ["q_proj.base_layer.weight"]
    named = half(copy.deepcopy(model), include="*lora_A*")
    assert "q_proj.lora_A.default.weight" in engine.masks(named)


def test_large_parameters_of_no_layer_are_told_of_and_small_ones_are_not():
    class Vision(nn.Module):
        def __init__(self, places):
            super().__init__()
            self.places, self.body = nn.Parameter(torch.randn(1, places, 8)), nn.Linear(8, 256)

    half(Vision(2))
    with pytest.warns(UserWarning, match="places: parameter of no layer"):
        half(Vision(50))


def test_one_warning_groups_names_by_reason_and_stays_short():
    frozen = [nn.Linear(4, 4).requires_grad_(False) for _ in range(20)]
    model = nn.Sequential(nn.Linear(4, 4), *frozen, nn.Bilinear(4, 4, 4), nn.Embedding(4, 4))
    with pytest.warns(
        UserWarning, match=r"left alone: 1, 2, 3 and 17 more: frozen .*; 21: bilinear layer.*; 22: embed"
    ) as seen:
        half(model)
    assert len(seen) == 1
    assert len(str(seen[0].message)) < 400


def test_a_gradual_schedule_warns_as_pruning_once_does():
    model = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        pruner = engine.Pruner(model, engine.Spec(nonzeros=4), engine.schedules.Linear(0, 4))
        for _ in range(6):
            pruner.step()
    assert len(seen) == 1


def mobile(channels=64):
    """A first convolution, a depthwise one and an image's channels again, all of few weights beside the pointwise one."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3),
        nn.Conv2d(channels, channels, 3, groups=channels),
        nn.Conv2d(channels, 32 * channels, 1),
        nn.ConvTranspose2d(32 * channels, 2 * channels, 1),
    )


def pruned_layers(model):
    return [name for name, mask in engine.masks(model).items() if not mask.all()]


def test_depthwise_and_first_convolutions_of_few_weights_are_left_alone():
    with pytest.warns(UserWarning, match=r"left alone: 0: convolution of an image's channels.*1: depthwise convolution"):
        model = half(mobile())
    assert pruned_layers(model) == ["2.weight", "3.weight"]


@pytest.mark.parametrize(("options", "expected"), [({"include": ["*", "[01]"]}, 4), ({"exclude": ["0", "1"]}, 2)])
def test_they_are_pruned_when_named_and_not_mentioned_when_excluded(options, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = half(mobile(), **options)
    assert len(pruned_layers(model)) == expected


def test_a_small_network_is_pruned_whole():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = half(nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1)))
    assert len(pruned_layers(model)) == 3

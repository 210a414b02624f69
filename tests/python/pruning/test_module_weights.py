"""Which weights a module holds, and under which names they are ranked."""

import pytest

import sparse_engine as engine

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from sparse_engine.pruning.module_weights import BARE, BILINEAR, EMBEDDING, UNKNOWN, weights_of  # noqa: E402


def own(forward=None, **parameters):
    """A module of a class of its own."""
    module = type("Own", (nn.Module,), {} if forward is None else {"forward": forward})()
    for name, value in parameters.items():
        setattr(module, name, nn.Parameter(torch.randn(value)) if isinstance(value, tuple) else value)
    return module


def gates(parameter, letters):
    return [f"at.{parameter}.{letter}" for letter in letters]


# A module and the names of its weights; a doubt follows a name.
CASES = {
    "linear": (lambda: nn.Linear(4, 3), ["at"]),
    "convolution": (lambda: nn.ConvTranspose2d(2, 4, 3), ["at"]),
    "norms": (lambda: nn.LayerNorm((4, 4)), []),
    "batch norm": (lambda: nn.BatchNorm2d(4), []),
    "PReLU": (lambda: nn.PReLU(4), []),
    "LSTM": (lambda: nn.LSTM(4, 3), gates("weight_ih_l0", "ifgo") + gates("weight_hh_l0", "ifgo")),
    "GRU cell": (lambda: nn.GRUCell(4, 3), gates("weight_ih", "rzn") + gates("weight_hh", "rzn")),
    "RNN has no gates": (lambda: nn.RNN(4, 3), ["at.weight_ih_l0", "at.weight_hh_l0"]),
    "projections": (
        lambda: nn.LSTM(4, 3, proj_size=2),
        [*gates("weight_ih_l0", "ifgo"), *gates("weight_hh_l0", "ifgo"), "at.weight_hr_l0"],
    ),
    "attention": (lambda: nn.MultiheadAttention(4, 2), gates("in_proj_weight", "qkv")),
    "attention of other widths": (
        lambda: nn.MultiheadAttention(4, 2, kdim=3),
        ["at.q_proj_weight", "at.k_proj_weight", "at.v_proj_weight"],
    ),
    "embedding": (lambda: nn.Embedding(5, 4), ["at", EMBEDDING]),
    "bag": (lambda: nn.EmbeddingBag(5, 4), ["at", EMBEDDING]),
    "bilinear": (lambda: nn.Bilinear(4, 4, 4), ["at", BILINEAR]),
    "own, multiplies": (lambda: own(lambda self, x: x @ self.weight, weight=(4, 3)), ["at"]),
    "own, does not": (lambda: own(lambda self, x: x @ self.weight.exp(), weight=(4, 3)), ["at", UNKNOWN]),
    "bare": (lambda: own(places=(1, 7, 4), more=(3, 3)), ["at.places", BARE, "at.more", BARE]),
    "vectors, biases and nothing": (lambda: own(scale=(4,), row=(1, 4), in_bias=(3, 3), none=None), []),
    "experts by number": (lambda: own(num_experts=2, up=(2, 4, 3), down=(3, 4, 3)), ["at.up.0", "at.up.1", "at.down", BARE]),
    "container": (lambda: nn.Sequential(nn.Linear(4, 4)), []),
}


@pytest.mark.parametrize("name", CASES)
def test_the_weights_of_a_module_and_their_names(name):
    make, expected = CASES[name]
    found = [word for weight in weights_of("at", make()) for word in (weight.name, weight.doubt) if word]
    assert found == expected


def test_experts_are_known_by_the_name_of_their_module_too():
    names = [weight.name for weight in weights_of("block.experts", own(up=(2, 4, 3)))]
    assert names == ["block.experts.up.0", "block.experts.up.1"]


def test_at_the_top_of_a_model_names_begin_with_the_parameter():
    assert [weight.name for weight in weights_of("", nn.GRU(2, 2))][:2] == ["weight_ih_l0.r", "weight_ih_l0.z"]


def test_each_weight_says_where_it_lies_and_what_of_it_is_ranked():
    rnn = nn.LSTM(4, 3)
    forget = list(weights_of("", rnn))[1]
    assert (forget.module, forget.parameter) == (rnn, "weight_ih_l0")
    assert forget.tensor is rnn.weight_ih_l0
    assert torch.equal(forget.layer.weight, rnn.weight_ih_l0[3:6])
    attention = nn.MultiheadAttention(4, 2)
    keys = list(weights_of("", attention))[1]
    assert torch.equal(keys.layer.weight, attention.in_proj_weight[4:8])
    layer = nn.Linear(2, 2)
    assert next(weights_of("", layer)).layer is layer


def test_what_a_parametrization_computes_is_told_without_a_tensor():
    (weight,) = weights_of("at", parametrizations.weight_norm(nn.Linear(4, 4)))
    assert weight.tensor is None
    attention = parametrizations.weight_norm(nn.MultiheadAttention(4, 2, kdim=3), "k_proj_weight")
    names = [weight.name for weight in weights_of("at", attention)]
    assert sorted(names) == ["at.k_proj_weight", "at.q_proj_weight", "at.v_proj_weight"]


def test_a_registered_class_has_the_weights_that_were_said():
    class Said(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernel, self.table, self.more = (nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (2, 4, 3), (5, 5)))

    engine.nn.register(Said, weight=("kernel", "table"), transposed=True)
    found = list(weights_of("at", Said()))
    assert [weight.name for weight in found] == ["at.kernel", "at.table.0", "at.table.1"]
    assert [tuple(weight.layer.weight.shape) for weight in found] == [(3, 4)] * 3
    assert not any(weight.doubt for weight in found)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_holds_nothing_that_could_be_pruned():
    assert not list(weights_of("at", torch.jit.script(nn.Linear(4, 4))))


def test_weights_without_values_or_of_whole_numbers_are_in_doubt():
    for change in (lambda w: w.to("meta"), lambda w: w.to(torch.int32)):
        module = own(lambda self, x: F.linear(x, self.weight), weight=(4, 3))
        module.weight = nn.Parameter(change(module.weight.detach()), requires_grad=False)
        assert [weight.doubt for weight in weights_of("at", module)] == [UNKNOWN]
    lazy = own()
    lazy.places = nn.UninitializedParameter()
    assert not list(weights_of("at", lazy))

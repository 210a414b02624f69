"""Which weights are under masks: put there, read, and taken away again, whatever kind of layer they belong to."""

import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.masking.mask import Mask

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.nn.encoder import UnfusedEncoderLayer  # noqa: E402
from sparse_engine.pruning import attachment  # noqa: E402
from sparse_engine.pruning.attachment import can_be_masked, pruned_weights, put_masks, put_named, put_under  # noqa: E402
from sparse_engine.pruning.origin import ORIGIN  # noqa: E402
from sparse_engine.pruning.targets import Gate  # noqa: E402


def mask(*shape, kept=0):
    """Keeps one row, or column."""
    flags = np.zeros(shape, bool)
    flags[kept] = True
    return Mask.from_numpy(flags)


def test_weights_and_parts_of_weights_go_under_their_masks():
    model = nn.ModuleList([nn.Linear(3, 4), nn.LSTM(3, 2), nn.Linear(3, 4)])
    gate = Gate(model[1], "weight_ih_l0", 2)
    put_under(model, [model[0], gate], [mask(4, 3, kept=1), mask(2, 3, kept=1)])
    found = attachment.masks(model)
    assert found.keys() == {"0.weight", "1.weight_ih_l0"}
    assert found["0.weight"].dtype is torch.bool
    assert found["0.weight"].sum(1).tolist() == [0, 3, 0, 0]
    rows = found["1.weight_ih_l0"].sum(1).tolist()
    assert rows == [3, 3, 3, 3, 0, 3, 3, 3], "what no part speaks of stays"
    assert not model[0].weight[0].any()
    assert not model[1].weight_ih_l0[4].any()
    assert type(model[2]) is nn.Linear


def test_a_further_part_leaves_what_earlier_ones_said():
    model = nn.ModuleList([nn.LSTM(3, 2)])
    for index in (0, 3):
        put_under(model, [Gate(model[0], "weight_ih_l0", index)], [mask(2, 3)])
    assert attachment.masks(model)["0.weight_ih_l0"].sum(1).tolist() == [3, 0, 3, 3, 3, 3, 3, 0]


def test_a_transposed_convolution_takes_its_mask_outputs_first():
    model = nn.ModuleList([nn.ConvTranspose1d(2, 3, 1)])
    put_under(model, [model[0]], [mask(3, 2, 1, kept=1)])
    assert attachment.masks(model)["0.weight"][:, :, 0].tolist() == [[False, True, False]] * 2


def test_layers_that_share_a_weight_are_pruned_with_it_and_an_embedding_reads_the_zeros():
    model = nn.ModuleDict({"first": nn.Linear(3, 4), "same": nn.Linear(3, 4), "table": nn.Embedding(4, 3)})
    model["same"].weight = model["table"].weight = model["first"].weight
    put_under(model, [model["first"]], [mask(4, 3)])
    assert attachment.masks(model).keys() == {"first.weight", "same.weight"}
    assert type(model["table"]) is nn.Embedding
    assert not model["table"].weight[1:].any()


def test_putting_masks_turns_every_other_layer_back():
    model = engine.prune(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), engine.Spec(sparsity=0.5))
    put_masks(model, {"1.weight": mask(4, 4)})
    assert pruned_weights(model).keys() == {"1.weight"}
    assert type(model[0]) is nn.Linear
    assert model[1].weight[0].any()
    assert not model[1].weight[1:].any()


def test_putting_named_masks_leaves_the_others_and_reaches_all_that_share():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[2].weight = model[1].weight
    engine.prune(model, engine.Spec(sparsity=0.5, include=["0"]))
    put_named(model, {"1.weight": mask(4, 4)})
    found = attachment.masks(model)
    assert found.keys() == {"0.weight", "1.weight", "2.weight"}
    assert int(found["0.weight"].sum()) == 8
    assert torch.equal(found["1.weight"], found["2.weight"])


def test_the_model_itself_may_be_the_layer():
    layer = nn.Linear(4, 4)
    put_masks(layer, {"weight": mask(4, 4)})
    assert pruned_weights(layer).keys() == {"weight"}
    assert engine.remove_masks(layer) is layer
    assert type(layer) is nn.Linear


def test_masks_taken_away_leave_the_zeros_and_nothing_else():
    model = engine.prune(nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4)), engine.Spec(sparsity=0.5))
    zeros = {name: parameter == 0 for name, parameter in model.named_parameters()}
    assert attachment.remove_masks(model) is model
    assert [type(layer) for layer in model] == [nn.Linear, nn.LSTM]
    assert not pruned_weights(model)
    assert all(torch.equal(parameter == 0, zeros[name]) for name, parameter in model.named_parameters())
    assert ORIGIN not in vars(model)
    with torch.no_grad():
        model[0].weight += 1
    model[0](torch.randn(1, 4))
    assert (model[0].weight != 0).sum() > 8, "they no longer hold"


def test_averages_can_tell_where_a_model_under_masks_came_from():
    for put in (
        lambda model: put_under(model, [model[0]], [mask(4, 4)]),
        lambda model: put_masks(model, {"0.weight": mask(4, 4)}),
        lambda model: put_named(model, {"0.weight": mask(4, 4)}),
    ):
        model = nn.Sequential(nn.Linear(4, 4))
        put(model)
        assert vars(model)[ORIGIN].owner is model


def test_torchs_fused_encoder_is_declined_however_masks_came_and_taken_again_without():
    found = {"linear1.weight": mask(8, 4)}
    for put in (put_masks, put_named, lambda model, found: put_under(model, [model.linear1], list(found.values()))):
        model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        put(model, found)
        assert type(model) is UnfusedEncoderLayer
        put_masks(model, {})
        assert type(model) is nn.TransformerEncoderLayer


CAN = {
    "a layer": ("linear.weight", True),
    "its bias": ("linear.bias", False),
    "nothing there": ("linear.other", False),
    "no such module": ("other.weight", False),
    "a norm": ("norm.weight", False),
    "a gate's weight": ("rnn.weight_hh_l0", True),
    "a recurrent bias": ("rnn.bias_hh_l0", False),
    "a convolution": ("conv.weight", True),
    "whole numbers": ("whole.weight", False),
    "without values": ("lazy.weight", False),
    "queries": ("attention.in_proj_weight", True),
    "another of a linear layer": ("linear.more", False),
}


@pytest.mark.parametrize("name", CAN)
def test_which_parameters_can_be_under_a_mask(name):
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(4, 4), "norm": nn.BatchNorm1d(4), "rnn": nn.LSTM(4, 4), "conv": nn.Conv1d(2, 2, 3),
            "whole": nn.Linear(4, 4), "lazy": nn.LazyLinear(4), "attention": nn.MultiheadAttention(4, 2),
        }
    )  # fmt: skip
    model["linear"].more = nn.Parameter(torch.ones(4, 4))
    model["whole"].weight = nn.Parameter(torch.ones(4, 4, dtype=torch.int32), requires_grad=False)
    parameter, expected = CAN[name]
    assert can_be_masked(model, parameter) is expected
    assert can_be_masked(nn.Linear(2, 2), "weight")
    assert not can_be_masked(nn.Linear(2, 2), "bias")


def test_a_module_that_is_registered_twice_has_two_names():
    layer = nn.Linear(4, 4)
    model = nn.ModuleDict({"one": layer, "other": layer})
    assert attachment.all_modules(model).keys() == {"", "one", "other"}
    put_masks(model, {"other.weight": mask(4, 4)})
    assert pruned_weights(model).keys() == {"one.weight"}

"""What is known while channels are followed: what ties, fixes and counts, and slots carried through what moves data."""

import numpy as np
import pytest
import torch
from torch import nn

from sparse_engine.channels.export import Arguments, exported
from sparse_engine.channels.tracer import Axis, Held, Tracer, operation, size_of


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.attention = nn.Linear(3, 4), nn.MultiheadAttention(4, 2)

    def forward(self, x):
        return self.first(x).relu_().split(2, 1)[0]


@pytest.fixture(scope="module")
def nodes():
    program = exported(Parts(), Arguments((torch.randn(5, 3),), {}), training=False)
    return {operation(node): node for node in program.graph.nodes if node.op == "call_function"}


@pytest.fixture
def tracer(nodes):
    made = Tracer(Parts())
    made.node = nodes["linear"]
    made.shapes = {"first.weight": (4, 3), "first.bias": (4,), "attention.in_proj_weight": (12, 4)}
    return made


WEIGHT, BIAS = Held("first.weight", (0, 1)), Held("first.bias", (0,))


def roots(tracer):
    return {dim: found.tolist() for dim, found in tracer.slotting.resolved()[0].items()}


def reasons(tracer):
    return set(tracer.slotting.resolved()[1].values())


def test_operations_are_called_as_in_aten_in_place_or_not(nodes):
    assert {"linear", "relu", "split", "getitem"} <= nodes.keys()
    assert size_of(nodes["linear"]) == (5, 4)


def test_messages_name_the_operation_and_the_module_it_stands_in(tracer, nodes):
    assert tracer.where() == "linear in first (Linear)"
    tracer.node = nodes["relu"]
    assert tracer.where() == "relu in the model (Parts)"


def test_what_is_known_of_an_argument_is_none_for_numbers(tracer, nodes):
    tracer.values[nodes["linear"]] = axis = Axis(1, np.arange(4))
    assert tracer.value(nodes["linear"]) is axis
    assert tracer.value(3) is tracer.value(nodes["relu"]) is None


def test_a_tied_dimension_belongs_to_the_slots_index_by_index(tracer):
    made = tracer.makes(WEIGHT, 0)
    tracer.tie(BIAS, 0, made)
    tracer.tie(None, 0, made)  # a layer without bias
    found = roots(tracer)
    assert found["first.weight", 0] == found["first.bias", 0]
    assert len(set(found["first.bias", 0])) == 4
    assert tracer.made_by == {("first.weight", 0): "first"}


def test_a_permuted_parameter_is_tied_along_its_own_dimension(tracer):
    turned = Held("first.weight", (1, None, 0))
    assert np.array_equal(tracer.at(turned, 2), tracer.at(WEIGHT, 0))
    assert np.array_equal(tracer.at(turned, 0), tracer.at(WEIGHT, 1))
    tracer.makes(turned, 2)
    assert tracer.made_by == {("first.weight", 0): "first"}


def test_what_is_fixed_is_fixed_whole_for_the_reason_given_or_where_it_stands(tracer):
    tracer.fix([Axis(0, tracer.at(BIAS, 0)), None], reason="it is the output")
    assert reasons(tracer) == {"it is the output"}
    tracer.fix(WEIGHT)
    assert reasons(tracer) == {"it is the output", "linear in first (Linear)"}
    _, fixed = tracer.slotting.resolved()
    assert {root for found in roots(tracer).values() for root in found} == fixed.keys()


def test_inner_widths_of_attention_are_fixed_and_those_of_other_layers_are_not(tracer):
    tracer.makes(WEIGHT, 0)
    assert not reasons(tracer)
    tracer.makes(Held("attention.in_proj_weight", (0, 1)), 0)
    assert "keeps its inner width" in reasons(tracer).pop()


def test_uses_of_a_parameter_add_up(tracer):
    for value, times in ((WEIGHT, 5), (None, 7), (WEIGHT, 2)):
        tracer.used(value, times)
    assert tracer.uses == {"first.weight": 7}


def test_slots_are_spread_over_a_tensor_and_gathered_again(tracer):
    axis = Axis(1, tracer.at(WEIGHT, 0))
    spread = tracer.spread(axis, (2, 4, 3), 0)
    assert spread.shape == (2, 4, 3)
    assert spread[1, :, 2].tolist() == axis.slots.tolist()
    back = tracer.gather(spread)
    assert back.dim == 1
    assert back.slots.tolist() == axis.slots.tolist()
    assert not reasons(tracer)
    held = tracer.spread(WEIGHT, (4, 3), 1)
    assert held[0].tolist() == held[3].tolist() == tracer.at(WEIGHT, 1).tolist()
    assert not tracer.spread(None, (2, 3), 0).any()
    assert not tracer.spread(Held("first.bias", (None, 0)), (1, 4), 0).any()


def test_flattened_channels_keep_a_slot_for_each_and_are_not_joined(tracer):
    slots = tracer.at(WEIGHT, 0)
    flat = tracer.gather(tracer.spread(Axis(1, slots), (2, 4, 3), 0).reshape(2, 12))
    assert flat.dim == 1
    assert flat.slots.tolist() == np.repeat(slots, 3).tolist()
    assert len(set(roots(tracer)["first.weight", 0])) == 4


def test_slots_along_two_dimensions_are_joined_until_one_tells_them_all(tracer):
    slots = torch.from_numpy(tracer.at(WEIGHT, 0)).view(2, 2)  # four channels folded into two dimensions
    kept = tracer.gather(slots.clone())
    assert kept.dim == 1
    one, two, three, four = roots(tracer)["first.weight", 0]
    assert one == three != two == four


def test_a_dimension_that_is_asked_for_is_the_one_that_stays(tracer):
    slots = torch.from_numpy(tracer.at(WEIGHT, 0)).view(2, 2)
    assert tracer.gather(slots.clone(), keep=0).dim == 0
    one, two, three, four = roots(tracer)["first.weight", 0]
    assert one == two != three == four


def test_the_dimension_that_tells_most_apart_stays_by_default(tracer):
    twelve = tracer.slotting.at(("table", 0), 12)
    kept = tracer.gather(torch.from_numpy(twelve).view(6, 2))
    assert (kept.dim, len(kept.slots)) == (0, 6)


def test_what_varies_along_no_dimension_is_fixed(tracer):
    slot = tracer.at(WEIGHT, 0)[:1]
    assert tracer.gather(torch.from_numpy(slot).expand(3, 2)) is None
    assert reasons(tracer) == {"linear in first (Linear)"}
    assert len(tracer.slotting.resolved()[1]) == 1

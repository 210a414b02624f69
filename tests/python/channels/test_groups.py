import numpy as np
import pytest

from sparse_engine.channels.groups import FIXED, Slotting, resolve


def chain():
    """first makes 4 channels, second reads them and makes 6 that nobody may remove."""
    slotting = Slotting()
    made = slotting.at(("first.weight", 0), 4)
    slotting.join(made, slotting.at(("first.bias", 0), 4), "")
    slotting.join(made, slotting.at(("second.weight", 1), 4), "")
    slotting.fix(slotting.at(("second.weight", 0), 6), "it is the output")
    shapes = {"first.weight": (4, 3), "first.bias": (4,), "second.weight": (6, 4)}
    uses = {"first.weight": 10, "second.weight": 2}
    made_by = {("first.weight", 0): "first", ("second.weight", 0): "second"}
    return resolve(slotting, shapes, set(shapes), uses, made_by)


def test_slots_that_are_joined_make_one_unit_and_fixed_ones_none():
    found = chain()
    (group,) = found.groups
    assert group.names == ("first",)
    assert found.count == 4
    assert np.array_equal(found.units["first.weight", 0], found.units["second.weight", 1])
    assert (found.units["second.weight", 0] == -1).all()
    assert found.kept_whole == {"second": "it is the output"}


def test_costs_by_numbers_of_channels_are_those_by_marks():
    found = chain()
    costs = found.costs(found.groups)
    for gone in range(4):
        removed = found.none_removed()
        removed[:gone] = True
        left = 4 - gone
        assert found.cost(removed) == (3 * left + left + 6 * left, 10 * 3 * left + 2 * 6 * left)
        assert costs.left({"first": gone}) == found.cost(removed)


def test_the_indices_that_stay_are_given_for_every_dimension_that_shrinks():
    found = chain()
    removed = found.none_removed()
    removed[[1, 2]] = True
    indices = found.indices(removed)
    assert {(name, dim) for name, dims in indices.items() for dim in dims} == {
        ("first.weight", 0), ("first.bias", 0), ("second.weight", 1)
    }  # fmt: skip
    assert indices["second.weight"][1].tolist() == [0, 3]


def test_what_meets_a_fixed_slot_is_fixed_for_that_reason():
    slotting = Slotting()
    a = slotting.at(("a", 0), 3)
    slotting.join(a, np.array([FIXED, a[1], a[2]]), "meets a constant")
    found = resolve(slotting, {"a": (3,)}, {"a"}, {}, {("a", 0): "a"})
    assert found.units["a", 0].tolist() == [-1, 0, 1]
    assert found.kept_whole == {"a": "meets a constant"}


@pytest.mark.parametrize(("channels", "units"), [(1, 1), (8, 4), (3, 3), (6, 3)])
def test_a_multiple_counts_the_channels_that_one_unit_is(channels, units):
    slotting = Slotting()
    made = slotting.at(("shuffled.weight", 0), 8)
    slotting.join(made[:4], made[4:], "")  # a unit is two channels
    found = resolve(slotting, {"shuffled.weight": (8, 1)}, set(), {}, {("shuffled.weight", 0): "shuffled"})
    (group,) = found.groups
    assert len(group.units) == 4
    assert found.multiple(group, channels) == units


def test_a_unit_that_is_alone_in_its_group_is_not_given_for_trial():
    slotting = Slotting()
    one, two = slotting.at(("one", 0), 1), slotting.at(("two", 0), 2)
    found = resolve(slotting, {"one": (1,), "two": (2,)}, set(), {}, {("one", 0): "one", ("two", 0): "two"})
    assert found.units_of(np.concatenate([one, two])).tolist() == [1, 2]
    assert [found.group_of(unit) for unit in range(3)] == [0, 1, 1]

import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.channels.groups import Slotting, resolve

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.channels.select import choose_units, selected_groups, smallest  # noqa: E402

MODEL = nn.Linear(1, 1)  # what is counted below are the dependencies' shapes; of the model only the size of a number


def two_layers(a=10, b=20):
    """Two layers whose channels go separately; a channel of `a` costs 5 weights, one of `b` 7."""
    slotting = Slotting()
    slotting.at(("a.weight", 0), a)
    slotting.at(("b.weight", 0), b)
    shapes = {"a.weight": (a, 5), "b.weight": (b, 7)}
    uses = {"a.weight": 100, "b.weight": 1}
    return resolve(slotting, shapes, set(shapes), uses, {("a.weight", 0): "a", ("b.weight", 0): "b"})


def gone(spec, scores=None, found=None):
    found = two_layers() if found is None else found
    scores = np.arange(found.count, dtype=float) if scores is None else scores
    removed = choose_units(spec, found, selected_groups(spec, found), scores, MODEL, None)
    return found, [int(removed[group.units].sum()) for group in found.groups]


@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("bound", [189, 150, 100, 51])
def test_no_channel_more_goes_than_the_budget_asks_for(scope, bound):
    _, (a, b) = gone(engine.Spec(nonzeros=bound, granularity="channel", scope=scope))
    left = 190 - 5 * a - 7 * b
    assert bound - 7 < left <= bound


def test_multiply_accumulates_are_bounded_and_not_weights():
    _, (a, b) = gone(engine.Spec(macs=2600, granularity="channel"))
    assert 100 * 5 * (10 - a) + 7 * (20 - b) <= 2600


def test_a_budget_below_one_channel_of_each_names_what_is_left():
    with pytest.raises(ValueError, match=r"parameters cannot come down to 11 by removing channels: 12 are left"):
        gone(engine.Spec(nonzeros=11, granularity="channel"))


def test_shares_by_name_are_those_of_each_layer():
    _, counts = gone(engine.Spec(sparsity={"a": 0.3, "*": 0.5}, granularity="channel"))
    assert counts == [3, 10]


@pytest.mark.parametrize(("share", "multiple", "count"), [(0.5, 1, 5), (0.99, 1, 9), (0.5, 4, 6), (0.1, 4, 2), (0.0, 4, 0)])
def test_the_smallest_go_and_a_multiple_of_at_least_one_stays(share, multiple, count):
    group = two_layers().groups[0]
    scores = np.random.default_rng(0).random(30)
    units = smallest(group, scores, share, multiple)
    assert len(units) == count
    assert set(units) == set(np.argsort(scores[:10])[:count])


def test_with_round_to_every_layer_keeps_a_multiple():
    _, (a, b) = gone(engine.Spec(nonzeros=100, granularity="channel", round_to=4))
    assert {(10 - a) % 4, (20 - b) % 4} == {0}


def test_a_floor_and_a_ceiling_hold_for_single_layers():
    spec = engine.Spec(nonzeros=80, granularity="channel", scope="global", min_density={"a": 0.9}, max_density={"b": 0.2})
    _, (a, b) = gone(spec)
    assert a <= 1
    assert b >= 16


def test_a_pattern_or_selection_of_nothing_names_the_layers_with_channels():
    with pytest.raises(ValueError, match="pattern 'c' matches no layer; layers with channels: a, b"):
        gone(engine.Spec(sparsity={"a": 0.5, "c": 0.5}, granularity="channel"))
    with pytest.raises(ValueError, match="select no channels that can go; removable: a; b"):
        gone(engine.Spec(sparsity=0.5, include="c", granularity="channel"))

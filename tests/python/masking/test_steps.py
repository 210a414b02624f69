"""Steps of optimizers, told to who holds a parameter."""

import pytest
import torch
from torch import nn

from sparse_engine.masking.steps import KEEP_ZEROS, keeps_zeros, kept_by, watch_steps


class Counting:
    """What a parameter may be held by."""

    def __init__(self, small):
        self.small, self.version, self.clean_before_step, self.steps = small, 0, False, 0

    def after_step(self, parameter, optimizer):
        self.steps += 1


@pytest.mark.parametrize("kind", KEEP_ZEROS, ids=lambda kind: kind.__name__)
def test_an_optimizer_that_keeps_zeros_leaves_them_where_all_it_knows_is_zero(kind):
    weight = nn.Parameter(torch.tensor([0.0, 1.0]))
    optimizer = kind([weight], lr=0.1)
    assert keeps_zeros(optimizer)
    for _ in range(5):
        weight.grad = torch.tensor([0.0, 0.3])
        optimizer.step()
    assert weight[0] == 0
    assert weight[1] != 1


def test_a_step_that_divides_zero_by_zero_keeps_none():
    weight = nn.Parameter(torch.ones(2))
    assert not keeps_zeros(torch.optim.Adam([weight], eps=0.0))
    assert not keeps_zeros(torch.optim.Rprop([weight]))


def test_what_an_optimizer_keeps_of_every_weight_is_found_and_its_counters_are_not():
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    assert kept_by(optimizer, weight) == []
    weight.grad = torch.ones(3)
    optimizer.step()
    assert [value.shape for value in kept_by(optimizer, weight)] == [(3,), (3,)]


def test_who_holds_a_parameter_hears_of_every_step_once_however_often_steps_are_watched():
    watch_steps()
    watch_steps()
    large, small, free = (nn.Parameter(torch.ones(2)) for _ in range(3))
    large._held, small._held = Counting(small=False), Counting(small=True)
    large._held.version = large._version
    optimizer = torch.optim.SGD([large, small, free], lr=0.1)
    for parameter in (large, small, free):
        parameter.grad = torch.ones(2)
    optimizer.step()
    assert (large._held.steps, small._held.steps) == (1, 1)
    assert large._held.clean_before_step
    assert not small._held.clean_before_step, "small ones are looked at after every step"

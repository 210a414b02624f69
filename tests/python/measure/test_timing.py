"""Calls that take turns, and their medians."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.measure import timing, turns  # noqa: E402
from sparse_engine.measure.settling import is_settling  # noqa: E402
from sparse_engine.measure.timing import interleaved, time_alternating  # noqa: E402


@pytest.mark.parametrize("calls", [1, 7])
def test_models_take_turns(calls):
    called = []
    models = [nn.Identity(), nn.Identity()]
    for name, model in zip("ab", models, strict=True):
        model.register_forward_hook(lambda *_, name=name: called.append(name))
    seconds = time_alternating(models, torch.zeros(1), calls)
    assert len(seconds) == 2
    assert all(0 < s < 1 for s in seconds)
    turn = "a" * 6 + "b" * 6
    assert "".join(called) == "aabb" + turn * -(-calls // 5)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a call says so."""
    now = [0.0]
    monkeypatch.setattr(turns.time, "perf_counter", lambda: now[0])

    def passes(seconds):
        now[0] += seconds

    return passes


def test_the_median_of_each_call_is_its_own(clock):
    slow = iter([100.0, 3.0, 1.0, 2.0])  # the first warms up
    assert interleaved([lambda: clock(next(slow)), lambda: clock(0.5)], rounds=3) == [2.0, 0.5]


@pytest.mark.parametrize("warm_up", [True, False])
@pytest.mark.parametrize("at_once", [1, 3])
def test_calls_take_turns_and_an_untimed_one_opens_a_turn_of_several(at_once, warm_up):
    called = []
    interleaved([lambda: called.append("a"), lambda: called.append("b")], 2, at_once, warm_up=warm_up)
    turn = 1 if at_once == 1 else at_once + 1
    assert "".join(called) == "ab" * warm_up + ("a" * turn + "b" * turn) * 2


def test_models_settle_before_they_are_timed_and_stay_in_the_mode_they_are_in():
    seen = []

    class Watched(nn.Module):
        def forward(self, x):
            seen.append((is_settling(), torch.is_inference_mode_enabled(), self.training))
            return x

    time_alternating([Watched()], torch.zeros(1), 1)
    assert seen[: timing.WARM_UP_CALLS] == [(True, True, True)] * timing.WARM_UP_CALLS
    assert seen[timing.WARM_UP_CALLS :] == [(False, True, True)] * (timing.AT_ONCE + 1)


def test_inputs_are_a_tensor_a_tuple_or_keywords():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    one = torch.ones(1)
    for inputs in ((one, one), {"a": one, "b": one}):
        (seconds,) = time_alternating([Sum()], inputs, 1)
        assert seconds > 0

import itertools

import pytest

import sparse_engine as engine
from every_schedule import SCHEDULES


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_sparsity_rises_to_exactly_the_final_budget(schedule):
    levels = [schedule.sparsity(step, 0.9) for step in range(30)]
    assert all(0 <= a <= b <= 0.9 for a, b in itertools.pairwise(levels))
    assert levels[schedule.end] == levels[-1] == 0.9
    assert all(level == 0 for level in levels[: schedule.begin])
    due = [step for step in range(30) if schedule.due(step)]
    assert due[0] == schedule.begin
    assert due[-1] == schedule.end


def test_levels_follow_their_formulas():
    assert engine.schedules.Cubic(0, 3).sparsity(0, 0.8) == pytest.approx(0.8 * (1 - 0.75**3))
    assert engine.schedules.Linear(0, 3).sparsity(1, 0.8) == pytest.approx(0.4)
    assert engine.schedules.Exponential(0, 3).sparsity(1, 0.75) == pytest.approx(0.5)
    assert engine.schedules.Cosine(0, 3).sparsity(1, 0.8) == pytest.approx(0.4)


@pytest.mark.parametrize("kind", [engine.schedules.Cubic, engine.schedules.Linear, engine.schedules.Exponential])
def test_what_is_removed_already_is_where_a_schedule_begins_and_is_never_undone(kind):
    schedule = kind(2, 10, 2)
    assert schedule.sparsity(0, 0.9, 0.5) == 0.5
    levels = [schedule.sparsity(step, 0.9, 0.5) for step in range(2, 11)]
    assert 0.5 < levels[0] < levels[-1] == 0.9
    assert [schedule.sparsity(step, 0.4, 0.5) for step in range(12)] == [0.5] * 12


@pytest.mark.parametrize("kind", [engine.schedules.RigL, engine.schedules.SET])
def test_regrowth_exchanges_less_and_less_and_nothing_at_the_ends(kind):
    schedule = kind(4, 20, 4, fraction=0.4)
    assert [step for step in range(30) if schedule.due(step)] == [4, 8, 12, 16, 20]
    exchanged = [schedule.exchanged(step) for step in (4, 8, 12, 16, 20)]
    assert exchanged[0] == exchanged[-1] == 0
    assert 0.4 > exchanged[1] > exchanged[2] > exchanged[3] > 0
    assert exchanged[2] == pytest.approx(0.2)
    assert [schedule.sparsity(step, 0.9, 0.1) for step in (3, 4)] == [0.1, 0.9]


def test_the_name_in_a_saved_state_leaves_out_what_is_the_default():
    assert repr(engine.schedules.Cubic(0, 10, 5)) == "Cubic(begin=0, end=10, every=5)"
    assert repr(engine.schedules.Cubic(0, 10, initial=0.3)) == "Cubic(begin=0, end=10, every=1, initial=0.3)"
    assert repr(engine.schedules.OneShot(7)) == "OneShot(at=7)"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: engine.schedules.Cubic(5, 4), ValueError, "begin = 5, end = 4"),
        (lambda: engine.schedules.Cubic(-1, 4), ValueError, "0 <= begin <= end"),
        (lambda: engine.schedules.Cubic(0, 4, 0), ValueError, "every >= 1"),
        (lambda: engine.schedules.Cubic(0, 4.0), TypeError, "end = 4.0 is not a whole number of steps"),
        (lambda: engine.schedules.Linear(0, 4, initial=1.0), ValueError, r"initial = 1.0 is outside \[0, 1\)"),
        (lambda: engine.schedules.RigL(0, 4, fraction=0.0), ValueError, r"fraction = 0.0 is outside \(0, 1\]"),
    ],
)
def test_impossible_steps_and_shares_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()

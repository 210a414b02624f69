import pytest

from sparse_engine.measure.search import bisected


@pytest.mark.parametrize(("bound", "times", "answer"), [(0.3, 1, 0.0), (0.3, 2, 0.25), (0.3, 5, 0.28125), (0.75, 2, 0.5)])
def test_the_answer_is_the_last_middle_that_was_not_beyond(bound, times, answer):
    asked = []

    def ends(x):
        asked.append(x)
        return x >= bound

    assert bisected(0.0, 1.0, ends, times) == answer
    assert len(asked) == times
    assert not {0.0, 1.0} & set(asked)
    assert bound - answer <= 2**-times


def test_where_it_holds_everywhere_or_nowhere_the_answer_tends_to_a_bound():
    assert bisected(2.0, 4.0, lambda x: True, 8) == 2.0
    assert bisected(2.0, 4.0, lambda x: False, 8) == 4.0 - 2**-7


def test_without_a_try_nothing_is_known_but_the_lower_bound():
    assert bisected(2.0, 4.0, lambda x: pytest.fail("asked"), 0) == 2.0

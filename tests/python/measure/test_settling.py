"""A flag of the thread, which comes back."""

import threading

import pytest

from sparse_engine.measure.settling import is_settling, settle_at_once


def test_it_is_set_inside_also_when_nested_and_after_an_error():
    assert not is_settling()
    with settle_at_once():
        with settle_at_once():
            assert is_settling()
        assert is_settling(), "the inner block is not the last"
    assert not is_settling()
    with pytest.raises(KeyError), settle_at_once():
        raise KeyError
    assert not is_settling()


def test_other_threads_do_not_see_it():
    seen = []
    with settle_at_once():
        thread = threading.Thread(target=lambda: seen.append(is_settling()))
        thread.start()
        thread.join()
    assert seen == [False]

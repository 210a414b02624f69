from sparse_engine.measure.turns import taking_turns


def test_calls_take_turns_and_each_timed_call_is_kept():
    order = []
    seconds = taking_turns([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert "".join(order) == "ab" + "ab" * 3
    assert [len(times) for times in seconds] == [3, 3]
    assert all(0 <= t < 1 for times in seconds for t in times)


def test_an_untimed_call_opens_a_turn_of_several():
    order = []
    seconds = taking_turns([lambda: order.append("a"), lambda: order.append("b")], 2, 3, warm_up=False)
    assert "".join(order) == "aaaabbbb" * 2
    assert [len(times) for times in seconds] == [6, 6]

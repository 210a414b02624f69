import time

import pytest

from sparse_engine.measure.reach import WORKING_SETS, Reach, reach


def test_the_slower_of_arithmetic_and_memory_is_the_limit():
    machine = Reach(100.0, ((1000, 50.0), (10_000, 10.0)))
    assert machine.seconds(1e9, 0, 10) == pytest.approx(0.01)
    assert machine.seconds(1e9, 1e9, 1000) == pytest.approx(0.02)
    assert machine.seconds(1e9, 1e9, 1001) == pytest.approx(0.1)
    assert machine.gbytes_at(1 << 40) == 10.0


def test_a_machine_is_measured_as_far_as_is_asked_in_less_than_a_second():
    begin = time.perf_counter()
    found = reach(2, 1 << 20)
    assert time.perf_counter() - begin < 1
    assert [size for size, _ in found.gbytes] == list(WORKING_SETS[:2])
    assert 1 < found.gflops < 1e5
    assert 0.1 < found.gbytes[1][1] <= found.gbytes[0][1] < 1e5
    assert [size for size, _ in reach(1, 1 << 40).gbytes] == list(WORKING_SETS)

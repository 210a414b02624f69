import itertools

import numpy as np
import pytest

from sparse_engine.compiler.fallback.partition import Unit, partition


def units(*lines):
    """ "p a b > c": a product that reads a and b and makes c; "c": covered, no product; "x": not covered."""
    found = []
    for line in lines:
        reads, makes = line.split(">")
        kind, *reads = reads.split()
        found.append(Unit(tuple(reads), tuple(makes.split()), kind in "pc", kind == "p"))
    return found


def parts(*lines, **sizes):
    return [(part.compiled, part.units) for part in partition(units(*lines), sizes)]


def runs(found, all_units):
    """Whether each segment reads what earlier ones make."""
    made = set()
    everything = {name for unit in all_units for name in unit.makes}
    for part in found:
        for number in part.units:
            needed = set(all_units[number].reads) & everything
            own = {name for other in part.units if other < number for name in all_units[other].makes}
            if not needed <= made | own:
                return False
        made |= {name for number in part.units for name in all_units[number].makes}
    return True


def test_neighbours_are_one_segment():
    assert parts("p x > a", "c a > b", "x b > c", "x c > d", "p d > e") == [(True, [0, 1]), (False, [2, 3]), (True, [4])]


def test_branches_of_a_diamond_are_one_segment_each_way():
    found = parts("p x > a", "p a > b", "x a > c", "p a > d", "p b c d > e", a=4, b=4, c=4, d=4)
    assert found == [(True, [0]), (False, [2]), (True, [1, 3, 4])]


def test_no_cycle_arises_where_a_covered_value_is_read_before_and_after_another_runtime():
    lines = ["p x > a", "x a > b", "p a b > c", "x a c > d", "p a d > e"]
    found = partition(units(*lines), {})
    assert runs(found, units(*lines))
    assert [part.units for part in found] == [[0], [1], [2], [3], [4]]


def test_what_holds_no_product_stays_with_the_other_runtime():
    assert parts("p x > a", "x a > b", "c b > c", "x c > d", "p d > e") == [(True, [0]), (False, [1, 2, 3]), (True, [4])]
    assert parts("c x > a", "x a > b", "c b > c") == [(False, [0, 1, 2])]


def test_a_branch_without_a_product_is_left_while_another_is_compiled():
    lines = ["x x > a", "p a > b", "c a > c", "x b c > d"]
    assert parts(*lines, a=8, c=2) == [(False, [0, 2]), (True, [1]), (False, [3])]
    assert parts(*lines, a=2, c=8) == [(False, [0]), (True, [1]), (False, [2, 3])]


def test_all_covered_is_one_segment_and_nothing_covered_another():
    assert parts("p x > a", "c a > b") == [(True, [0, 1])]
    assert parts("x x > a", "x a > b") == [(False, [0, 1])]
    assert partition([], {}) == []


def test_what_reads_nothing_starts_with_what_needs_it():
    assert parts("x > a", "p a x > b", "p b > c") == [(False, [0]), (True, [1, 2])]


def test_a_unit_goes_where_fewer_elements_cross():
    lines = ["p x > big", "p big > small", "x x > y", "p small y > z"]
    assert parts(*lines, big=1000, small=1, y=1)[-1] == (True, [0, 1, 3])
    lines = ["p x > a", "x a > b", "p a > large", "p large b > c", "x large > d"]
    found = partition(units(*lines), {"a": 10, "b": 1, "large": 1000, "c": 1})
    assert runs(found, units(*lines))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_run_in_order_in_as_few_segments_as_their_changes_demand(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 40))
    found_units = []
    for number in range(count):
        sources = rng.choice(number, size=min(number, int(rng.integers(0, 4))), replace=False) if number else []
        covered = bool(rng.random() < 0.6)
        reads = tuple(f"v{i}" for i in sources) or ("x",)
        found_units.append(Unit(reads, (f"v{number}",), covered, covered and bool(rng.random() < 0.7)))
    found = partition(found_units, {f"v{i}": int(rng.integers(1, 100)) for i in range(count)})
    assert sorted(number for part in found for number in part.units) == list(range(count))
    assert runs(found, found_units)
    assert all(found_units[number].covered for part in found if part.compiled for number in part.units)
    assert all(any(found_units[number].product for number in part.units) for part in found if part.compiled)
    assert all(a.compiled != b.compiled for a, b in itertools.pairwise(found))
    compiled = {number: part.compiled for part in found for number in part.units}
    longest = [0] * count
    for number, unit in enumerate(found_units):
        before = [int(name[1:]) for name in unit.reads if name != "x"]
        longest[number] = max((longest[b] + (compiled[b] != compiled[number]) for b in before), default=0)
    assert len(found) <= max(longest) + 2

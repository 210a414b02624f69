"""Which operations run compiled and which in another runtime, in as few segments as possible."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Unit:
    """What stays in one segment.

    Attributes:
        reads, makes: names of values.
        covered: whether it can be compiled.
        product: whether it is worth compiling.
    """

    reads: tuple[str, ...]
    makes: tuple[str, ...]
    covered: bool
    product: bool = False


class Part(NamedTuple):
    """A segment: whether it is compiled, and the numbers of its units in order."""

    compiled: bool
    units: list[int]


def partition(units: Sequence[Unit], floats: Mapping[str, int]) -> list[Part]:
    """Segments in an order they can run in, compiled and not in turns.

    A unit's level is the longest chain of changes between compiled and not that leads to it. A level is a segment, so there are
    as few as that chain has links, and none waits for a later one. Inside that limit a unit goes where fewer elements cross,
    rather late than early, beside what reads it. What hangs together in a segment without a product is left to the other
    runtime: crossing costs more than it gains.

    Args:
        units: each reads what earlier ones make, or inputs.
        floats: size of each value.
    """
    compiled = [unit.covered for unit in units]
    while True:
        levels = min((_levels(units, compiled, first, floats) for first in (False, True)), key=lambda found: len(set(found)))
        lonely = [
            number
            for together in _connected(units, compiled, levels)
            if not any(units[number].product for number in together)
            for number in together
        ]
        if not lonely:
            break
        for number in lonely:
            compiled[number] = False
    parts: dict[int, list[int]] = {}
    for number, level in enumerate(levels):
        parts.setdefault(level, []).append(number)
    return [Part(compiled[numbers[0]], numbers) for _, numbers in sorted(parts.items())]


def _levels(units: Sequence[Unit], compiled: Sequence[bool], first: bool, floats: Mapping[str, int]) -> list[int]:
    """The level of each unit, where level 0 is compiled if `first` is."""
    makers = {name: number for number, unit in enumerate(units) for name in unit.makes}
    readers: dict[str, list[int]] = {}
    levels: list[int] = []
    for number, unit in enumerate(units):
        level = 0 if compiled[number] == first else 1
        for name in unit.reads:
            readers.setdefault(name, []).append(number)
            if name in makers:
                before = makers[name]
                level = max(level, levels[before] + (compiled[before] != compiled[number]))
        levels.append(level)

    def crossing(number: int, level: int) -> int:
        unit, cost = units[number], 0
        for name in unit.makes:
            cost += floats.get(name, 0) * len({levels[reader] for reader in readers.get(name, ())} - {level})
        for name in set(unit.reads) & makers.keys():
            there = {levels[other] for other in readers[name] if other != number} | {levels[makers[name]]}
            cost += floats.get(name, 0) * (level not in there)
        return cost

    for number in reversed(range(len(units))):
        after = [reader for name in units[number].makes for reader in readers.get(name, ())]
        if after:
            latest = min(levels[reader] - (compiled[reader] != compiled[number]) for reader in after)
            if latest > levels[number] and crossing(number, latest) <= crossing(number, levels[number]):
                levels[number] = latest
    return levels


def _connected(units: Sequence[Unit], compiled: Sequence[bool], levels: Sequence[int]) -> list[list[int]]:
    """Compiled units of one level that hang together by what one of them makes."""
    above = list(range(len(units)))

    def root(number: int) -> int:
        while above[number] != number:
            above[number] = above[above[number]]
            number = above[number]
        return number

    makers = {name: number for number, unit in enumerate(units) for name in unit.makes}
    for number, unit in enumerate(units):
        for before in (makers[name] for name in unit.reads if name in makers):
            if compiled[number] and compiled[before] and levels[number] == levels[before]:
                above[root(number)] = root(before)
    found: dict[int, list[int]] = {}
    for number in range(len(units)):
        if compiled[number]:
            found.setdefault(root(number), []).append(number)
    return list(found.values())

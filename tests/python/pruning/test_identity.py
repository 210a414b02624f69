import functools
from dataclasses import dataclass, field
from typing import Any

import pytest

import sparse_engine as engine
from sparse_engine.pruning.identity import identity_of


@dataclass(frozen=True)
class Holder:
    value: Any
    unseen: Any = field(default=None, repr=False)


class Scores:
    def __call__(self, weight):
        return weight

    def of(self, weight):
        return weight


def scores(weight, power=1):
    return weight**power


HERE = f"{__name__}."


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5"),
        ("l1", "'l1'"),
        ({"fc*": 0.9}, "{'fc*': 0.9}"),
        ({"fc*": scores}, f"{{'fc*': {HERE}scores}}"),
        (scores, HERE + "scores"),
        (Scores(), HERE + "Scores"),
        (Scores().of, HERE + "Scores.of"),
        (functools.partial(scores, power=2), f"partial({HERE}scores, power=2)"),
    ],
)
def test_values_are_told_exactly_and_functions_by_name(value, text):
    assert identity_of(Holder(value, unseen=object())) == f"Holder(value={text})"


@pytest.mark.parametrize("word", ["element", "4x1", "filter", "2:4", "pattern", "pattern:3:16"])
def test_a_granularity_is_told_by_its_word_however_it_was_given(word):
    budget = {} if ":" in word or word == "pattern" else {"sparsity": 0.5}
    spec = engine.Spec(granularity=word, **budget)
    assert f"granularity={word!r}" in identity_of(spec)
    assert identity_of(engine.Spec(granularity=spec.granularity, **budget)) == identity_of(spec)


def test_two_specs_that_differ_in_a_number_differ():
    assert identity_of(engine.Spec(granularity="1:4")) != identity_of(engine.Spec(granularity="2:4"))

from dataclasses import dataclass

import numpy as np
import pytest

import sparse_engine as engine
from sparse_engine.pruning import granularity_value
from sparse_engine.pruning.blocks import BlockGranularity

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.setattr(granularity_value, "WORDS", words := dict(granularity_value.WORDS))
    monkeypatch.setattr(granularity_value, "FORMS", forms := list(granularity_value.FORMS))
    monkeypatch.setattr("sparse_engine.pruning.granularity.WORDS", words)
    monkeypatch.setattr("sparse_engine.pruning.granularity.FORMS", forms)


def test_one_frozen_class_adds_a_granularity_by_word_and_by_value(tables):
    @dataclass(frozen=True, repr=False)
    class HalfRow(BlockGranularity, word="half row"):
        within_row = True

        def block(self, shape):
            if shape[1] % 2:
                raise ValueError(f"rows of {shape[1]} weights have no halves")
            return 1, shape[1] // 2

    layer, odd = nn.Linear(8, 6), nn.Linear(7, 6)
    engine.prune(layer, engine.Spec(sparsity=0.5, granularity="half row"))
    halves = layer.mask.to_numpy().reshape(12, 4)
    assert (halves.all(1) | ~halves.any(1)).all()
    assert halves.all(1).sum() == 6
    assert engine.Spec(sparsity=0.5, granularity=HalfRow()).granularity == HalfRow()
    with pytest.raises(ValueError, match=r"granularity = 'half row' fits no selected .*rows of 7 weights have no halves"):
        engine.prune(odd, engine.Spec(sparsity=0.5, granularity=HalfRow()))


def test_one_frozen_class_with_a_form_is_read_from_a_word_with_numbers(tables):
    @dataclass(frozen=True, repr=False)
    class Every(BlockGranularity):
        spelling = '"every N"'
        form = r"every (\d+)"
        n: int

        def __str__(self):
            return f"every {self.n}"

        def rule(self):
            return None if self.n else "n is at least 1, such as 'every 3'"

        def block(self, shape):
            return self.n, 1

    spec = engine.Spec(sparsity=0.5, granularity="every 03")
    assert spec.granularity == Every(np.int64(3))
    assert "granularity='every 3'" in repr(spec)
    with pytest.raises(ValueError, match="granularity = 'every 0': n is at least 1"):
        engine.Spec(sparsity=0.5, granularity="every 0")
    with pytest.raises(ValueError, match='"every N"'):
        engine.Spec(sparsity=0.5, granularity="sometimes")


def test_the_matrix_of_a_weight_has_a_row_for_each_output():
    assert granularity_value.matrix_of((6, 4, 3, 2)) == (6, 24)
    assert granularity_value.kernel_shape((6, 4, 3, 2), "kernel") == (3, 2)
    with pytest.raises(ValueError, match='a linear layer has no "kernel"; use "row"'):
        granularity_value.kernel_shape((6, 4), "kernel")

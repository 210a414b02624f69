"""Flags of modules come back as they were, each its own."""

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.measure.eval_mode import eval_mode  # noqa: E402


def mixed():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)), nn.ReLU())
    model.train()
    model[1][0].eval()  # frozen, as in fine-tuning
    return model


def flags(model):
    return [module.training for module in model.modules()]


def test_all_modules_are_in_eval_mode_inside_and_as_before_after():
    model = mixed()
    before = flags(model)
    with eval_mode(model):
        assert not any(flags(model))
    assert flags(model) == before


def test_flags_come_back_after_an_error_too():
    model = mixed()
    before = flags(model)
    with pytest.raises(KeyError), eval_mode(model):
        raise KeyError
    assert flags(model) == before


def test_a_module_made_inside_stays_as_it_is():
    model = mixed()
    with eval_mode(model):
        model.append(nn.Dropout().train())
    assert model[-1].training
    assert model.training

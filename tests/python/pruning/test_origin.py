"""Where a model was copied from: known to deep copies, within the process, without keeping anything alive."""

import copy
import gc
import pickle

import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from sparse_engine.pruning.origin import ORIGIN, Origin, forget, remember  # noqa: E402


def remembered():
    model = nn.Linear(2, 2)
    remember(model)
    return model


def origin(model):
    return vars(model)[ORIGIN]


def test_a_copy_knows_its_model_and_the_model_knows_itself_only():
    model = remembered()
    twin = copy.deepcopy(model)
    assert origin(model).owner is model
    assert origin(model).source is None
    assert origin(twin).owner is twin
    assert origin(twin).source is model


def test_a_copy_of_a_copy_knows_the_copy():
    model = remembered()
    twin = copy.deepcopy(model)
    assert origin(copy.deepcopy(twin)).source is twin


def test_a_copy_inside_a_larger_one_knows_its_part():
    whole = nn.Sequential(remembered())
    assert origin(copy.deepcopy(whole)[0]).source is whole[0]


def test_remembering_again_keeps_the_source():
    model = remembered()
    twin = copy.deepcopy(model)
    before = origin(twin)
    remember(twin)
    assert origin(twin) is before


def test_an_origin_that_came_with_a_shallow_copy_is_made_the_copys_own():
    model = remembered()
    twin = copy.deepcopy(model)
    shallow = copy.copy(twin)
    shallow.__dict__ = dict(vars(twin))
    assert origin(shallow).owner is twin
    remember(shallow)
    assert origin(shallow).owner is shallow
    assert origin(shallow).source is model
    assert origin(twin).owner is twin


def test_nothing_is_kept_alive():
    model = remembered()
    twin = copy.deepcopy(model)
    del model
    gc.collect()
    assert origin(twin).source is None
    assert origin(twin).owner is twin


def test_files_and_other_processes_learn_nothing():
    model = remembered()
    read = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    assert origin(read).owner is origin(read).source is None
    assert model.state_dict().keys() == nn.Linear(2, 2).state_dict().keys()


def test_what_is_forgotten_is_gone_and_may_be_forgotten_twice():
    model = remembered()
    for _ in range(2):
        forget(model)
        assert vars(model).keys() == vars(nn.Linear(2, 2)).keys()
    assert Origin().owner is Origin().source is None

import copy

import numpy as np
import pytest

import sparse_engine as engine


@pytest.fixture(params=engine.runtime.supported_isas())
def every_isa(request):
    before = engine.runtime.isa()
    engine.runtime.set_isa(request.param)
    yield request.param
    engine.runtime.set_isa(before)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def native_always(monkeypatch):
    """Layers take the native kernels whatever they measure, so that these are what is tested."""
    torch = pytest.importorskip("torch")
    from sparse_engine.nn import dispatch as choice

    def measure(trial, ways, modelled, bounded):
        kernel = next((kernel for kernel in ways if kernel != "dense"), "dense")
        return choice.Choice(kernel, dict.fromkeys(ways, 0.0)), kernel, None

    monkeypatch.setattr(choice, "_measure", measure)
    return torch


@pytest.fixture
def plain_copy():
    """A dense copy of a pruned model: the reference its results are held against."""

    def make(model):
        return engine.remove_masks(copy.deepcopy(model))

    return make


@pytest.fixture
def one_thread():
    """torch on one thread: small layers take longer on two."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

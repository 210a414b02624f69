import warnings

import pytest
import torch
from torch import nn

import sparse_engine as engine
from small_decoder import CACHES, CAPACITY, VOCABULARY, Decoder, whole


@pytest.mark.parametrize("sparsity", [0.8, 0.95])
def test_a_pruned_step_is_that_of_the_pruned_model(sparsity):
    model = Decoder().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        engine.prune(model, engine.Spec(sparsity=sparsity))
    decoder = engine.compile_decoder(model, capacity=CAPACITY, caches=CACHES, threads=1)
    ids = torch.randint(0, VOCABULARY, (1, 9))
    expected = whole(model, ids)
    for i in range(9):
        assert (torch.from_numpy(decoder.forward(ids[:, i : i + 1])) - expected[:, i : i + 1]).abs().max() <= 1e-4


def test_arguments_that_do_not_fit_are_refused():
    model = Decoder().eval()
    with pytest.raises(ValueError, match="at least 1"):
        engine.compile_decoder(model, capacity=0, caches=CACHES)
    with pytest.raises(ValueError, match="capacity is missing"):
        engine.compile_decoder(model, caches=CACHES)
    with pytest.raises(ValueError, match="training mode"):
        engine.compile_decoder(Decoder(), capacity=CAPACITY, caches=CACHES)
    with pytest.raises(ValueError, match="no causal language model"):
        engine.compile_decoder(nn.Linear(2, 2).eval())

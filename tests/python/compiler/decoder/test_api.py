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


def test_attention_reads_positions_and_shared_heads_in_place():
    decoder = engine.compile_decoder(Decoder().eval(), capacity=CAPACITY, caches=CACHES)
    made = [node["operation"] for node in decoder.compiled.nodes]
    assert made.count("write_rows") == 4
    assert made.count("attention") == 2
    assert not {"expand", "keep", "less_equal"} & set(made)


class ReadsThePast(Decoder):
    def forward(self, input_ids, position, *pasts):
        logits, *made = super().forward(input_ids, position, *pasts)
        return (logits + pasts[0].mean(), *made)


class Appends(Decoder):
    def forward(self, input_ids, position, *pasts):
        logits, *made = super().forward(input_ids, position, *pasts)
        return (logits, *(cache + 1 for cache in made))


@pytest.mark.parametrize("step", [ReadsThePast, Appends])
def test_a_step_that_cannot_write_in_place_is_refused(step):
    with pytest.raises(ValueError, match=r"past.index_copy\(2, position"):
        engine.compile_decoder(step().eval(), capacity=CAPACITY, caches=CACHES)


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

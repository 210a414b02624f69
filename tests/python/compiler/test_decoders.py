"""Decoders of Hugging Face transformers, prefilled by one compiled program."""

import warnings

import pytest
import torch

import sparse_engine as engine
from language_models import FAMILIES, language_model


def random_decoder(family):
    """One-element weights of norms and zero biases would hide mistakes."""
    model = language_model(family, tie_word_embeddings=family in ("GPT2", "Gemma", "Gemma2"))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)
            else:
                parameter.copy_(torch.randn_like(parameter) * parameter.shape[-1] ** -0.5)
    return model


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prefill_equals_torch(family, sparsity):
    model = random_decoder(family)
    if sparsity:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tables and heads that are left alone
            engine.prune(model, engine.Spec(sparsity=sparsity))
    ids = torch.randint(0, 100, (2, 13))
    compiled = engine.compile(model, {"input_ids": ids, "use_cache": False})
    for batch in (1, 3):
        ids = torch.randint(0, 100, (batch, 13))
        with torch.no_grad():
            expected = model(input_ids=ids, use_cache=False).logits
        found = compiled(ids)
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()

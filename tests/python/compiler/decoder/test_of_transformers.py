"""`generate` of transformers with a compiled step, token for token; skipped where transformers is not installed."""

import warnings

import pytest
import torch

import sparse_engine as engine
from language_models import FAMILIES, language_model


def random_model(family):
    """Weights large enough that the most likely token is not always the same."""
    model = language_model(family)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_generate_gives_the_tokens_of_torch(family, sparsity):
    model = random_model(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tables and heads that are left alone
        if sparsity:
            engine.prune(model, engine.Spec(sparsity=sparsity))
    decoder = engine.compile_decoder(model, capacity=32)
    for length in (7, 1):
        prompt = torch.randint(3, 100, (1, length))
        expected = model.generate(prompt, max_new_tokens=20, do_sample=False)
        assert torch.equal(decoder.generate(prompt, max_new_tokens=20, do_sample=False), expected)
    with torch.no_grad():
        logits = model(expected, use_cache=False).logits
    decoder.decoder.reset()
    assert (decoder(expected) - logits).abs().max() <= 1e-4 * logits.abs().max()


def test_sampling_and_beams_work_as_in_torch():
    model = random_model("Llama")
    decoder = engine.compile_decoder(model, batch=3)
    prompt = torch.randint(3, 100, (3, 5))
    found = []
    for one in (model, decoder):
        torch.manual_seed(9)
        found.append(one.generate(prompt, max_new_tokens=10, do_sample=True, top_k=5))
    assert torch.equal(*found)
    beams = [one.generate(prompt[:1], max_new_tokens=10, num_beams=3, do_sample=False) for one in (model, decoder)]
    assert torch.equal(*beams)


def test_what_a_decoder_cannot_do_is_refused():
    model = random_model("GPT2")
    with pytest.raises(ValueError, match="the model has 48 positions"):
        engine.compile_decoder(model, capacity=49)
    decoder = engine.compile_decoder(model, capacity=16)
    prompt = torch.randint(3, 100, (1, 5))
    with pytest.raises(ValueError, match="above the capacity of 16"):
        decoder.generate(prompt, max_new_tokens=20, do_sample=False, eos_token_id=None)
    with pytest.raises(ValueError, match="hides tokens"):
        decoder.generate(prompt, attention_mask=torch.tensor([[0, 1, 1, 1, 1]]), max_new_tokens=2, do_sample=False)
    with pytest.raises(ValueError, match="use_cache is False"):
        decoder.generate(prompt, use_cache=False)

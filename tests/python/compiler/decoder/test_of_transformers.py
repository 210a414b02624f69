"""`generate` of transformers with a compiled step, token for token; skipped where transformers is not installed."""

import warnings

import pytest
import torch

import sparse_engine as engine

transformers = pytest.importorskip("transformers")

LLAMA_LIKE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 48,
}
FAMILIES = {
    "GPT2": {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 100, "n_positions": 48},
    "GPTNeoX": {name: size for name, size in LLAMA_LIKE.items() if name != "num_key_value_heads"},
    "Llama": LLAMA_LIKE,
    "Mistral": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
    "Qwen2": LLAMA_LIKE,
    "Qwen3": LLAMA_LIKE | {"head_dim": 16},
    "Gemma": LLAMA_LIKE | {"num_key_value_heads": 1, "head_dim": 8},
    "Gemma2": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
}


def language_model(family):
    """Random weights, large enough that the most likely token is not always the same."""
    torch.manual_seed(3)
    try:
        config = getattr(transformers, f"{family}Config")(**FAMILIES[family], pad_token_id=0, bos_token_id=1, eos_token_id=2)
        model = getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config).eval()
    except ModuleNotFoundError as error:  # of torchvision, say, which does not fit this torch
        pytest.skip(str(error))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.3)
    return model


@pytest.mark.parametrize("sparsity", [0.0, 0.8])
@pytest.mark.parametrize("family", FAMILIES)
def test_generate_gives_the_tokens_of_torch(family, sparsity):
    model = language_model(family)
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
    model = language_model("Llama")
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
    model = language_model("GPT2")
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

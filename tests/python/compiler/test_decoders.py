"""Decoders of Hugging Face transformers, prefilled by one compiled program."""

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
    "max_position_embeddings": 64,
}
FAMILIES = {
    "GPT2": {"n_layer": 2, "n_head": 4, "n_embd": 32, "vocab_size": 100, "n_positions": 64},
    "GPTNeoX": {name: size for name, size in LLAMA_LIKE.items() if name != "num_key_value_heads"},
    "Llama": LLAMA_LIKE,
    "Mistral": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
    "Qwen2": LLAMA_LIKE,
    "Qwen3": LLAMA_LIKE | {"head_dim": 16},
    "Gemma": LLAMA_LIKE | {"num_key_value_heads": 1, "head_dim": 8},
    "Gemma2": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
}


def decoder(family):
    """A small one with random weights; one-element weights of norms and zero biases would hide mistakes."""
    torch.manual_seed(3)
    try:
        config = getattr(transformers, f"{family}Config")(**FAMILIES[family], pad_token_id=0, bos_token_id=1, eos_token_id=2)
        config.tie_word_embeddings = family in ("GPT2", "Gemma", "Gemma2")
        model = getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config).eval()
    except ModuleNotFoundError as error:  # of torchvision, say, which does not fit this torch
        pytest.skip(str(error))
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
    model = decoder(family)
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

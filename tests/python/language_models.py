"""Small causal language models of transformers, random, that tests compile; skipped where transformers is not installed."""

import pytest
import torch

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
    "OPT": {
        "hidden_size": 32,
        "word_embed_proj_dim": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": 100,
        "max_position_embeddings": 48,
    },
    "GPTNeoX": {name: size for name, size in LLAMA_LIKE.items() if name != "num_key_value_heads"},
    "Llama": LLAMA_LIKE,
    "Mistral": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
    "Qwen2": LLAMA_LIKE,
    "Qwen3": LLAMA_LIKE | {"head_dim": 16},
    "Gemma": LLAMA_LIKE | {"num_key_value_heads": 1, "head_dim": 8},
    "Gemma2": LLAMA_LIKE | {"sliding_window": 8, "head_dim": 8},
}


def language_model(family, **settings):
    """One of `FAMILIES`, in eval mode, the same weights each time; `settings` of its configuration besides."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    sizes = FAMILIES[family] | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2} | settings
    try:
        config = getattr(transformers, f"{family}Config")(**sizes)
        return getattr(transformers, f"{family}{'LMHeadModel' if family == 'GPT2' else 'ForCausalLM'}")(config).eval()
    except ModuleNotFoundError as error:  # of torchvision, say, which does not fit this torch
        pytest.skip(str(error))

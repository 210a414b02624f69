"""llama.cpp on a Llama of transformers: the same weights, written to a GGUF file in float32, float16 or 8-bit blocks (Q8_0)."""

import ctypes
from pathlib import Path
from typing import Any

import gguf
import llama_cpp
import numpy as np
from numpy.typing import NDArray
from torch import nn

KINDS = {
    "float32": gguf.GGMLQuantizationType.F32,
    "float16": gguf.GGMLQuantizationType.F16,
    "Q8_0": gguf.GGMLQuantizationType.Q8_0,
}
IN_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(model: nn.Module, path: Path, kind: str) -> None:
    """A `LlamaForCausalLM` without a vocabulary: tokens are numbers."""
    config: Any = model.config
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_tokenizer_model("no_vocab")
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    tensors = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for layer in range(config.num_hidden_layers):
        tensors |= {f"blk.{layer}.{there}": f"model.layers.{layer}.{here}" for here, there in IN_LAYER.items()}
    for there, here in tensors.items():
        weight: NDArray[np.float32] = model.get_submodule(here).weight.detach().numpy()
        part = there.rsplit(".", 1)[-1]
        if part in heads:  # rotary embeddings turn neighbours there, halves of a head here
            weight = weight.reshape(heads[part], 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)
        made = KINDS[kind] if weight.ndim > 1 else KINDS["float32"]
        writer.add_tensor(f"{there}.weight", gguf.quants.quantize(np.ascontiguousarray(weight), made), raw_dtype=made)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Decoder:
    """One sequence, with its cache."""

    def __init__(self, path: Path, threads: int, capacity: int) -> None:
        llama_cpp.llama_log_set(_QUIET, ctypes.c_void_p(0))
        self._llama = llama_cpp.Llama(
            str(path), n_ctx=capacity, n_threads=threads, n_threads_batch=threads, logits_all=False, verbose=False
        )

    def forward(self, tokens: list[int]) -> NDArray[np.float32]:
        """The next tokens to the logits after the last of them."""
        self._llama.eval(tokens)
        return np.array(self._llama._ctx.get_logits_ith(-1)[: self._llama.n_vocab()], np.float32)


@llama_cpp.llama_log_callback
def _QUIET(level: int, text: bytes, data: Any) -> None:  # noqa: N802
    """Of what it loads nobody wants to read."""

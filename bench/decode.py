"""Tokens per second of a decoder's step, random weights, compiled and eager with its cache, in turns.

    python bench/decode.py [--family gpt2] [--sparsities 0 0.8 0.9] [--past 64] [--tokens 16] [--prune-head]
    python bench/decode.py --family llama --llama-cpp

Needs transformers, and for --llama-cpp llama-cpp-python and gguf: the same dense weights there, in float32, float16 and 8 bits,
its logits in float32 verified. The head is tied to the embedding, which pruning leaves alone unless --prune-head unties it.
"""

import argparse
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

import sparse_engine as engine

LLAMA = {
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "max_position_embeddings": 1024,
}
NAMES = {"gpt2": "GPT-2 small", "llama": "Llama of GPT-2 small's width and depth"}


def model_of(family, sparsity, prune_head):
    """GPT-2 small, 124 million weights, or a Llama of about as many."""
    torch.manual_seed(0)
    if family == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(tie_word_embeddings=not prune_head)).eval()
    else:
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA, tie_word_embeddings=not prune_head)).eval()
    if sparsity:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            engine.prune(model, engine.Spec(sparsity=sparsity))
    return model


def llama_cpp_of(model, prompt, capacity):
    """llama.cpp's decoders by kind of their weights, after the prompt."""
    from llama_rival import KINDS, Decoder, write_gguf

    decoders = {}
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        expected = model(prompt).logits[0, -1].numpy()
        for kind in KINDS:
            path = Path(folder) / f"{kind}.gguf"
            write_gguf(model, path, kind)
            decoders[kind] = Decoder(path, engine.runtime.num_threads(), capacity)
            error = np.abs(decoders[kind].forward(prompt[0].tolist()) - expected).max() / np.abs(expected).max()
            print(f"llama.cpp, {kind}: logits differ by {error:.1e} of the largest", flush=True)
            if kind == "float32" and not error < 1e-3:
                raise SystemExit("that is another model")
    return decoders


def main():
    """Print a line for each sparsity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", choices=NAMES, default="gpt2")
    parser.add_argument("--sparsities", type=float, nargs="+", default=[0.0, 0.8, 0.9])
    parser.add_argument("--past", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--capacity", type=int, default=1024)
    parser.add_argument("--prune-head", action="store_true")
    parser.add_argument("--llama-cpp", action="store_true")
    options = parser.parse_args()
    if options.llama_cpp and options.family != "llama":
        parser.error("--llama-cpp needs --family llama")
    torch.set_num_threads(engine.runtime.num_threads())
    dense = model_of(options.family, 0.0, options.prune_head)
    prompt = torch.randint(0, dense.config.vocab_size, (1, options.past))
    decoders = {
        s: engine.compile_decoder(model_of(options.family, s, options.prune_head), capacity=options.capacity)
        for s in options.sparsities
    }
    decoders = {s: decoder.decoder for s, decoder in decoders.items()}
    eager = "cache" if hasattr(dense(prompt[:, :1]), "cache") else "past_key_values"
    rivals = llama_cpp_of(dense, prompt, options.capacity) if options.llama_cpp else {}
    token, times = torch.tensor([[7]]), {}
    with torch.inference_mode():
        for decoder in decoders.values():
            decoder.forward(prompt)
            decoder.forward(token)
        made = dense(prompt, use_cache=True)
        for _ in range(options.tokens):
            for name, call in {
                "eager": lambda: dense(token, use_cache=True, **{eager: made[eager]}),
                **{f"llama.cpp, {kind}": (lambda d=d: d.forward([7])) for kind, d in rivals.items()},
                **{s: (lambda d=d: d.forward(token)) for s, d in decoders.items()},
            }.items():
                begin = time.perf_counter()
                call()
                times.setdefault(name, []).append(time.perf_counter() - begin)
    theirs, threads = float(np.median(times["eager"])), engine.runtime.num_threads()
    print(f"{NAMES[options.family]}, {options.past} tokens before, {threads} threads, medians of {options.tokens} steps")
    for name, seconds in times.items():
        median, called = float(np.median(seconds)), name if isinstance(name, str) else f"{name:.0%} zeros"
        print(f"{called}: {1e3 * median:.1f} ms, {1 / median:.1f} tokens/s, {theirs / median:.2f}×")


if __name__ == "__main__":
    main()

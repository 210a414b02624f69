"""`engine.compile_decoder`: a decoder becomes one compiled step with a cache of keys and values."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from ...channels.export import plain_copy
from ..api import check_compilable
from ..widening import NARROW_TYPES
from .compiled_decoder import CompiledDecoder
from .step import compiled_step


def compile_decoder(
    model: nn.Module,
    *,
    capacity: "int | None" = None,
    batch: int = 1,
    caches: "Sequence[tuple[int, int]] | None" = None,
    threads: int = 0,
) -> Any:
    """Compile a step of `model` that takes any number of tokens and keeps keys and values of a fixed capacity.

    Args:
        model: in eval mode, on the CPU, float32, or bfloat16 or float16: weights keep their 16 bits then, and everything else,
            logits and caches too, is float32. Either a causal language model of Hugging Face transformers: its positions,
            masks and cache are taken over, and the result has transformers' own `generate`. Or, with `caches`, a module of
            yours whose `forward(input_ids, position, past_k_0, …)` returns `(logits, k_0, …)`: input_ids (batch, tokens),
            position (tokens,), caches (batch, heads, capacity, features) with the tokens' own rows put in by
            `past.index_copy(2, position, k)`.
        capacity: tokens that a sequence may have; of a model of transformers by default its `max_position_embeddings`. The
            cache takes heads · features · 4 bytes a token, key or value and layer.
        batch: sequences that run side by side.
        caches: heads and features of each cache, in the order of `forward`.
        threads: of one call; 0 for as many as `engine.runtime` says.
    Returns:
        a `CompiledDecoder`; of a model of transformers a `TransformersDecoder`, which has one.
    Raises:
        UnsupportedModel: operations that are not covered. ValueError: as `engine.compile`; a capacity or batch below 1; a model
            that needs more than tokens, positions and masks; one that reads a cache before its rows are put in.
    """
    check_compilable(model)
    if batch < 1 or (capacity is not None and capacity < 1):
        raise ValueError(f"batch is {batch} and capacity {capacity}; both must be at least 1")
    if any(tensor.dtype in NARROW_TYPES for tensor in (*model.parameters(), *model.buffers())):
        model = plain_copy(model).float()
    if caches is None:
        from .of_transformers import compile_transformers

        return compile_transformers(model, capacity, batch, threads)
    if capacity is None:
        raise ValueError("capacity is missing: how many tokens a sequence may have")
    return CompiledDecoder(compiled_step(model, capacity, batch, caches, threads, type(model).__name__))

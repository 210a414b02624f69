"""Causal language models of Hugging Face transformers: their step, and their `generate` with it."""

import copy
import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...channels.export import plain_copy
from ...measure.difference import difference
from .compiled_decoder import CompiledDecoder
from .step import compiled_step

TOLERANCE = 1e-4  # of the step's logits, of the largest, against the model as it is called by its users


def compile_transformers(model: Any, capacity: "int | None", batch: int, threads: int) -> "TransformersDecoder":
    """See `compile_decoder`."""
    if not callable(getattr(model, "generate", None)) or not hasattr(model, "config"):
        raise ValueError(
            f"{type(model).__name__} is no causal language model of transformers; for a step of your own pass the heads and "
            f"features of its caches"
        )
    config = model.config.get_text_config(decoder=True)
    if getattr(config, "is_encoder_decoder", False) or getattr(config, "add_cross_attention", False):
        raise ValueError(f"{type(model).__name__} attends to an encoder; decoders alone are covered")
    most: Any = getattr(config, "max_position_embeddings", None)
    if capacity is None and most is None:
        raise ValueError(f"capacity is missing: {type(config).__name__} has no max_position_embeddings")
    if most is not None and capacity is not None and capacity > most:
        raise ValueError(f"capacity is {capacity}; the model has {most} positions")
    rows = int(most if capacity is None else capacity)
    step = Step(plain_copy(model), config, rows)
    caches = step.caches()
    ids = torch.randint(0, config.vocab_size, (batch, min(5, rows)), generator=torch.Generator().manual_seed(0))
    pasts = [torch.zeros(batch, heads, rows, features) for heads, features in caches]
    with torch.inference_mode():
        found = step(ids, torch.arange(ids.shape[1]), *pasts)[0]
        expected = model(input_ids=ids, use_cache=False).logits
    if not (error := difference(found.numpy(), expected.numpy())) <= TOLERANCE:
        raise ValueError(
            f"{type(model).__name__} with a cache given from outside differs from the model by {error:.1e} of its largest "
            f"logit: it needs more than tokens, positions and masks, and cannot be compiled as a decoder"
        )
    return TransformersDecoder(model, CompiledDecoder(compiled_step(step, rows, batch, caches, threads, type(model).__name__)))


class Step(nn.Module):
    """forward(input_ids, position, past_k_0, past_v_0, …) → (logits, k_0, v_0, …) of a language model."""

    def __init__(self, model: Any, config: Any, capacity: int) -> None:
        super().__init__()
        self.model, self._config, self._capacity = model, config, capacity
        self._cache_argument = cache_argument(model)
        _tabulate_rotations(model, config, capacity)

    def forward(self, input_ids: Tensor, position: Tensor, *pasts: Tensor) -> "tuple[Tensor, ...]":
        """See the class."""
        cache = _given(pasts, position)
        made = self.model(
            input_ids=input_ids,
            position_ids=position[None],
            attention_mask=self._masks(position),
            use_cache=True,
            **{self._cache_argument: cache},
        )
        return (made.logits, *cache.made)

    def caches(self) -> list[tuple[int, int]]:
        """Heads and features of each cache, keys and values in turn, from a run on one token."""
        cache = _given(None, torch.zeros(1, dtype=torch.int64))
        with torch.inference_mode():
            self.model(
                input_ids=torch.zeros(1, 1, dtype=torch.int64),
                position_ids=torch.zeros(1, 1, dtype=torch.int64),
                attention_mask=None,
                use_cache=True,
                **{self._cache_argument: cache},
            )
        return [(x.shape[1], x.shape[3]) for x in cache.made]

    def _masks(self, position: Tensor) -> Any:
        """Which rows of the cache each token sees: as transformers takes them where it is not to make them."""
        rows, at = torch.arange(self._capacity)[None, :], position[:, None]
        full = at >= rows
        window: Any = getattr(self._config, "sliding_window", None)
        slides = window is not None and window < self._capacity
        kinds = {"full_attention": full, "sliding_attention": full & (at - rows < window) if slides else full}
        plain = getattr(self._config, "_attn_implementation", "sdpa") == "sdpa"
        shown = {kind: self._as_taken(mask, plain) for kind, mask in kinds.items()}
        layers = getattr(self._config, "layer_types", None)
        if layers is not None and takes_masks_by_kind(self.model):
            return {kind: shown[kind] for kind in set(layers)}
        return shown["sliding_attention" if slides and layers is None else "full_attention"]

    @staticmethod
    def _as_taken(mask: Tensor, plain: bool) -> Tensor:
        mask = mask[None, None]
        return mask if plain else torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))


def cache_argument(model: Any) -> str:
    """What the model calls its cache: `past_key_values` in transformers of old."""
    names = inspect.signature(type(model).forward).parameters
    return "cache" if "cache" in names else "past_key_values"


def takes_masks_by_kind(model: Any) -> bool:
    """Whether its layers differ in what they see, and take their masks from a mapping."""
    base = getattr(model, getattr(model, "base_model_prefix", ""), model)
    return "isinstance(causal_mask_mapping" in inspect.getsource(inspect.unwrap(type(base).forward))


def _given(pasts: "tuple[Tensor, ...] | None", position: Tensor) -> Any:
    from transformers.cache_utils import Cache

    class Given(Cache):
        """Puts rows into tensors that were given; without any it notes the rows alone."""

        def __init__(self) -> None:
            super().__init__(layers=[])
            self.made: list[Tensor] = []

        def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> Any:
            if len(self.made) != 2 * layer_idx:
                raise ValueError(f"layer {layer_idx} takes its keys and values out of turn; each layer needs its own, once")
            rows: tuple[Tensor, ...] = (key_states, value_states)
            if pasts is not None:
                rows = tuple(pasts[2 * layer_idx + i].index_copy(2, position, x) for i, x in enumerate(rows))
            self.made += rows
            return rows

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return 0

        def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
            return query_length, 0

    return Given()


class _Rotation(nn.Module):
    """Cosines and sines of a rotary embedding (Su et al., 2021) for all positions there are."""

    def __init__(self, rotary: nn.Module, kinds: "list[str | None]", capacity: int) -> None:
        super().__init__()
        for kind in kinds:
            with torch.inference_mode():
                pair = rotary(torch.zeros(1, 1, 1), torch.arange(capacity)[None], *([] if kind is None else [kind]))
            for name, table in zip(("cos", "sin"), pair, strict=True):
                self.register_buffer(f"{name}_{kind}", table[0].clone())

    def forward(self, x: Tensor, position_ids: Tensor, layer_type: "str | None" = None) -> tuple[Tensor, ...]:
        """Rows of both tables."""
        return tuple(functional.embedding(position_ids, getattr(self, f"{name}_{layer_type}")) for name in ("cos", "sin"))


def _tabulate_rotations(model: nn.Module, config: Any, capacity: int) -> None:
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RotaryEmbedding"):
            by_kind = "layer_type" in inspect.signature(type(module).forward).parameters
            kinds: list[str | None] = sorted(set(config.layer_types)) if by_kind else [None]
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, _Rotation(module, kinds, capacity))


class TransformersDecoder:
    """A compiled decoder with the `generate` of the model that it is of.

    Attributes:
        decoder: the step and its cache.
        model: the model, sharing its tensors, whose forward is the compiled step.
    """

    def __init__(self, model: Any, decoder: CompiledDecoder) -> None:
        self.decoder = decoder
        self.model = copy.copy(model)
        self._cache_argument = cache_argument(model)
        self.model.__dict__["forward"] = self._forward

    def generate(self, inputs: Any = None, **kwargs: Any) -> Any:
        """What `generate` of transformers does, with all it takes: greedy, sampling, beams (`batch` has to be as large).

        Raises:
            ValueError: tokens that are masked out, a batch of another size than was compiled, more tokens than the capacity.
        """
        self.decoder.reset()
        if kwargs.get("use_cache") is False:
            raise ValueError("use_cache is False; a compiled decoder has its cache, and computes new tokens alone")
        return self.model.generate(inputs, **kwargs, **{self._cache_argument: self._cache()})

    def __call__(self, input_ids: Any) -> Any:
        """Logits of tokens that follow those so far, a torch tensor; `decoder.reset()` begins anew."""
        return torch.from_numpy(self.decoder.forward(input_ids))

    def _forward(self, input_ids: Tensor, attention_mask: Any = None, logits_to_keep: int = 0, **others: Any) -> Any:
        from transformers.modeling_outputs import CausalLMOutputWithPast

        if isinstance(attention_mask, Tensor) and not bool((attention_mask != 0).all()):
            raise ValueError("attention_mask hides tokens; a compiled decoder takes prompts of one length without padding")
        logits = torch.from_numpy(self.decoder.forward(input_ids))
        names = inspect.signature(CausalLMOutputWithPast).parameters
        name = self._cache_argument if self._cache_argument in names else "past_key_values"
        return CausalLMOutputWithPast(logits=logits, **{name: others.get(self._cache_argument)})

    def _cache(self) -> Any:
        from transformers.cache_utils import Cache

        decoder = self.decoder

        class Kept(Cache):
            """Stands for the decoder's own cache in `generate`."""

            def __init__(self) -> None:
                super().__init__(layers=[])

            def get_seq_length(self, layer_idx: int = 0) -> int:
                return decoder.length

            def get_max_length(self, layer_idx: "int | None" = None) -> int:
                return decoder.capacity

            def reorder_cache(self, beam_idx: Tensor) -> None:
                decoder.reorder(beam_idx.numpy())

            is_compileable = False

        return Kept()

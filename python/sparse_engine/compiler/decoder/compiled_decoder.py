"""A compiled step of a decoder with the cache that it writes to in place. Needs numpy only."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import CompiledModel

Array = NDArray[np.float32]


class CompiledDecoder:
    """What `engine.compile_decoder` returns: it takes tokens, remembers keys and values, and gives logits.

    The step itself is `compiled`, a model of named inputs and outputs:
    `compiled(input_ids, position, past_k_0, past_v_0, …)` is `(logits, k_0, v_0, …)`, caches as new arrays. Here they are kept
    and written in place: a step touches the rows it adds, and reads those up to its position. One caller at a time.

    Attributes:
        compiled: the step. It can be saved.
        batch: sequences that run side by side, all of the same length.
        capacity: tokens that a sequence may have.
        length: tokens so far.
    """

    def __init__(self, compiled: CompiledModel) -> None:
        self.compiled = compiled
        self.batch = int(compiled.inputs[0].shape[0])
        self.capacity = int(compiled.inputs[2].shape[2])
        self.length = 0
        self._caches = [np.zeros([int(n) for n in cache.shape], np.float32) for cache in compiled.inputs[2:]]

    def forward(self, input_ids: Any) -> Array:
        """Logits (batch, tokens, vocabulary) of the tokens that come next, any number of them.

        Args:
            input_ids: integers (batch, tokens), an array or a tensor.
        Raises:
            ValueError: another shape or dtype, or more tokens than the capacity; nothing is remembered then.
        """
        ids = np.asarray(input_ids)
        if ids.ndim != 2 or ids.shape[0] != self.batch or ids.shape[1] == 0 or ids.dtype.kind not in "iu":
            raise ValueError(
                f"input_ids are {ids.dtype} of shape {ids.shape}; the decoder was compiled for integers ({self.batch}, tokens)"
                f": compile it with batch={ids.shape[0] if ids.ndim == 2 else self.batch}, or pass another shape"
            )
        tokens = ids.shape[1]
        if self.length + tokens > self.capacity:
            raise ValueError(
                f"{self.length} tokens and {tokens} more are above the capacity of {self.capacity}: reset() to begin anew, or "
                f"compile it with a larger capacity"
            )
        position = np.arange(self.length, self.length + tokens, dtype=np.float32)
        vocabulary = int(self.compiled.outputs[0].shape[-1])
        logits = np.empty((self.batch, tokens, vocabulary), np.float32)
        inputs = [np.ascontiguousarray(ids, np.float32), position, *self._caches]
        self.compiled.run_into(tokens, inputs, [logits, *self._caches])
        self.length += tokens
        return logits

    def reset(self) -> None:
        """Forget all tokens."""
        self.length = 0

    def crop(self, length: int) -> None:
        """Forget the tokens from number `length` on. Raises ValueError where there are not as many."""
        if not 0 <= length <= self.length:
            raise ValueError(f"length is {length}; there are {self.length} tokens")
        self.length = length

    def reorder(self, rows: Any) -> None:
        """Let sequence i go on as `rows[i]` does: beam search."""
        order = np.asarray(rows)
        for cache in self._caches:
            cache[:] = cache[order]

    def generate(self, input_ids: Any, max_new_tokens: int, eos_token_id: "int | None" = None) -> NDArray[np.int64]:
        """The most likely token after each one, again and again, from the beginning: what came before is forgotten.

        Args:
            input_ids: the prompt, integers (batch, tokens).
            max_new_tokens: how many at most.
            eos_token_id: ends a sequence, which it fills up then; generation ends when all have ended. None: nothing does.
        Returns:
            prompt and new tokens, int64 (batch, tokens).
        Raises:
            ValueError: as `forward`.
        """
        self.reset()
        found = np.asarray(input_ids).astype(np.int64)
        ended = np.zeros(self.batch, bool)
        given: Any = np.asarray(input_ids)
        for _ in range(max_new_tokens):
            chosen = self.forward(given)[:, -1].argmax(axis=-1)
            if eos_token_id is not None:
                chosen[ended] = eos_token_id
                ended |= chosen == eos_token_id
            given = chosen[:, None]
            found = np.concatenate([found, given], axis=1)
            if ended.all():
                break
        return found

"""A pruned `torch.nn.MultiheadAttention`: dense torch while gradients are needed, projections on sparse weights otherwise."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .. import _core
from ..matrices.functional import native_linear
from . import operators
from .base import Pruned, PrunedWeight, on_stand_ins
from .convert import KINDS
from .fallback import DISABLED, NOT_OWN, TRAINING, native_enabled, transformed
from .formats import DENSE, modelled
from .tracing import takes_operators
from .value_types import NATIVE_TYPES, as_float32, computing_type, unfit_types

PACKED = "in_proj_weight"
SEPARATE = ("q_proj_weight", "k_proj_weight", "v_proj_weight")


class MaskedMultiheadAttention(Pruned, nn.MultiheadAttention):
    """A pruned `torch.nn.MultiheadAttention`: same parameters, same results within rounding; in inference its projections run
    on native sparse kernels where these measure faster."""

    plain = nn.MultiheadAttention

    def forward(self, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """As torch's layer: (output, attention weights or None)."""
        if torch.compiler.is_compiling():
            if self._becomes_operators(query, key, value):
                return self._native(query, key, value, *args, **kwargs)
            return super().forward(query, key, value, *args, **kwargs)
        state = self._sparse
        stand_ins = self._stand_ins()
        if isinstance(self.out_proj, PrunedWeight):  # whose own forward torch never calls
            weight = self.out_proj._masked("weight")
            if weight is not self.out_proj._parameters.get("weight", weight):
                stand_ins.append((self.out_proj, "weight", weight))
        if stand_ins:
            state.fall_back(NOT_OWN)
            return on_stand_ins(stand_ins, partial(super().forward, query, key, value, *args, **kwargs))
        reason = self._unfit(query, key, value)
        if reason is not None:
            state.fall_back(reason)
            return super().forward(query, key, value, *args, **kwargs)
        options = _options(*args, **kwargs)
        ways = {
            DENSE: lambda: super(MaskedMultiheadAttention, self).forward(query, key, value, **options),
            "csr": lambda: self._native(query, key, value, **options),
        }
        # One projection serves where all three are of one tensor, three otherwise.
        shape = (*query.shape, *key.shape, query is key is value)
        dtype = self._type()
        choice = state.choices.exact.get((shape, torch.get_num_threads(), dtype))
        if choice is None:
            tokens = query.numel() // self.embed_dim
            size = (tokens, key.numel() // self.kdim)
            expected = modelled(["csr"], state.density, tokens, dtype)
            kernel, result = state.choices.decide(shape, size, ways, expected, dtype)
            return ways[kernel]() if result is None else result
        choice.left -= 1
        return state.choices.look_again(choice, ways) if choice.left < 0 else ways[choice.kernel]()

    def _type(self) -> torch.dtype:
        """What the layer computes in; its weights under masks are all of one type."""
        return computing_type(next(parameter for parameter, _ in self._sparse.under.values()))

    def _unfit(self, *inputs: Any) -> str | None:
        """Why native code does not take this call, or None."""
        if not native_enabled():
            return DISABLED
        held = [parameter for parameter, _ in self._sparse.under.values()]
        if len(held) != len(self.masks) or any(self._parameters.get(name) is None for name in self.masks):
            return "weights that are not the layer's own"
        parameters = [p for p in self.parameters() if p is not None]
        if self.training or (
            torch.is_grad_enabled() and any(getattr(t, "requires_grad", False) for t in (*inputs, *parameters))
        ):
            return TRAINING
        for x in inputs:
            if type(x) is not Tensor or x.layout is not torch.strided or x.dim() not in (2, 3) or x.numel() == 0:
                return "an input of another kind"
        if not all(t.is_cpu for t in (*inputs, *held)):
            return "native kernels run on the CPU"
        if (types := unfit_types(*held, *inputs, self.in_proj_bias)) is not None:
            return types
        if self.bias_k is not None or self.bias_v is not None or self.add_zero_attn:
            return "keys or values beside those of the input"
        query, key, value = inputs
        tokens = query.dim() == key.dim() == value.dim() and key.shape[:-1] == value.shape[:-1]
        if not tokens or [x.shape[-1] for x in inputs] != [self.embed_dim, self.kdim, self.vdim]:
            return "sizes that torch refuses"
        if any(map(transformed, inputs)):
            return "a torch transform or trace is active"
        return None

    def _becomes_operators(self, *inputs: Any) -> bool:
        """Whether a graph that torch is tracing gets projections as operators."""
        masked = [self._parameters.get(name) for name in self.masks]
        if any(weight is None for weight in masked) or not all(isinstance(x, Tensor) and x.dim() in (2, 3) for x in inputs):
            return False
        if self.bias_k is not None or self.bias_v is not None or self.add_zero_attn:
            return False
        tokens = inputs[0].dim() == inputs[1].dim() == inputs[2].dim()
        widths = [x.shape[-1] for x in inputs] == [self.embed_dim, self.kdim, self.vdim]
        parameters = [*masked, self.in_proj_bias, *self.out_proj._parameters.values()]
        dtype = masked[0].dtype  # type: ignore[union-attr]
        return tokens and widths and dtype in NATIVE_TYPES and takes_operators(self, list(inputs), parameters, dtype)

    def _linear(self, x: Tensor, bias: Tensor | None, name: str, part: int | None = None) -> Tensor:
        """A projection by a masked weight, or by a third of the packed one."""
        if torch.compiler.is_compiling():
            rows = (0, None) if part is None else (part * self.embed_dim, (part + 1) * self.embed_dim)
            return operators.linear(x, self._parameters[name], bias, *rows)  # type: ignore[no-any-return]
        dtype = self._type()
        matrix = self._matrix(name, part, dtype)
        if dtype is torch.float32:
            return native_linear(x, matrix, bias)  # type: ignore[no-any-return]
        added = None if bias is None else as_float32(bias, dtype)
        return native_linear(as_float32(x, dtype), matrix, added).to(dtype)  # type: ignore[no-any-return]

    def _matrix(self, name: str, part: int | None, dtype: torch.dtype) -> _core.Matrix:
        """A projection's weight, or a third of the packed one, as native kernels read it."""
        if part is None:
            return self._sparse.pack(name, dtype=dtype).matrix("csr")
        rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
        return self._sparse.pack(name, (name, part), lambda weight: weight[rows], dtype).matrix("csr")

    def _projected(self, inputs: tuple[Tensor, Tensor, Tensor]) -> list[Tensor]:
        """Queries, keys and values, (batch, tokens, features) each."""
        bias: Tensor | None = self.in_proj_bias
        masked = self.masks
        if PACKED in masked and inputs[0] is inputs[1] is inputs[2]:
            return list(self._linear(inputs[0], bias, PACKED).chunk(3, dim=-1))
        found = []
        for part, x in enumerate(inputs):
            own = None if bias is None else bias[part * self.embed_dim : (part + 1) * self.embed_dim]
            if PACKED in masked:
                found.append(self._linear(x, own, PACKED, part))
            elif SEPARATE[part] in masked:
                found.append(self._linear(x, own, SEPARATE[part]))
            else:
                packed: Any = self._parameters[PACKED]
                rows = slice(part * self.embed_dim, (part + 1) * self.embed_dim)
                weight: Any = self._parameters[SEPARATE[part]] if packed is None else packed[rows]
                found.append(F.linear(x, weight, own))
        return found

    def _native(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        batched = query.dim() == 3
        inputs: tuple[Tensor, Tensor, Tensor] = (query, key, value)
        if not batched or not self.batch_first:
            first, second, third = (x.transpose(0, 1) if batched else x[None] for x in inputs)
            inputs = (first, first, first) if query is key is value else (first, second, third)  # one tensor stays one
        batch, length = inputs[0].shape[:2]
        heads, width = self.num_heads, self.embed_dim // self.num_heads
        q, k, v = (x.reshape(batch, -1, heads, width).transpose(1, 2) for x in self._projected(inputs))
        mask = self._mask(attn_mask, key_padding_mask, batch, length, k.shape[2], q.dtype)
        weights: Tensor | None = None
        if need_weights:
            scores = (q / math.sqrt(width)) @ k.transpose(2, 3)
            weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
            out = weights @ v
            weights = weights.mean(dim=1) if average_attn_weights else weights
            weights = weights if batched else weights[0]
        else:
            out = F.scaled_dot_product_attention(q, k, v, mask)
        y = self.out_proj(out.transpose(1, 2).reshape(batch, length, self.embed_dim))
        y = y[0] if not batched else y if self.batch_first else y.transpose(0, 1)
        return y, weights

    def _mask(
        self, attention: Tensor | None, padding: Tensor | None, batch: int, length: int, keys: int, dtype: torch.dtype
    ) -> Tensor | None:
        """What is added to the scores, broadcast over (batch, heads, length, keys)."""
        total: Tensor | None = None
        for name, given, shape in (
            (
                "attn_mask",
                attention,
                (-1, self.num_heads, length, keys) if attention is not None and attention.dim() == 3 else (1, 1, length, keys),
            ),
            ("key_padding_mask", padding, (batch, 1, 1, keys)),
        ):
            if given is None:
                continue
            added = F._canonical_mask(given, name, None, "", dtype, check_other=False)
            assert added is not None
            added = added.reshape(shape).to(dtype)
            total = added if total is None else total + added
        return total


KINDS[nn.MultiheadAttention] = MaskedMultiheadAttention


def _options(
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Mapping[str, Any]:
    """The arguments of a call by name, wherever they stood."""
    return {
        "key_padding_mask": key_padding_mask,
        "need_weights": need_weights,
        "attn_mask": attn_mask,
        "average_attn_weights": average_attn_weights,
        "is_causal": is_causal,
    }

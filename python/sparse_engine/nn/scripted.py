"""What `torch.jit.script` compiles for pruned layers: the source of the plain ones.

That of torch's recurrent layers cannot be borrowed, because its overloads are tied to its own classes: here they are again, on
tensors, with a batch or without.
"""

from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn


def script_as(pruned: type[nn.Module], plain: Any) -> None:
    """Have `torch.jit.script` read the source of `plain` for the forward of class `pruned`, whose own it cannot compile.

    Its names are looked up in the file of that forward: `F` and `Tensor` are all that the forwards of torch's layers need.
    """
    own: Any = pruned.forward
    forward = FunctionType(own.__code__, own.__globals__, own.__name__, own.__defaults__, own.__closure__)
    forward.__kwdefaults__, forward.__doc__, forward.__annotations__ = own.__kwdefaults__, own.__doc__, own.__annotations__
    forward.__qualname__ = f"{pruned.__qualname__}.forward"
    forward.__wrapped__ = plain  # type: ignore[attr-defined]
    pruned.forward = forward


def lstm(self: Any, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """As `torch.nn.LSTM` on tensors."""
    batched = input.dim() == 3
    axis = 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(axis)
    directions = 2 if self.bidirectional else 1
    if hx is None:
        size = self.proj_size if self.proj_size > 0 else self.hidden_size
        h = torch.zeros(self.num_layers * directions, x.size(axis), size, dtype=x.dtype, device=x.device)
        c = torch.zeros(self.num_layers * directions, x.size(axis), self.hidden_size, dtype=x.dtype, device=x.device)
    else:
        h = hx[0] if batched else hx[0].unsqueeze(1)
        c = hx[1] if batched else hx[1].unsqueeze(1)
    weights = self._flat_weights
    y, h, c = torch.lstm(
        x,
        [h, c],
        weights,
        self.bias,
        self.num_layers,
        float(self.dropout),
        self.training,
        self.bidirectional,
        self.batch_first,
    )
    if not batched:
        y, h, c = y.squeeze(axis), h.squeeze(1), c.squeeze(1)
    return y, (h, c)


def gru(self: Any, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """As `torch.nn.GRU` on tensors."""
    batched = input.dim() == 3
    axis = 0 if self.batch_first else 1
    x = input if batched else input.unsqueeze(axis)
    directions = 2 if self.bidirectional else 1
    if hx is None:
        h = torch.zeros(self.num_layers * directions, x.size(axis), self.hidden_size, dtype=x.dtype, device=x.device)
    else:
        h = hx if batched else hx.unsqueeze(1)
    weights = self._flat_weights
    y, h = torch.gru(
        x,
        h,
        weights,
        self.bias,
        self.num_layers,
        float(self.dropout),
        self.training,
        self.bidirectional,
        self.batch_first,
    )
    if not batched:
        y, h = y.squeeze(axis), h.squeeze(1)
    return y, h

"""Attention heads that go as one: the rows that make a head's queries, keys and values, and the columns that take its output.

With these columns gone a head adds nothing to the result, whatever biases are left; what feeds it goes with it.

Source: Michel, Levy, Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .kinds import KINDS, known_kind
from .layer import Pruned
from .masking import guard
from .ranked import Part, Piece
from .several import PrunedSeveral

REASON = "masked; torch's attention reads its weights itself and has no native kernel"
COUNTS = ("num_heads", "n_heads", "num_attention_heads", "n_head")  # how modules call their number of heads
ROLES = (
    ("q_proj", "query", "q_lin", "q", "wq", "to_q"),
    ("k_proj", "key", "k_lin", "k", "wk", "to_k"),
    ("v_proj", "value", "v_lin", "v", "wv", "to_v"),
    ("out_proj", "o_proj", "out", "out_lin", "o", "wo", "to_out", "dense"),
)


class Heads(Part):
    """The weights of an attention layer, a row for each head.

    Args:
        inner: modules and names of the parameters whose rows make queries, keys or values; a packed one holds all three.
        outer: module and name of the parameter whose columns take the heads' outputs.
    """

    def __init__(self, count: int, inner: Sequence[tuple[nn.Module, str]], outer: tuple[nn.Module, str]) -> None:
        self.count, self.places = count, [*inner, outer]
        self.width = outer[0]._parameters[outer[1]].shape[1] // count  # type: ignore[union-attr]

    def view(self, whole: Sequence[Tensor]) -> Tensor:
        """(heads, all weights of a head)."""
        rows = [w.reshape(-1, self.count, self.width * w.shape[1]).transpose(0, 1).flatten(1) for w in whole[:-1]]
        columns = whole[-1].reshape(-1, self.count, self.width).transpose(0, 1).flatten(1)
        return torch.cat([*rows, columns], dim=1)

    def pieces(self, kept: NDArray[np.bool_]) -> list[Piece]:
        """Whole parameters: of every head the same share of each."""
        found: list[Piece] = []
        first = 0
        for (module, name), whole in zip(self.places, self.parameters(), strict=True):
            rows, columns = whole.shape
            own = kept[:, first : first + whole.numel() // self.count]
            first += own.shape[1]
            if len(found) == len(self.places) - 1:  # the output's columns
                flags = own.reshape(self.count, rows, self.width).swapaxes(0, 1)
            else:
                flags = own.reshape(self.count, -1, self.width * columns).swapaxes(0, 1)
            found.append((module, name, ..., np.ascontiguousarray(flags.reshape(rows, columns))))
        return found


class MaskedMultiheadAttention(PrunedSeveral, nn.MultiheadAttention):
    """A pruned `torch.nn.MultiheadAttention`: masked, computed dense."""

    plain = nn.MultiheadAttention

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As torch's layer: (output, attention weights or None)."""
        if not torch.compiler.is_compiling():
            self._hold()
            out: Any = self.out_proj
            if isinstance(out, Pruned):  # whose own forward torch never calls
                out._weight()
                guard(out.weight, out.mask, gradient=True)  # type: ignore[arg-type]
            self._sparse.fall_back(REASON)
        return super().forward(*args, **kwargs)


KINDS[nn.MultiheadAttention] = MaskedMultiheadAttention


def is_attention(module: nn.Module) -> bool:
    """Whether `module` is torch's attention, pruned or not."""
    return isinstance(module, nn.MultiheadAttention) and known_kind(module) is MaskedMultiheadAttention


def projections(module: nn.Module) -> list[str]:
    """Names of the parameters that make queries, keys and values in torch's attention."""
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [name for name in names if module._parameters.get(name) is not None]


def attentions(model: nn.Module) -> Iterator[tuple[str, Heads | None, str]]:
    """(name, heads, "") of every attention layer of `model`, or (name, None, why not) where its heads cannot be told apart."""
    for name, module in model.named_modules():
        if is_attention(module):
            torchs: Any = module
            inner = [(module, parameter) for parameter in projections(module)]
            yield name, Heads(torchs.num_heads, inner, (torchs.out_proj, "weight")), ""
        elif isinstance(module, nn.MultiheadAttention):
            yield name, None, f"{type(module).__name__} is a subclass with arithmetic of its own"
        else:
            yield from _separate(name, module)


def _separate(name: str, module: nn.Module) -> Iterator[tuple[str, Heads | None, str]]:
    """The same of a module with a linear layer for each of queries, keys, values and output."""
    count = next((c for c in (getattr(module, n, None) for n in COUNTS) if type(c) is int and c > 0), None)
    layers: list[Any] = [next((m for n in role if _prunable(m := module._modules.get(n))), None) for role in ROLES]
    *inner, outer = layers
    if count is None or None in inner:
        return
    rows = [layer.weight.shape[0] for layer in inner]
    if outer is None:
        yield name, None, "its output projection is not one of its own linear layers"
    elif len({*rows, outer.weight.shape[1]}) > 1:
        yield name, None, f"heads share keys or values: its projections give {', '.join(map(str, rows))} rows"
    elif rows[0] % count:
        yield name, None, f"the {rows[0]} rows of its projections do not fall into {count} heads"
    else:
        yield name, Heads(count, [(layer, "weight") for layer in inner], (outer, "weight")), ""


def _prunable(layer: Any) -> bool:
    return isinstance(layer, nn.Linear) and (isinstance(layer, Pruned) or known_kind(layer) is not None)

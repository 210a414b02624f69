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

from ..nn.attention import MaskedMultiheadAttention
from ..nn.base import Pruned
from ..nn.convert import known_kind
from .targets import MaskUpdate, PartialTarget, is_linear, is_turned

COUNTS = ("num_heads", "n_heads", "num_attention_heads", "n_head")  # how modules and their configs call their number of heads
SHARED_COUNTS = ("num_key_value_heads", "num_kv_heads", "n_kv_heads")  # and of keys and values, where fewer
ROLES = (
    ("q_proj", "query", "q_lin", "q", "wq", "to_q"),
    ("k_proj", "key", "k_lin", "k", "wk", "to_k"),
    ("v_proj", "value", "v_lin", "v", "wv", "to_v"),
)
PACKED = ("qkv", "c_attn")  # queries, keys and values one below the other
OUTPUTS = ("out_proj", "o_proj", "out", "out_lin", "o", "wo", "to_out", "dense", "proj", "c_proj")
AFTER = ("output", *OUTPUTS)  # modules beside the one with the projections, where the output projection may lie


class Heads(PartialTarget):
    """The weights of an attention layer, a row for each head; of heads that share keys and values a row for each such group.

    Args:
        count: heads of keys and values; each has as many of the queries' heads, which follow one another.
        inner: modules and names of the parameters whose rows make queries, keys or values; a single one holds all three.
        outer: module and name of the parameter whose columns take the heads' outputs.
        turned: whether weights are stored (in, out), so that rows are columns.
    """

    def __init__(
        self, count: int, inner: Sequence[tuple[nn.Module, str]], outer: tuple[nn.Module, str], turned: bool = False
    ) -> None:
        self.count, self.owners, self.turned = count, [*inner, outer], turned
        self.packed = 3 if len(inner) == 1 else 1

    def view(self, whole: Sequence[Tensor]) -> Tensor:
        """(heads, all weights of a head)."""
        *inner, outer = [w.t() if self.turned else w for w in whole]
        rows = [w.reshape(self.packed, self.count, -1).transpose(0, 1).flatten(1) for w in inner]
        columns = outer.reshape(outer.shape[0], self.count, -1).transpose(0, 1).flatten(1)
        return torch.cat([*rows, columns], dim=1)

    def mask_updates(self, kept: NDArray[np.bool_]) -> list[MaskUpdate]:
        """Whole parameters: of every head the same share of each."""
        found: list[MaskUpdate] = []
        first = 0
        for (module, name), whole in zip(self.owners, self.parameters(), strict=True):
            shape = whole.shape[::-1] if self.turned else whole.shape
            own = kept[:, first : first + whole.numel() // self.count]
            first += own.shape[1]
            parts = shape[0] if len(found) == len(self.owners) - 1 else self.packed  # the output's rows hold a bit of all heads
            flags = own.reshape(self.count, parts, -1).swapaxes(0, 1).reshape(shape)
            found.append((module, name, ..., np.ascontiguousarray(flags.T if self.turned else flags)))
        return found


def is_attention(module: nn.Module) -> bool:
    """Whether `module` is torch's attention, pruned or not."""
    return isinstance(module, nn.MultiheadAttention) and known_kind(module) is MaskedMultiheadAttention


def projections(module: nn.Module) -> list[str]:
    """Names of the parameters that make queries, keys and values in torch's attention."""
    names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
    return [name for name in names if module._parameters.get(name) is not None]


def attentions(model: nn.Module) -> Iterator[tuple[str, Heads | None, str]]:
    """(name, heads, "") of every attention layer of `model`, or (name, None, why not) where its heads cannot be told apart."""
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if is_attention(module):
            torchs: Any = module
            inner = [(module, parameter) for parameter in projections(module)]
            yield name, Heads(torchs.num_heads, inner, (torchs.out_proj, "weight")), ""
        elif isinstance(module, nn.MultiheadAttention):
            yield name, None, f"{type(module).__name__} is a subclass with arithmetic of its own"
        else:
            yield from _separate(name, module, modules.get(name.rpartition(".")[0]) if name else None)


def _separate(name: str, module: nn.Module, parent: nn.Module | None) -> Iterator[tuple[str, Heads | None, str]]:
    """`attentions` of one module with a linear layer for each of queries, keys and values, or one for all, and the output
    projection in it or beside it; then the attention layer is the `parent` of both."""
    inner: list[Any] = [_first(module, role) for role in ROLES]
    if None in inner:
        inner = [_first(module, PACKED)]
    count = _count(module, COUNTS)
    if count is None or None in inner:
        return
    outer = _first(module, OUTPUTS)
    if outer is None and parent is not None:
        beside = [m for m in (parent._modules.get(n) for n in AFTER) if m is not None and m is not module]
        outer = next((found for m in beside if (found := m if _prunable(m) else _first(m, OUTPUTS)) is not None), None)
        name = name if outer is None else name.rpartition(".")[0]
    if outer is None:
        yield name, None, "its output projection is not one of its own linear layers"
        return
    turned = {is_turned(layer) for layer in (*inner, outer)}
    rows = [_rows(layer) for layer in inner]
    columns = outer.weight.numel() // _rows(outer)
    groups = (_count(module, SHARED_COUNTS) if len(inner) > 1 else None) or count
    shared = [columns, *[columns * groups // count] * 2]
    if len(turned) > 1 or rows not in (shared, [3 * columns]):
        given = f"{', '.join(map(str, rows))} rows for {columns} columns of its output"
        yield name, None, f"heads share keys or values: its projections give {given}"
    elif columns % count or count % groups:
        what = f"the {columns} rows of its projections do not fall into {count} heads"
        yield name, None, what if columns % count else f"its {count} heads do not fall into {groups} groups"
    else:
        yield name, Heads(groups, [(layer, "weight") for layer in inner], (outer, "weight"), turned.pop()), ""


def _first(module: nn.Module, names: Sequence[str]) -> Any:
    """The first linear layer of `module` with one of these names."""
    return next((m for n in names if _prunable(m := module._modules.get(n))), None)


def _count(module: nn.Module, names: Sequence[str]) -> int | None:
    """A number that `module` or its config has under one of these names."""
    holders = (module, getattr(module, "config", None))
    return next((c for at in holders for n in names if type(c := getattr(at, n, None)) is int and c > 0), None)


def _rows(layer: Any) -> int:
    """Outputs of a linear layer."""
    return int(layer.weight.shape[1 if is_turned(layer) else 0])


def _prunable(layer: Any) -> bool:
    """Whether `layer` is a linear one that can be masked."""
    known = isinstance(layer, nn.Linear) and known_kind(layer) is not None
    return known or is_turned(layer) or (isinstance(layer, Pruned) and is_linear(layer))

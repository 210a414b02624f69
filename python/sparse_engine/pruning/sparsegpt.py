"""Criterion "obs": one-shot pruning that moves the weights which stay so that each layer's output changes least.

Layer by layer, in the order they run: the layers before are pruned already when a layer's inputs are looked at. Memory is that
of one layer's Hessian, (in · kernel)² numbers of a group, and of what layer_inputs.py remembers.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023, after Hassibi and Stork, "Optimal Brain Surgeon", 1993.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from ..masking.mask import Mask, keep_largest
from ..measure.eval_mode import eval_mode
from ..measure.model_calls import Arguments, every_layer_called, first_of, real_positions, without_padding
from ..nn.fallback import dense_only
from .attachment import put_under
from .calibration import calls_of, require_seen
from .granularity import NofM
from .granularity_value import Granularity
from .input_squares import padded_input
from .layer_inputs import Irregular, walk
from .mask_strategy import choose_masks
from .rows import largest_in_rows, row_counts
from .spec import Spec
from .targets import TRANSPOSED, as_stored, is_linear, weight_of

BLOCK = 128  # columns whose mask is chosen together
STRIP = 32  # of a block, columns after which what they lost is made up for in the rest of it
DAMPING = 0.01  # of the mean diagonal, so that inputs that hardly vary do not make the Hessian singular


class _StopForward(BaseException):
    """Ends a forward pass whose rest nobody needs."""


def prune_sparsegpt(model: nn.Module, spec: Spec, *, data: Iterable[Any] | None) -> None:
    """`prune` for criterion "obs": each selected layer is solved, in the order they run, and comes under its mask.

    Raises:
        ValueError: no data, or a layer that no batch reached.
    """
    layers, masks = choose_masks(model, spec, data=data, loss=None, example_inputs=None)
    assert data is not None  # `choose_masks` asked for it
    if any(isinstance(layer, TRANSPOSED) for layer in layers):
        raise ValueError(
            f"criterion = {spec.criterion!r} does not solve transposed convolutions: exclude them, or use another criterion"
        )
    keep = [mask.kept for mask in masks]
    solve_layers(model, layers, keep, spec.granularity, spec.scope == "row", data)


def solve_layers(
    model: nn.Module, layers: Sequence[Any], keep: Sequence[int], granularity: Granularity, by_row: bool, data: Iterable[Any]
) -> None:
    """Prune each of `layers` to its number of weights, with `by_row` the same number in each row.

    Raises:
        ValueError: no data, or a layer that no batch reached.
    """
    calls = list(calls_of(model, data))
    if not calls:
        raise ValueError("data holds no batch; pass an iterable of batches")
    counts = dict(zip(layers, keep, strict=True))
    real = [real_positions(model, call) for call in calls]
    factors = _Factors(real)

    def solve(layer: Any, given: list[Arguments]) -> None:
        factor = factors.of(layer, [first_of(*one) for one in given])
        weight, mask = solved(weight_of(layer), factor, counts.pop(layer), granularity, by_row)
        layer.weight.copy_(as_stored(layer, weight))
        put_under(model, [layer], [mask])

    # Each layer runs once or twice while pruned: not worth finding out which kernel is the fastest.
    with eval_mode(model), torch.no_grad(), every_layer_called(), dense_only():
        order = _in_order(model, layers, calls[0])
        with suppress(Irregular):
            walk(model, calls, order, solve)
        for layer in [layer for layer in order if layer in counts]:
            solve(layer, _given(model, layer, calls))


class _Factors:
    """The factors of layers' Hessians; neighbours that are given the same, as queries, keys and values are, share them."""

    def __init__(self, real: list[Tensor | None]) -> None:
        self.real = real
        self.kind: Any = None
        self.inputs: list[Tensor] = []
        self.found: Any = None

    def of(self, layer: Any, inputs: list[Tensor]) -> "tuple[Tensor, Tensor]":
        """For inputs, one a batch: what `factorised` gives."""
        linear = is_linear(layer)
        kind = type(layer).plain if hasattr(type(layer), "plain") else type(layer)
        same = linear and kind is self.kind and len(inputs) == len(self.inputs)
        if not (same and all(torch.equal(a, b) for a, b in zip(inputs, self.inputs, strict=True))):
            real = self.real if linear and len(inputs) == len(self.real) else [None] * len(inputs)
            hessian: Tensor | None = None
            for x, positions in zip(inputs, real, strict=True):
                columns = input_columns(layer, without_padding(x, positions) if linear else x)
                if hessian is None:
                    hessian = columns.new_zeros(columns.shape[0], columns.shape[1], columns.shape[1])
                hessian.baddbmm_(columns, columns.transpose(1, 2))
            assert hessian is not None
            self.kind, self.inputs, self.found = kind, inputs, factorised(hessian)
        return self.found  # type: ignore[no-any-return]


def factorised(hessians: Tensor) -> tuple[Tensor, Tensor]:
    """For Σ x·xᵀ of each group, (groups, K, K): the upper factor of the damped inverse, and which inputs are always 0.

    Row i of the factor says how the columns after i make up for column i.
    """
    factors = []
    dead = hessians.diagonal(dim1=1, dim2=2) == 0
    for hessian, own in zip(hessians, dead, strict=True):
        damped = hessian.double()
        diagonal = damped.diagonal()
        diagonal[own] = 1.0  # their weights do nothing
        diagonal.add_(DAMPING * diagonal.mean())
        # Turned round, the lower factor of H gives the upper one of its inverse, without making the inverse.
        lower = torch.linalg.cholesky(damped.flip(0, 1)).to(hessian.dtype)
        factors.append(_lower_inverse(lower).flip(0, 1))
    return torch.stack(factors), dead


def _lower_inverse(lower: Tensor) -> Tensor:
    """The inverse of a lower triangular matrix, by halves: products take most of the time."""
    size = len(lower)
    if size <= BLOCK:
        small: Tensor = torch.linalg.solve_triangular(
            lower, torch.eye(size, dtype=lower.dtype, device=lower.device), upper=False
        )
        return small
    half = size // 2
    first, last = _lower_inverse(lower[:half, :half]), _lower_inverse(lower[half:, half:])
    result = torch.zeros_like(lower)
    result[:half, :half], result[half:, half:] = first, last
    result[half:, :half] = -(last @ (lower[half:, :half] @ first))
    return result


def solved(
    weight: Tensor, factors: tuple[Tensor, Tensor], keep: int, granularity: Granularity, by_row: bool = False
) -> tuple[Tensor, Mask]:
    """A weight with `keep` entries that are not zero, and its mask, for the inputs that `factorised` was given."""
    rows = _working(weight.detach().reshape(weight.shape[0], -1))
    groups = factors[0].shape[0]
    per_group = rows.shape[0] // groups
    parts, flags = [], []
    for group, (factor, dead) in enumerate(zip(*factors, strict=True)):
        part = rows[group * per_group : (group + 1) * per_group].t().contiguous()
        part[dead] = 0.0
        share = keep * (group + 1) // groups - keep * group // groups
        kept = _prune_columns(part, factor.to(part.dtype), share, granularity, by_row)
        parts.append(torch.where(kept, part, 0.0).t())
        flags.append(kept.t())
    result = torch.cat(parts).to(weight.dtype).reshape(weight.shape)
    return result, Mask.from_numpy(torch.cat(flags).contiguous().cpu().numpy().reshape(weight.shape))


def _prune_columns(w: Tensor, factor: Tensor, keep: int, granularity: Granularity, by_row: bool) -> Tensor:
    """Which entries of `w` stay, (columns, rows), a column of the weight after the other; `w` becomes what they are then."""
    columns, rows = w.shape
    group = granularity.m if isinstance(granularity, NofM) else 1
    block_size, strip_size = BLOCK // group * group, STRIP // group * group
    kept = torch.ones(w.shape, dtype=torch.bool, device=w.device)
    counts = row_counts(keep, rows)
    for first in range(0, columns, block_size):
        last = min(columns, first + block_size)
        own, block, flags = factor[first:last, first:last], w[first:last], kept[first:last]
        inverse_diagonal = own.diagonal().reciprocal()[:, None]
        if not isinstance(granularity, NofM):
            worth = (block * inverse_diagonal).t().float().contiguous().cpu().numpy()
            if by_row:
                stay = largest_in_rows(worth, counts * last // columns - counts * first // columns)
            else:
                stay = keep_largest(worth, keep * last // columns - keep * first // columns)
            flags.copy_(torch.from_numpy(stay).t())
        errors = torch.empty_like(block)
        for begin in range(0, last - first, strip_size):
            end = min(last - first, begin + strip_size)
            for i in range(begin, end):
                if isinstance(granularity, NofM) and i % group == 0:
                    now = (block[i : i + group] * inverse_diagonal[i : i + group]).t().float().contiguous().cpu().numpy()
                    bits = _core.keep_n_of_m(now.reshape(-1), now.shape, granularity.n, group)
                    flags[i : i + group] = torch.from_numpy(Mask(bits, now.shape).to_numpy()).t()
                torch.mul(block[i], inverse_diagonal[i], out=errors[i])
                errors[i].masked_fill_(flags[i], 0.0)
                block[i:end].addr_(own[i, i:end], errors[i], alpha=-1)
            block[end:].addmm_(own[begin:end, end:].t(), errors[begin:end], alpha=-1)
        w[last:].addmm_(factor[first:last, last:].t(), errors, alpha=-1)
    return kept


def _working(x: Tensor) -> Tensor:
    """In float32, or float64 where it is that."""
    return x if x.dtype == torch.float64 else x.float()


def _in_order(model: nn.Module, layers: Sequence[Any], call: Arguments) -> list[Any]:
    order: list[Any] = []
    handles = [layer.register_forward_pre_hook(lambda m, _: order.append(m)) for layer in layers]
    try:
        call.call(model)
    finally:
        for handle in handles:
            handle.remove()
    found = list(dict.fromkeys(order))
    require_seen(layers, found)
    return found


def _given(model: nn.Module, layer: Any, calls: Sequence[Arguments]) -> list[Arguments]:
    """What a layer is given in each call, by running the model up to it."""
    found: list[Arguments] = []

    def watch(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(Arguments(args, kwargs))
        raise _StopForward

    handle = layer.register_forward_pre_hook(watch, with_kwargs=True)
    try:
        for call in calls:
            with suppress(_StopForward):
                call.call(model)
    finally:
        handle.remove()
    return found


def input_columns(layer: Any, x: Tensor) -> Tensor:
    """The input as the columns that the weight's rows multiply: (groups, in · kernel / groups, positions)."""
    if is_linear(layer):
        return _working(x.reshape(1, -1, x.shape[-1]).transpose(1, 2))
    axes = len(layer.kernel_size)
    padded = padded_input(layer, x)
    for axis, (size, stride, dilation) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
        reach = (size - 1) * dilation + 1
        padded = padded.unfold(2 + axis, reach, stride)[..., ::dilation]
    # (batch, channels, positions..., kernel...)
    ahead = (1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
    columns = padded.permute(ahead).reshape(layer.in_channels * int(np.prod(layer.kernel_size)), -1)
    return _working(columns.reshape(layer.groups, -1, columns.shape[1]))

"""Criterion "obs": one-shot pruning that moves the weights which stay so that each layer's output changes least.

Layer by layer, in the order they run: the layers before are pruned already when a layer's inputs are looked at. Memory is that
of one layer's Hessian, (in · kernel)² numbers of a group.

Source: Frantar and Alistarh, "SparseGPT", ICML 2023, after Hassibi and Stork, "Optimal Brain Surgeon", 1993.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .evidence import evaluating, padded_input, require_seen, split_batch
from .granularity import Granularity, NofM
from .mask import Mask, keep_largest
from .ranked import as_stored, is_linear, weight_of

BLOCK = 128  # columns whose mask is chosen together
DAMPING = 0.01  # of the mean diagonal, so that inputs that hardly vary do not make the Hessian singular


class _StopForward(Exception):  # noqa: N818
    """Ends a forward pass whose rest nobody needs."""


def surgeon(
    model: nn.Module, layers: Sequence[Any], keep: Sequence[int], granularity: Granularity, data: Iterable[Any], put: Any
) -> None:
    """Prune each of `layers` to its number of weights; `put(layer, mask)` puts it under its mask.

    Raises:
        ValueError: no data, or a layer that no batch reached.
    """
    batches = data if isinstance(data, (list, tuple)) else list(data)
    if not batches:
        raise ValueError("data holds no batch; pass an iterable of batches")
    counts = dict(zip(layers, keep, strict=True))
    with evaluating(model), torch.no_grad():
        for layer in _in_order(model, layers, batches[0]):
            hessians = _hessians(model, layer, batches)
            weight, mask = solved(weight_of(layer), hessians, counts[layer], granularity)
            layer.weight.copy_(as_stored(layer, weight))
            put(layer, mask)


def solved(weight: Tensor, hessians: Tensor, keep: int, granularity: Granularity) -> tuple[Tensor, Mask]:
    """A weight with `keep` entries that are not zero, and its mask, for the inputs that make `hessians` (groups, K, K)."""
    rows = weight.detach().reshape(weight.shape[0], -1).double()
    per_group = rows.shape[0] // hessians.shape[0]
    parts, flags = [], []
    for group, hessian in enumerate(hessians):
        part = rows[group * per_group : (group + 1) * per_group].clone()
        share = keep * (group + 1) // len(hessians) - keep * group // len(hessians)
        parts.append(part)
        flags.append(_prune_rows(part, hessian.double(), share, granularity))
    kept = torch.cat(flags)
    result = torch.where(kept, torch.cat(parts), 0.0).to(weight.dtype).reshape(weight.shape)
    return result, Mask.from_numpy(kept.numpy().reshape(weight.shape))


def _prune_rows(w: Tensor, hessian: Tensor, keep: int, granularity: Granularity) -> Tensor:
    """Which entries of `w` stay; `w` becomes what they are then."""
    columns = w.shape[1]
    dead = hessian.diagonal() == 0  # inputs that are always 0: their weights do nothing
    hessian = hessian.clone()
    hessian.diagonal()[dead] = 1.0
    w[:, dead] = 0.0
    hessian.diagonal().add_(DAMPING * hessian.diagonal().mean())
    # Row i of the upper factor of the inverse says how the columns after i make up for column i.
    inverse = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)
    step = BLOCK if not isinstance(granularity, NofM) else BLOCK // granularity.m * granularity.m
    kept = torch.ones(w.shape, dtype=torch.bool)
    for first in range(0, columns, step):
        last = min(columns, first + step)
        own = inverse[first:last, first:last]
        block, errors = w[:, first:last], torch.zeros(w.shape[0], last - first, dtype=w.dtype)
        flags = kept[:, first:last]
        if not isinstance(granularity, NofM):
            part = keep * last // columns - keep * first // columns
            worth = (block / own.diagonal()).abs().float().contiguous().numpy()
            flags.copy_(torch.from_numpy(keep_largest(worth, part)))
        for i in range(last - first):
            if isinstance(granularity, NofM) and i % granularity.m == 0:
                until = i + granularity.m
                worth = (block[:, i:until] / own.diagonal()[i:until]).abs()
                order = worth.argsort(dim=1, descending=True, stable=True)
                flags[:, i:until] = torch.zeros_like(worth, dtype=torch.bool).scatter_(1, order[:, : granularity.n], True)
            errors[:, i] = torch.where(flags[:, i], 0.0, block[:, i]) / own[i, i]
            block[:, i:] -= errors[:, i, None] * own[i, i:]
        w[:, last:] -= errors @ inverse[first:last, last:]
    return kept


def _in_order(model: nn.Module, layers: Sequence[Any], batch: Any) -> list[Any]:
    order: list[Any] = []
    handles = [layer.register_forward_pre_hook(lambda m, _: order.append(m)) for layer in layers]
    try:
        model(*split_batch(batch)[0])
    finally:
        for handle in handles:
            handle.remove()
    found = list(dict.fromkeys(order))
    require_seen(layers, found)
    return found


def _hessians(model: nn.Module, layer: Any, batches: Sequence[Any]) -> Tensor:
    """Σ x·xᵀ over what an output channel is multiplied with, per group of the layer."""
    total: list[Tensor] = []

    def watch(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        columns = input_columns(layer, arguments[0].detach())
        added = columns @ columns.transpose(1, 2)
        if total:
            total[0] += added
        else:
            total.append(added)
        raise _StopForward

    handle = layer.register_forward_pre_hook(watch)
    try:
        for batch in batches:
            with suppress(_StopForward):
                model(*split_batch(batch)[0])
    finally:
        handle.remove()
    return total[0]


def input_columns(layer: Any, x: Tensor) -> Tensor:
    """The input as the columns that the weight's rows multiply: (groups, in · kernel / groups, positions)."""
    if is_linear(layer):
        return x.reshape(1, -1, x.shape[-1]).transpose(1, 2).float()
    axes = len(layer.kernel_size)
    padded = padded_input(layer, x)
    for axis, (size, stride, dilation) in enumerate(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True)):
        reach = (size - 1) * dilation + 1
        padded = padded.unfold(2 + axis, reach, stride)[..., ::dilation]
    # (batch, channels, positions..., kernel...)
    ahead = (1, *range(2 + axes, 2 + 2 * axes), 0, *range(2, 2 + axes))
    columns = padded.permute(ahead).reshape(layer.in_channels * int(np.prod(layer.kernel_size)), -1)
    return columns.reshape(layer.groups, -1, columns.shape[1]).float()

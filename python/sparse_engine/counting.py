"""Multiply-accumulates counted three ways, and how dense one mask is at every granularity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .evidence import applications, batch_size, evaluating, padded_input, split_batch
from .mask import Mask
from .ranked import TRANSPOSED, WEIGHTED
from .reporting import table
from .spec import of_layer


@dataclass
class MacCount:
    """Of one layer, for one example on average."""

    name: str
    macs: float  # all
    with_weight: float  # those whose weight is not 0
    with_both: float  # those whose weight and input are both not 0
    input_density: float  # share of the layer's inputs that are not 0


@dataclass
class MacCounts:
    """Result of `count_macs`: rows and totals; print it for a table."""

    layers: list[MacCount]

    def total(self, what: str) -> float:
        """Sum of one of the three numbers over all layers."""
        return float(sum(getattr(layer, what) for layer in self.layers))

    def __str__(self) -> str:
        rows = [
            [
                row.name,
                *(f"{getattr(row, what):,.0f}" for what in ("macs", "with_weight", "with_both")),
                f"{row.input_density:.1%}",
            ]
            for row in self.layers
        ]
        totals = ["total", *(f"{self.total(what):,.0f}" for what in ("macs", "with_weight", "with_both")), ""]
        return table(["layer", "MACs", "weight not 0", "weight and input not 0", "inputs not 0"], [*rows, totals])


def count_macs(model: nn.Module, data: Iterable[Any], *, input_densities: Mapping[str, float] | None = None) -> MacCounts:
    """Count the multiply-accumulates of every Linear and convolution layer of `model`, per example, exactly.

    The three numbers are never mixed: all of them; those with a weight that is not 0; those whose input is not 0 either, which
    depends on the data. Padding counts as an input of 0; what a transposed convolution crops is counted.

    Args:
        model: pruned or not; run in eval mode.
        data: batches, tensors or (inputs, target) pairs.
        input_densities: glob pattern on module names -> share of that layer's inputs that are not 0, taken instead of what
            `data` shows: the third number is then the second times this share, as publications estimate it. The first pattern
            that matches counts; layers none matches are counted on `data`.
    Raises:
        ValueError: no batch, a share outside [0, 1], or a pattern that matches no layer.
    Source: Han et al., NeurIPS 2015, where FLOP% of a layer is estimated as Weight% · Act%; here both are counted together.
    """
    layers: dict[nn.Module, str] = {m: name for name, m in model.named_modules() if isinstance(m, WEIGHTED)}
    given = _given(layers, input_densities or {})
    sums: dict[nn.Module, list[float]] = {layer: [0.0] * 5 for layer in layers}

    def watch(layer: Any, arguments: tuple[Any, ...], output: Tensor) -> None:
        x, weight = arguments[0].detach(), layer.weight.detach()
        uses = applications(layer, x, output)
        total = sums[layer]
        total[0] += uses * weight.numel()
        total[1] += uses * int(torch.count_nonzero(weight))
        share = given[layer]
        if share is None:
            total[2] += _products(layer, x != 0, weight != 0)
            total[3] += int(torch.count_nonzero(x))
        else:
            total[2] += share * uses * int(torch.count_nonzero(weight))
            total[3] += share * x.numel()
        total[4] += x.numel()

    handles = [layer.register_forward_hook(watch) for layer in layers]
    examples = 0
    try:
        with evaluating(model), torch.no_grad():
            for batch in data:
                inputs, _ = split_batch(batch)
                model(*inputs)
                examples += batch_size(inputs)
    finally:
        for handle in handles:
            handle.remove()
    if examples == 0:
        raise ValueError("data holds no batch; pass an iterable of batches")
    return MacCounts(
        [
            MacCount(name, all_ / examples, weights / examples, both / examples, nonzero / size if size else 1.0)
            for layer, name in layers.items()
            for all_, weights, both, nonzero, size in [sums[layer]]
        ]
    )


def _given(layers: Mapping[nn.Module, str], densities: Mapping[str, float]) -> dict[nn.Module, float | None]:
    """The share of inputs given for each layer, None where none is."""
    for pattern, share in densities.items():
        if not 0 <= share <= 1:
            raise ValueError(f"input_densities[{pattern!r}] = {share!r} must be in [0, 1], the share of inputs that are not 0")
        if not any(fnmatchcase(name, pattern) for name in layers.values()):
            raise ValueError(f"input_densities: pattern {pattern!r} matches no layer; they are: {', '.join(layers.values())}")
    return {layer: of_layer(densities, name, None) for layer, name in layers.items()}


def _products(layer: Any, x: Tensor, weight: Tensor) -> float:
    """Pairs of an input and a weight that meet and are both not 0."""
    axes = len(getattr(layer, "kernel_size", ()))
    if isinstance(layer, TRANSPOSED):  # every input meets all weights of its channel
        batch = x if x.dim() == axes + 2 else x[None]
        return float(batch.double().sum((0, *range(2, axes + 2))) @ weight.double().flatten(1).sum(1))
    per_input = weight.sum(0, dtype=torch.float64)  # how many weights of a column are there; outputs are alike
    if isinstance(layer, nn.Linear):
        return float(x.reshape(-1, x.shape[-1]).sum(0, dtype=torch.float64) @ per_input)
    padded = padded_input(layer, x.double())
    groups = layer.groups
    grouped = weight.double().reshape(groups, -1, *weight.shape[1:]).sum(1)  # one filter per group, its counts as weights
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return float(convolve(padded, grouped, None, layer.stride, 0, layer.dilation, groups).sum())


def densities(mask: Mask) -> dict[str, float]:
    """Share of a mask's groups in which anything stays, at every granularity its shape has: what each could skip.

    Returns:
        "element", "row" or "filter" (outputs), "channel" (inputs), and for convolutions "kernel" and "vector".
    """
    kept = mask.to_numpy()

    def share(axes: tuple[int, ...]) -> float:
        return float(np.mean(kept.any(axis=axes))) if kept.size else 1.0

    everything = tuple(range(kept.ndim))
    found = {"element": float(kept.mean()) if kept.size else 1.0}
    if kept.ndim == 2:
        return found | {"row": share((1,)), "channel": share((0,))}
    found |= {"vector": share(everything[-1:]), "kernel": share(everything[2:])}
    return found | {"filter": share(everything[1:]), "channel": share((0, *everything[2:]))}

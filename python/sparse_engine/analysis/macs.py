"""Multiply-accumulates counted three ways, and how dense one mask is at every granularity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from ..masking.mask import Mask
from ..measure.eval_mode import eval_mode
from ..measure.model_calls import examples_in
from ..measure.text_table import table
from ..pruning.calibration import calls_of
from ..pruning.input_squares import padded_input
from ..pruning.macs_per_weight import Call, Owner, Watch, attended, flags_of, has_own_forward, macs_of, multiplying
from ..pruning.spec import of_layer
from ..pruning.targets import TRANSPOSED, is_turned


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
    """Count the multiply-accumulates of every layer of `model` with a weight, per example, exactly.

    Linear and convolution layers, recurrent ones and their cells, what of torch's attention makes queries, keys, values and the
    output, and products in forwards of your own as far as they are seen (`F.linear`, `@`, `addmm`, `bmm`, `conv1d`, `conv2d`);
    `report` counts the same. The three numbers are never mixed: all of them; those with a weight that is not 0; those whose
    input is not 0 either, which depends on the data. Padding counts as an input of 0; what a transposed convolution crops is
    counted. The states inside recurrent layers, what attention gives its output projection and inputs inside forwards of your
    own are not seen and count as inputs that are not 0.

    Args:
        model: pruned or not; run in eval mode.
        data: batches: inputs (a tensor, a tuple of positional arguments, a mapping of keyword arguments), or (inputs, target)
            pairs.
        input_densities: glob pattern on module names -> share of that layer's inputs that are not 0, taken instead of what
            `data` shows: the third number is then the second times this share, as publications estimate it. The first pattern
            that matches counts; layers none matches are counted on `data`.
    Raises:
        ValueError: no batch, a share outside [0, 1], or a pattern that matches no layer.
    Source: Han et al., NeurIPS 2015, where FLOP% of a layer is estimated as Weight% · Act%; here both are counted together.
    """
    layers: dict[nn.Module, str] = {m: name for name, m in model.named_modules() if multiplying(m)}
    given = _given(layers, input_densities or {})
    flags = {(layer, name): flags_of(layer, name) for layer in layers for name in multiplying(layer)}
    seen: set[nn.Module] = set()
    sums: dict[nn.Module, list[float]] = {layer: [0.0] * 5 for layer in layers}

    def add(module: nn.Module, call: Call, found: Mapping[Owner, tuple[int, ...]]) -> None:
        for (layer, name), uses in found.items():
            seen.add(layer)
            if layer not in sums:  # an output projection that is no linear layer
                continue
            there, total, share = flags[layer, name], sums[layer], given[layer]
            met = macs_of(there, uses)
            total[0] += macs_of(torch.ones_like(there), uses)
            total[1] += met
            if share is not None:
                total[2] += share * met
                total[3] += share * there.numel()
                total[4] += there.numel()
                continue
            in_sight = _seen(layer, name, call) if layer is module else None
            if in_sight is None:
                total[2] += met
            else:
                inputs, parts = in_sight
                total[2] += sum(_products(layer, x != 0, there.t() if is_turned(layer) else there[rows]) for x, rows in parts)
                total[3] += sum(int(torch.count_nonzero(x)) for x in inputs)
                total[4] += sum(x.numel() for x in inputs)

    examples = 0
    with eval_mode(model), torch.no_grad(), Watch(model, add):
        for arguments in calls_of(model, data):
            arguments.call(model)
            examples += examples_in(model, arguments)
    if examples == 0:
        raise ValueError("data holds no batch; pass an iterable of batches")
    return MacCounts(
        [
            MacCount(name, all_ / examples, weights / examples, both / examples, nonzero / size if size else 1.0)
            for layer, name in layers.items()
            if layer in seen or not has_own_forward(layer)  # which may multiply in ways that are not seen
            for all_, weights, both, nonzero, size in [sums[layer]]
        ]
    )


def _seen(layer: Any, name: str, call: Call) -> tuple[list[Tensor], list[tuple[Tensor, slice]]] | None:
    """The inputs of a call that are in sight for a weight, and which of its rows meet which; None where they are not."""
    every = slice(None)
    if isinstance(layer, nn.RNNBase):
        if name not in ("weight_ih_l0", "weight_ih_l0_reverse"):
            return None
        x = call.x.data if isinstance(call.x, PackedSequence) else call.x
        return [x] if name == "weight_ih_l0" else [], [(x, every)]
    if isinstance(layer, nn.RNNCellBase):
        return ([call.x], [(call.x, every)]) if name == "weight_ih" else None
    if isinstance(layer, nn.MultiheadAttention):
        given = attended(layer, call)
        if name != "in_proj_weight":
            return [given["qkv".index(name[0])]], [(given["qkv".index(name[0])], every)]
        width = layer.embed_dim
        return given, [(x, slice(i * width, (i + 1) * width)) for i, x in enumerate(given)]
    return None if has_own_forward(layer) else ([call.x], [(call.x, every)])


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
    if weight.dim() == 2:
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

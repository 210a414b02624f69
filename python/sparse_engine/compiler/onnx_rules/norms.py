"""Normalisations."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .elementwise import power
from .registry import Call, RefusedError, rule


@rule("BatchNormalization")
def _batch_norm(c: Call) -> Tensor:
    if c.get("training_mode", 0) or c.outputs > 1:
        raise RefusedError("in training mode")
    return F.batch_norm(c.x(0), c.x(3), c.x(4), c.x(1), c.x(2), False, 0.0, c.get("epsilon", 1e-5))


@rule("InstanceNormalization")
def _instance_norm(c: Call) -> Tensor:
    return F.group_norm(c.x(0), c.x(0).shape[1], c.x(1), c.x(2), c.get("epsilon", 1e-5))


@rule("GroupNormalization")
def _group_norm(c: Call) -> Tensor:
    x, groups, scale, shift = c.x(0), c.get("num_groups"), c.x(1), c.x(2)
    if c.opset < 21:  # one number for each group then
        scale, shift = (v.repeat_interleave(x.shape[1] // groups) for v in (scale, shift))
    return F.group_norm(x, groups, scale, shift, c.get("epsilon", 1e-5))


@rule("LayerNormalization")
def _layer_norm(c: Call) -> list[Tensor]:
    x, axis, epsilon = c.x(0), c.get("axis", -1) % c.x(0).ndim, c.get("epsilon", 1e-5)
    y = F.layer_norm(x, list(x.shape[axis:]), None, None, epsilon) * c.x(1)
    y = y + c.x(2) if c.has(2) else y
    if c.outputs == 1:
        return [y]
    axes = tuple(range(axis, x.ndim))
    mean = x.mean(axes, keepdim=True)
    apart = x - mean
    return [y, mean, torch.reciprocal(torch.sqrt((apart * apart).mean(axes, keepdim=True) + epsilon))]


@rule("RMSNormalization", "SimplifiedLayerNormalization")
def _rms_norm(c: Call) -> Tensor:
    x, axis = c.x(0), c.get("axis", -1) % c.x(0).ndim
    square = (x * x).mean(tuple(range(axis, x.ndim)), keepdim=True)
    return x / torch.sqrt(square + c.get("epsilon", 1e-5)) * c.x(1)


@rule("MeanVarianceNormalization")
def _mean_variance(c: Call) -> Tensor:
    x, axes = c.x(), tuple(c.get("axes", (0, 2, 3)))
    apart = x - x.mean(axes, keepdim=True)
    return apart / (torch.sqrt((apart * apart).mean(axes, keepdim=True)) + 1e-9)


@rule("LRN")
def _local_response(c: Call) -> Tensor:
    """Krizhevsky et al., 2012: by the squares of neighbouring channels."""
    x, size = c.x(), c.get("size")
    alpha, beta, bias = c.get("alpha", 1e-4), c.get("beta", 0.75), c.get("bias", 1.0)
    n, channels, *plane = x.shape
    rows = (x * x).reshape(n, 1, channels, -1)
    before = (size - 1) // 2
    padded = F.pad(rows, [0, 0, before, size - 1 - before])
    mean = F.avg_pool2d(padded, (size, 1), 1).reshape(n, channels, *plane)  # the sum over `size`
    return x / power(mean * alpha + bias, beta)


@rule("LpNormalization")
def _lp_norm(c: Call) -> Tensor:
    x, axis, p = c.x(), c.get("axis", -1), c.get("p", 2)
    norm = torch.abs(x).sum(axis, keepdim=True) if p == 1 else torch.sqrt((x * x).sum(axis, keepdim=True))
    return torch.where(norm == 0, 0.0, x / norm)

"""Sums, means and extremes over axes, and softmax."""

import torch
from torch import Tensor

from .registry import Call, RefusedError, rule


def _axes(c: Call) -> "tuple[int, ...] | None":
    """The axes that are reduced; None for none."""
    axes = c.listed("axes", 1, "axes")
    if axes or not c.get("noop_with_empty_axes", 0):
        found = tuple(a % c.x().ndim for a in axes) if axes else tuple(range(c.x().ndim))
        if any(c.x().shape[a] == 0 for a in found):
            raise RefusedError("over nothing")
        return found
    return None


@rule("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum")
def _reduce(c: Call) -> Tensor:
    x, axes, keep = c.x(), _axes(c), bool(c.get("keepdims", 1))
    kind = c.op.removeprefix("Reduce")
    if kind == "L1":
        x = torch.abs(x)
    elif kind in ("L2", "SumSquare"):
        x = x * x
    if axes is not None:
        if kind == "Mean":
            x = x.mean(axes, keepdim=keep)
        elif kind == "Max":
            x = torch.amax(x, axes, keepdim=keep)
        elif kind == "Min":
            x = -torch.amax(-x, axes, keepdim=keep)
        else:
            x = x.sum(axes, keepdim=keep)
    if kind == "L2":
        return torch.sqrt(x)
    return torch.log(x) if kind == "LogSum" else x


@rule("ReduceLogSumExp")
def _log_sum_exp(c: Call) -> Tensor:
    x, axes, keep = c.x(), _axes(c), bool(c.get("keepdims", 1))
    if axes is None:
        return x
    largest = torch.amax(x, axes, keepdim=True)
    made = torch.log(torch.exp(x - largest).sum(axes, keepdim=True)) + largest
    return made if keep else made.reshape([n for i, n in enumerate(x.shape) if i not in axes])


@rule("Softmax", "LogSoftmax")
def _softmax(c: Call) -> Tensor:
    x = c.x()
    function = torch.softmax if c.op == "Softmax" else torch.log_softmax
    if c.opset >= 13:
        return function(x, c.get("axis", -1))
    axis = c.get("axis", 1) % x.ndim  # all axes from this one on, as one
    if axis == x.ndim - 1:
        return function(x, axis)
    return function(x.flatten(axis), axis).reshape(x.shape)

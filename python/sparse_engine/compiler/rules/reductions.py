"""Means, sums and maxima over axes, and softmax."""

from math import inf, prod

import numpy as np
import torch
from torch import fx

from ..graph import Shape, Size, Value
from .arithmetic import combined
from .permutations import moved, permuted
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation, constant


def axes_of(x: Value, dim: "int | list[int] | None", open_ones: bool = False) -> list[int]:
    """The axes that are reduced, in order; the batch cannot be one of them, nor another open axis unless `open_ones`."""
    given = [dim] if isinstance(dim, int) else dim or range(len(x.shape))
    axes = sorted(int(d) % len(x.shape) for d in given)
    if not open_ones and any(x.shape[i].per_item for i in axes):
        raise RefusedError(f"over axes {axes} of {len(x.shape)}, the batch among them")
    return axes


def _last(c: Translation, node: fx.Node, x: Value, axes: list[int]) -> tuple[Value, Shape]:
    """x with these axes last, and the shape of the others, which have length 1 where there are none."""
    others = [i for i in range(len(x.shape)) if i not in axes]
    if not others:
        return c.view(node, x, (Size(1), *x.shape)), (Size(1),)
    return permuted(c, node, x, [*others, *axes]), tuple(x.shape[i] for i in others)


@rule("mean", "sum")
def _mean(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axes = axes_of(x, a.get("dim"), c.longest is not None)
    if 0 < len(axes) < len(x.shape) and axes[0] == len(x.shape) - len(axes):
        return c.emit(name_of(node), node, [x], numbers=(len(axes), int(bool(a.get("keepdim")))))
    last, others = _last(c, node, x, axes)
    return c.view(node, c.emit(name_of(node), node, [last], others, numbers=(len(axes), 0)))


@rule("amax")
def _amax(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    return c.view(node, largest(c, node, x, axes_of(x, a["dim"])))


@rule("linalg_vector_norm", "norm", "frobenius_norm")
def _length(c: Translation, node: fx.Node, a: Bound) -> Value:
    """The square root of the sum of squares; of magnitudes their sum or the largest."""
    order = a.get("ord", a.get("p", 2))
    if a.get("dtype") not in (None, torch.float32):
        raise RefusedError(f"in {a['dtype']}; values are float32")
    if order not in (None, 1, 2, inf, "fro"):
        raise RefusedError(f"of order {order}; 1, 2 and infinity are covered")
    x = c.value(a["self"])
    axes = axes_of(x, a.get("dim"), c.longest is not None)
    if order in (1, inf):
        x = c.emit("maximum", node, [x, c.emit("multiply", node, [x, c.value(-1.0)], x.shape)], x.shape)
        return c.view(node, largest(c, node, x, axes)) if order == inf else c.view(node, _summed(c, node, x, axes))
    sums = _summed(c, node, c.emit("multiply", node, [x, x], x.shape), axes)
    return c.view(node, c.emit("activation", node, [sums], sums.shape, activation="sqrt"))


def _summed(c: Translation, node: fx.Node, x: Value, axes: list[int]) -> Value:
    last, others = _last(c, node, x, axes)
    return c.emit("sum", node, [last], others, numbers=(len(axes), 0))


@rule("softmax", "_softmax", "log_softmax", "_log_softmax")
def _softmax(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if a.get("dtype") not in (None, torch.float32):
        raise RefusedError(f"to {a['dtype']}; values are float32")
    if not x.shape:
        raise RefusedError("of a number")
    (axis,) = axes_of(x, int(a["dim"]), c.longest is not None and "log" not in name_of(node))
    if "log" not in name_of(node):
        rank = len(x.shape)
        along = permuted(c, node, x, moved(rank, axis, rank - 1))
        y = c.emit("softmax", node, [along], None if along is x else along.shape)
        return permuted(c, node, y, moved(rank, rank - 1, axis))
    kept = tuple(Size(1) if i == axis else size for i, size in enumerate(x.shape))
    below = combined(c, node, "subtract", x, c.view(node, largest(c, node, x, [axis]), kept), x.shape)
    powers = c.emit("activation", node, [below], x.shape, activation="exp")
    last_axis, others = _last(c, node, powers, [axis])
    sums = c.view(node, c.emit("sum", node, [last_axis], others, numbers=(1, 0)), kept)
    return combined(c, node, "subtract", below, c.emit("activation", node, [sums], kept, activation="log"))


@rule("cumsum")
def _running_sum(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if not x.shape:
        return x
    (axis,) = axes_of(x, int(a["dim"]), c.longest is not None)
    rank, size = len(x.shape), x.shape[axis]
    along = permuted(c, node, x, moved(rank, axis, rank - 1))
    if size.per_item:
        rows = prod(other.fixed for other in along.shape[:-1])
        if c.longest is None or size != Size(0, 1) or any(other.per_item for other in along.shape[:-1]):
            raise RefusedError("over an open axis beside another")
        whole = constant(f"{node.name}_whole", np.triu(np.ones((1, c.longest, c.longest), np.float32)))
        ones = c.emit("prefix", node, [whole], (Size(1), size, size))
        flat = c.view(node, along, (Size(1), Size(rows), size))
        y = c.view(node, c.emit("matmul", node, [flat, ones], flat.shape, numbers=(0,)), along.shape)
    else:
        y = c.emit("linear", node, [along], along.shape, weight=np.tri(size.fixed, dtype=np.float32))
    return permuted(c, node, y, moved(rank, rank - 1, axis), c.shape(node))


def largest(c: Translation, node: fx.Node, x: Value, axes: list[int]) -> Value:
    """The maximum over these axes, of shape (N, what is left, 1)."""
    last, others = _last(c, node, x, axes)
    if any(size.per_item for size in others[1:]):
        raise RefusedError("of a value whose first axis alone is not the batch")
    rows, columns = prod(size.fixed for size in others[1:]), prod(x.shape[i].fixed for i in axes)
    flat = c.view(node, last, (others[0], Size(rows), Size(columns)))
    return c.emit("adaptive_max_pool", node, [flat], (others[0], Size(rows), Size(1)), numbers=(1, 1))

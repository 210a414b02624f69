"""Convolutions and linear layers."""

from math import prod
from typing import Any

from torch import fx

from ..graph import Shape, Size, Value
from .arithmetic import combined
from .registry import Bound, RefusedError, rule
from .translation import Translation


def integers(value: Any, count: int) -> tuple[int, ...]:
    """`count` numbers, of that many or of one for all."""
    values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return tuple(values) if len(values) == count else (values[0],) * count


@rule("conv1d", "conv2d", "conv3d")
def _conv(c: Translation, node: fx.Node, a: Bound) -> Value:
    weight, x = c.parameter(a["weight"], "weight"), c.value(a["input"])
    axes = weight.ndim - 2
    if len(x.shape) != axes + 2:
        raise RefusedError(f"of a value of {len(x.shape)} axes; its first one must be the batch")
    kernel = tuple(int(k) for k in weight.shape[2:])
    stride, dilation = integers(a["stride"], axes), integers(a["dilation"], axes)
    if isinstance(a["padding"], str):
        if a["padding"] not in ("same", "valid"):
            raise RefusedError(f"padding {a['padding']!r}")
        around = [d * (k - 1) if a["padding"] == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        before = tuple(n // 2 for n in around)
        after = tuple(n - n // 2 for n in around)
    else:
        before = after = integers(a["padding"], axes)
    height: list[tuple[int, ...]] = [(1,), (1,), (0,), (0,), (1,)] if axes == 1 else [()] * 5  # (N, C, W) has none
    sides = [(*alone, *along) for alone, along in zip(height, (kernel, stride, before, after, dilation), strict=True)]
    depth = tuple(side[0] for side in sides) if axes == 3 else ()
    numbers = (*depth, *(n for side in sides for n in side[-2:]), int(a["groups"]))
    op = "conv3d" if axes == 3 else "conv2d"
    return c.emit(op, node, [x], weight=c.weight(a["weight"]), bias=c.bias(a["bias"]), numbers=numbers)


@rule("linear")
def _linear(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["input"])
    if not c.is_parameter(a["weight"]):
        y = product(c, node, x, c.value(a["weight"]), transposed=True, shape=c.shape(node))
        return y if a["bias"] is None else combined(c, node, "add", y, c.value(a["bias"]))
    return c.emit("linear", node, [x], weight=c.weight(a["weight"]), bias=c.bias(a["bias"]))


@rule("matmul", "mm", "bmm")
def _matmul(c: Translation, node: fx.Node, a: Bound) -> Value:
    right = a["other"] if "other" in a else a["mat2"]
    x = c.value(a["self"])
    if c.is_parameter(right) and c.parameter(right, "second operand").ndim == 2 and x.shape:
        return c.emit("linear", node, [x], weight=c.weight(right, transposed=True))
    return product(c, node, x, c.value(right))


@rule("baddbmm")
def _baddbmm(c: Translation, node: fx.Node, a: Bound) -> Value:
    y = product(c, node, c.value(a["batch1"]), c.value(a["batch2"]), shape=c.shape(node))
    if a["alpha"] != 1:
        y = combined(c, node, "multiply", y, c.value(a["alpha"]), y.shape)
    added = c.value(a["self"])
    if a["beta"] == 0:
        return c.copied(node, y)
    if a["beta"] != 1:
        added = combined(c, node, "multiply", added, c.value(a["beta"]), added.shape)
    return combined(c, node, "add", y, added)


@rule("addmm")
def _addmm(c: Translation, node: fx.Node, a: Bound) -> Value:
    bias, weight = c.parameter(a["self"], "bias"), c.parameter(a["mat2"], "second operand")
    if a["beta"] != 1 or a["alpha"] != 1 or tuple(bias.shape) != tuple(weight.shape[1:]):
        raise RefusedError("with factors, or a first operand that is no bias")
    return c.emit("linear", node, [c.value(a["mat1"])], weight=c.weight(a["mat2"], transposed=True), bias=c.bias(a["self"]))


def product(c: Translation, node: fx.Node, x: Value, y: Value, transposed: bool = False, shape: "Shape | None" = None) -> Value:
    """x (…, M, K) times y (…, K, N), or (…, N, K) where it is `transposed`, with torch.matmul's rules for fewer axes."""
    if not x.shape or not y.shape:
        raise RefusedError("of a number")
    rows, columns = len(x.shape) > 1, len(y.shape) > 1
    if not rows:
        x = c.view(node, x, (Size(1), *x.shape))
    if not columns:
        y = c.view(node, y, (y.shape[0], Size(1)))
    wide = y.shape[-2] if transposed else y.shape[-1]
    if len(y.shape) == 2 and len(x.shape) > 2:  # one matrix for all: they are more rows
        leading = x.shape[:-1]
        whole = joined(leading)
        flat = c.view(node, x, (whole, x.shape[-1]))
        made = c.emit("matmul", node, [flat, y], (whole, wide), numbers=(int(transposed),))
        return c.view(node, made, shape or c.shape(node))
    leading = _broadcast(x.shape[:-2], y.shape[:-2])
    x, y = (v if v.shape[:-2] == leading else c.emit("expand", node, [v], (*leading, *v.shape[-2:])) for v in (x, y))
    result = (*leading, x.shape[-2], wide)
    plain = rows and columns and shape is None and result == c.shape(node)
    made = c.emit("matmul", node, [x, y], None if plain else result, numbers=(int(transposed),))
    return made if plain else c.view(node, made, shape or c.shape(node))


def joined(sizes: Shape) -> Size:
    """The size of several axes as one."""
    growing = [size for size in sizes if size.per_item]
    if len(growing) > 1 or any(size.fixed for size in growing):
        raise RefusedError("of a value whose batch is not one whole axis")
    others = prod(size.fixed for size in sizes if not size.per_item)
    return Size(0, growing[0].per_item * others) if growing else Size(others)


def _broadcast(first: Shape, second: Shape) -> Shape:
    count = max(len(first), len(second))
    a, b = ((Size(1),) * (count - len(sizes)) + sizes for sizes in (first, second))
    return tuple(n if m == Size(1) else m for m, n in zip(a, b, strict=True))

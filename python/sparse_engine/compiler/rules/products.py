"""Convolutions and linear layers."""

from typing import Any

from torch import fx

from ..graph import Value
from .registry import Bound, RefusedError, rule
from .translation import Translation


def integers(value: Any, count: int) -> tuple[int, ...]:
    """`count` numbers, of that many or of one for all."""
    values = [int(v) for v in value] if isinstance(value, (list, tuple)) else [int(value)]
    return tuple(values) if len(values) == count else (values[0],) * count


@rule("conv1d", "conv2d")
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
    height: list[tuple[int, ...]] = [()] * 5 if axes == 2 else [(1,), (1,), (0,), (0,), (1,)]  # (N, C, W) has none
    pairs = [(*alone, *along) for alone, along in zip(height, (kernel, stride, before, after, dilation), strict=True)]
    numbers = (*(n for pair in pairs for n in pair), int(a["groups"]))
    return c.emit("conv2d", node, [x], weight=c.weight(a["weight"]), bias=c.bias(a["bias"]), numbers=numbers)


@rule("linear")
def _linear(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.emit("linear", node, [c.value(a["input"])], weight=c.weight(a["weight"]), bias=c.bias(a["bias"]))


@rule("matmul", "mm")
def _matmul(c: Translation, node: fx.Node, a: Bound) -> Value:
    right = a["other"] if "other" in a else a["mat2"]
    if c.parameter(right, "second operand").ndim != 2:
        raise RefusedError("with a second operand that is no matrix")
    return c.emit("linear", node, [c.value(a["self"])], weight=c.weight(right, transposed=True))


@rule("addmm")
def _addmm(c: Translation, node: fx.Node, a: Bound) -> Value:
    bias, weight = c.parameter(a["self"], "bias"), c.parameter(a["mat2"], "second operand")
    if a["beta"] != 1 or a["alpha"] != 1 or tuple(bias.shape) != tuple(weight.shape[1:]):
        raise RefusedError("with factors, or a first operand that is no bias")
    return c.emit("linear", node, [c.value(a["mat1"])], weight=c.weight(a["mat2"], transposed=True), bias=c.bias(a["self"]))

"""Convolutions, linear layers and products of matrices."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import Call, RefusedError, rule


def around(
    c: Call, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each axis of the plane, as `pads` or `auto_pad` gives it."""
    auto = c.text("auto_pad", "NOTSET")
    axes = len(kernel)
    if auto == "NOTSET":
        pads = [int(n) for n in c.get("pads", [0] * 2 * axes)]
        return pads[:axes], pads[axes:]
    if auto == "VALID":
        return [0] * axes, [0] * axes
    before, after = [], []
    for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True):
        wanted = -(-size // s)
        total = max(0, (wanted - 1) * s + (k - 1) * d + 1 - size)
        less, more = total // 2, total - total // 2
        before.append(less if auto == "SAME_UPPER" else more)
        after.append(more if auto == "SAME_UPPER" else less)
    return before, after


def flat(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Padding as torch.nn.functional.pad takes it: the last axis first."""
    return [n for pair in reversed(list(zip(before, after, strict=True))) for n in pair]


def _plane(c: Call, weight: Tensor, most: int) -> tuple[int, list[int], list[int]]:
    """How many axes a kernel slides along, and stride and dilation along each."""
    axes = weight.ndim - 2
    if not 1 <= axes <= most:
        raise RefusedError(f"over {axes} axes; one to {most} are covered")
    return axes, list(c.get("strides", [1] * axes)), list(c.get("dilations", [1] * axes))


@rule("Conv")
def _conv(c: Call) -> Tensor:
    x, weight = c.x(0), c.x(1)
    axes, stride, dilation = _plane(c, weight, 3)
    before, after = around(c, x, list(weight.shape[2:]), stride, dilation)
    if before != after:
        x = F.pad(x, flat(before, after))
        before = [0] * axes
    function = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return function(x, weight, c.x(2) if c.has(2) else None, stride, before, dilation, c.get("group", 1))


@rule("ConvTranspose")
def _conv_transpose(c: Call) -> Tensor:
    x, weight = c.x(0), c.x(1)
    axes, stride, dilation = _plane(c, weight, 2)
    extra = list(c.get("output_padding", [0] * axes))
    kernel = list(weight.shape[2:])
    pads = list(c.get("pads", [0] * 2 * axes))
    auto = c.text("auto_pad", "NOTSET")
    whole = [
        s * (n - 1) + e + (k - 1) * d + 1 for n, s, e, k, d in zip(x.shape[2:], stride, extra, kernel, dilation, strict=True)
    ]
    wanted = c.get("output_shape")
    if wanted is not None or auto in ("SAME_UPPER", "SAME_LOWER"):
        wanted = list(wanted)[-axes:] if wanted is not None else [n * s for n, s in zip(x.shape[2:], stride, strict=True)]
        rest = [w - n for w, n in zip(whole, wanted, strict=True)]
        less, more = [n // 2 for n in rest], [n - n // 2 for n in rest]
        pads = [*less, *more] if auto == "SAME_UPPER" else [*more, *less]
    function = F.conv_transpose1d if axes == 1 else F.conv_transpose2d
    y = function(x, weight, c.x(2) if c.has(2) else None, stride, [0] * axes, 0, c.get("group", 1), dilation)
    added = flat([-n for n in pads[:axes]], [e - n for e, n in zip(extra, pads[axes:], strict=True)])
    return F.pad(y, added) if any(added) else y


@rule("MatMul")
def _matmul(c: Call) -> Tensor:
    return torch.matmul(c.x(0), c.x(1))


@rule("Gemm")
def _gemm(c: Call) -> Tensor:
    a, b = c.x(0), c.x(1)
    a = a.t() if c.get("transA", 0) else a
    y = F.linear(a, b) if c.get("transB", 0) else torch.matmul(a, b)
    alpha, beta = float(c.get("alpha", 1.0)), float(c.get("beta", 1.0))
    y = y if alpha == 1 else y * alpha
    if not c.has(2) or beta == 0:
        return y
    return y + (c.x(2) if beta == 1 else c.x(2) * beta)


@rule("Einsum")
def _einsum(c: Call) -> Tensor:
    equation = c.text("equation", "").replace(" ", "")
    if len(c.inputs) != 2 or "..." in equation or "->" not in equation:
        raise RefusedError(f"{equation!r}; products of two values with named axes are covered")
    left, _, result = equation.partition("->")
    first, _, second = left.partition(",")
    summed = [a for a in first if a in second and a not in result]
    kept, rows = [a for a in first if a not in second], [a for a in second if a not in first]
    plain = all(len(set(part)) == len(part) for part in (first, second, result))
    if not plain or sorted(result) != sorted(kept + rows) or not summed:
        raise RefusedError(f"{equation!r}; products that sum over axes of both are covered")
    if not rows:
        raise RefusedError(f"{equation!r}; the second value has no axis of its own")
    x = c.x(0).permute([first.index(a) for a in (*kept, *summed)])
    w = c.x(1).permute([second.index(a) for a in (*rows, *summed)])
    leading, trailing = x.shape[: len(kept)], w.shape[: len(rows)]
    y = F.linear(x.flatten(len(kept)), w.flatten(len(rows)).flatten(0, len(rows) - 1))
    made = [*kept, *rows]
    return y.reshape(*leading, *trailing).permute([made.index(a) for a in result])

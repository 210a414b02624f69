"""Transposed convolutions: as products that need no scattering.

Where windows do not overlap, as in most networks that enlarge, each input cell makes a block of outputs: a 1 × 1 convolution
with a row for each cell of the block, whose channels are then moved into place. Otherwise zeros are put between the cells, and
the kernel is turned (Dumoulin, Visin, "A guide to convolution arithmetic for deep learning", 2016).
"""

import numpy as np
from torch import Tensor, fx

from ..graph import Array, Shape, Size, Value
from .parts import part
from .products import integers
from .registry import Bound, RefusedError, rule
from .translation import Translation, array_of


@rule("conv_transpose1d", "conv_transpose2d")
def _transposed(c: Translation, node: fx.Node, a: Bound) -> Value:
    weight, x = c.parameter(a["weight"], "weight"), c.value(a["input"])
    axes, groups = weight.ndim - 2, int(a["groups"])
    if len(x.shape) != axes + 2:
        raise RefusedError(f"of a value of {len(x.shape)} axes; its first one must be the batch")
    kernel = tuple(int(k) for k in weight.shape[2:])
    stride, padding, extra, dilation = (integers(a[name], axes) for name in ("stride", "padding", "output_padding", "dilation"))
    apart = groups == 1 and stride == kernel and not any(padding) and not any(extra) and set(dilation) == {1}
    if apart:
        return _blocks(c, node, x, weight, kernel, c.bias(a["bias"]))
    spread = _with_zeros_between(c, node, x, stride)
    before = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
    after = [b + e - (s - 1) for b, e, s in zip(before, extra, stride, strict=True)]
    spread = _without(c, node, spread, before, after)
    pairs = [[max(n, 0) for n in side] for side in (before, after)]
    one: list[int] = [1] * axes
    numbers = (*_plane(kernel, 1), *_plane(one, 1), *_plane(pairs[0], 0), *_plane(pairs[1], 0), *_plane(dilation, 1), groups)
    return c.emit("conv2d", node, [spread], weight=_turned(weight, groups), bias=c.bias(a["bias"]), numbers=numbers)


def _plane(sizes: "tuple[int, ...] | list[int]", height: int) -> tuple[int, int]:
    """Height and width; (N, C, W) has a height of its own."""
    return (height, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _blocks(c: Translation, node: fx.Node, x: Value, weight: Tensor, kernel: tuple[int, ...], bias: "Array | None") -> Value:
    batch, _, *plane = x.shape
    rows = weight.shape[1]
    cells = int(np.prod(kernel))
    matrix = np.ascontiguousarray(array_of(weight).reshape(weight.shape[0], -1).T)
    made = c.emit(
        "conv2d",
        node,
        [x],
        (batch, Size(rows * cells), *plane),
        weight=matrix,
        bias=None if bias is None else np.repeat(bias, cells),
        numbers=(1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1),
    )
    axes = len(kernel)
    split = c.view(node, made, (batch, Size(rows), *map(Size, kernel), *plane))
    order = [0, 1]
    for axis in range(axes):  # each axis of the plane before that of its block
        order += [2 + axes + axis, 2 + axis]
    shape = tuple(split.shape[i] for i in order)
    moved = c.emit("permute", node, [split], shape, numbers=tuple(order))
    return c.view(node, moved)


def _with_zeros_between(c: Translation, node: fx.Node, x: Value, stride: tuple[int, ...]) -> Value:
    if set(stride) == {1}:
        return x
    batch, channels, *plane = x.shape
    apart: list[Size] = [batch, channels]
    wide: list[Size] = [batch, channels]
    numbers = [0, 0, 0, 0]
    for size, s in zip(plane, stride, strict=True):
        apart += [size, Size(1)]
        wide += [size, Size(s)]
        numbers += [0, 0, 0, s - 1]
    padded = c.emit("pad", node, [c.view(node, x, tuple(apart)), c.value(0.0)], tuple(wide), numbers=tuple(numbers))
    spread: Shape = (batch, channels, *(Size(size.fixed * s) for size, s in zip(plane, stride, strict=True)))
    return c.view(node, padded, spread)


def _without(c: Translation, node: fx.Node, x: Value, before: list[int], after: list[int]) -> Value:
    """x without what negative padding takes away."""
    cuts, shape = {}, list(x.shape)
    for axis, (b, e) in enumerate(zip(before, after, strict=True), start=2):
        cuts[axis] = (max(-b, 0), 1)
        shape[axis] = Size(x.shape[axis].fixed + min(b, 0) + min(e, 0))
        if shape[axis].fixed < 1:
            raise RefusedError("with padding that leaves nothing")
    return part(c, node, x, tuple(shape), cuts)


def _turned(weight: Tensor, groups: int) -> Array:
    """(in, out / groups, …) as the weight of a convolution, (out, in / groups · cells), its cells in the other order."""
    array = array_of(weight)
    inputs, rows, *kernel = array.shape
    flipped = np.flip(array, tuple(range(2, array.ndim)))
    split = flipped.reshape(groups, inputs // groups, rows, *kernel).swapaxes(1, 2)
    return np.ascontiguousarray(split).reshape(groups * rows, -1)

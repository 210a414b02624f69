"""Axes that change places."""

from collections.abc import Sequence
from typing import Any

from torch import fx

from ..graph import Shape, Size, Value
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation


def permuted(c: Translation, node: fx.Node, x: Value, axes: Sequence[int], shape: Shape | None = None) -> Value:
    """x with its axes in this order; a view where only axes of length 1 change places."""
    made = tuple(x.shape[i] for i in axes) if shape is None else shape
    moving = [i for i in axes if x.shape[i] != Size(1)]
    if moving == sorted(moving):
        return c.view(node, x, made)
    return c.seen(x, c.emit("permute", node, [x], made, numbers=tuple(axes)))


def moved(rank: int, axis: int, to: int) -> list[int]:
    """The order of axes in which one of them stands at another place."""
    order = [i for i in range(rank) if i != axis]
    order.insert(to, axis)
    return order


@rule("permute")
def _permute(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    return permuted(c, node, x, [int(d) % len(x.shape) for d in a["dims"]])


@rule("transpose", "swapaxes", "swapdims")
def _transpose(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axes = list(range(len(x.shape)))
    first, second = (int(d) for name, d in a.items() if name != "self")
    axes[first], axes[second] = axes[second], axes[first]
    return permuted(c, node, x, axes)


@rule("mT")
def _turned_at_the_end(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axes = list(range(len(x.shape)))
    axes[-2:] = axes[:-3:-1]
    return permuted(c, node, x, axes)


@rule("t", "numpy_T")
def _turned(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if len(x.shape) > 2:
        raise RefusedError(f"of {len(x.shape)} axes")
    return permuted(c, node, x, list(range(len(x.shape)))[::-1])


@rule("movedim", "moveaxis")
def _move(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    rank = len(x.shape)
    source, target = ([int(d) % rank for d in listed(a[name])] for name in ("source", "destination"))
    order = [i for i in range(rank) if i not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return permuted(c, node, x, order)


@rule("channel_shuffle", "native_channel_shuffle")
def _shuffle(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, groups = c.value(a["self"]), int(a["groups"])
    batch, channels, *plane = x.shape
    apart = c.view(node, x, (batch, Size(groups), Size(channels.fixed // groups), *plane))
    return c.view(node, permuted(c, node, apart, [0, 2, 1, *range(3, len(apart.shape))]))


@rule("pixel_shuffle", "pixel_unshuffle")
def _pixels(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if len(x.shape) != 4:
        raise RefusedError(f"of {len(x.shape)} axes; (N, C, H, W) is covered")
    batch, channels, height, width = x.shape
    if name_of(node) == "pixel_shuffle":
        r = int(a["upscale_factor"])
        apart = c.view(node, x, (batch, Size(channels.fixed // r**2), Size(r), Size(r), height, width))
        return c.view(node, permuted(c, node, apart, [0, 1, 4, 2, 5, 3]))
    r = int(a["downscale_factor"])
    apart = c.view(node, x, (batch, channels, Size(height.fixed // r), Size(r), Size(width.fixed // r), Size(r)))
    return c.view(node, permuted(c, node, apart, [0, 1, 3, 5, 2, 4]))


def listed(value: Any) -> list[Any]:
    """An argument that is one or several, as several."""
    return list(value) if isinstance(value, (list, tuple)) else [value]

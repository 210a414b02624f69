"""What only moves elements: views, permutations, parts, padding, repetition, concatenation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from ..graph import Shape, Size, Value
from .registry import Bound, RefusedError, name_of, rule
from .translation import INTEGERS, Translation, constant


@rule("flatten", "view", "reshape", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as", "reshape_as")
def _view(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.view(node, c.value(a["self"]))


@rule("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "detach", "alias", "lift_fresh_copy")
def _same(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("train"):
        raise RefusedError("in training mode")
    return c.value(a["input"] if "input" in a else a["self"])


@rule("to", "_to_copy", "type_as")
def _converted(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, source, kept = c.value(a["self"]), a["self"], node.meta.get("val")
    known = source.meta.get("val") if isinstance(source, fx.Node) else None
    if not isinstance(kept, Tensor) or not isinstance(known, Tensor) or kept.dtype == known.dtype:
        return x
    if kept.dtype == torch.bool:
        zero = c.emit("equal", node, [x, c.value(0.0)], x.shape)
        return c.emit("equal", node, [zero, c.value(0.0)])
    if kept.dtype == torch.float32 or (kept.dtype in INTEGERS and not known.dtype.is_floating_point):
        return x  # whole numbers are floats already
    raise RefusedError(f"from {known.dtype} to {kept.dtype}; values are float32")


@rule("clone", "contiguous")
def _copy(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, source = c.value(a["self"]), node.args[0]
    known = source.meta.get("val") if isinstance(source, fx.Node) else None
    if name_of(node) == "contiguous" and isinstance(known, Tensor) and known.is_contiguous():
        return x  # torch returns the very same
    return c.copied(node, x)


# --- permutations


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
    source, target = ([int(d) % rank for d in _listed(a[name])] for name in ("source", "destination"))
    order = [i for i in range(rank) if i not in source]
    for place, axis in sorted(zip(target, source, strict=True)):
        order.insert(place, axis)
    return permuted(c, node, x, order)


@rule("roll")
def _roll(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if not a["dims"]:
        raise RefusedError("of all axes as one")
    for shift, dim in zip(_listed(a["shifts"]), _listed(a["dims"]), strict=True):
        axis = int(dim) % len(x.shape)
        size = x.shape[axis].fixed
        x = taken(c, node, x, axis, [(i - int(shift)) % size for i in range(size)])
    return x


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


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


# --- parts


def part(c: Translation, node: fx.Node, x: Value, shape: Shape, cuts: Mapping[int, tuple[int, int]]) -> Value:
    """Of some axes every `step`-th element from `start` on, as many as `shape` has; of the others all. Backwards below 0."""
    numbers: list[int] = []
    for axis, size in enumerate(x.shape):
        start, step = cuts.get(axis, (0, 1))
        if size.per_item and shape[axis] == size and step == 1:
            numbers += [0, -1, 1]
        elif shape[axis].per_item and not size.per_item:
            raise RefusedError("of as many elements as the batch has items")
        elif size.per_item and (
            c.longest is None or shape[axis].per_item or step != 1 or start + shape[axis].fixed > size.at(1)
        ):
            raise RefusedError("of a part of the batch")
        else:
            last = start + (shape[axis].fixed - 1) * step
            numbers += [start, last + (1 if step > 0 else -1), step] if shape[axis].fixed else [0, 0, 1]
    if shape == x.shape and all(step > 0 for _, step in cuts.values()):
        return x
    return c.seen(x, c.emit("slice", node, [x], shape, numbers=tuple(numbers)))


def _begin(value: "int | None", size: Size) -> int:
    begin = 0 if value is None else int(value)
    if size.per_item:
        if begin < 0:
            raise RefusedError("from the end of the batch")
        return begin
    return min(max(begin + size.fixed if begin < 0 else begin, 0), size.fixed)


@rule("slice")
def _slice(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    return part(c, node, x, c.shape(node), {axis: (_begin(a["start"], x.shape[axis]), int(a["step"]))})


@rule("narrow")
def _narrow(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    return part(c, node, x, c.shape(node), {axis: (_begin(a["start"], x.shape[axis]), 1)})


@rule("select")
def _select(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    return _selected(c, node, x, int(a["dim"]) % len(x.shape), int(a["index"]), c.shape(node))


MOST_RUNS = 16  # parts that a selection is put together of; of more it is looked up


@rule("flip")
def _flip(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    for axis in (int(d) % len(x.shape) for d in a["dims"]):
        x = taken(c, node, x, axis, range(x.shape[axis].fixed)[::-1])
    return x


@rule("index_select")
def _index_select(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    return taken(c, node, x, axis, [int(i) for i in c.parameter(a["index"], "index")])


def taken(c: Translation, node: fx.Node, x: Value, axis: int, indices: Sequence[int]) -> Value:
    """Some elements of an axis, in any order: as few parts as there are runs with one step, or looked up one by one."""
    if x.shape[axis].per_item:
        raise RefusedError("of the batch")
    runs: list[tuple[int, int, int]] = []  # start, step, length
    for index in indices:
        start, step, length = runs[-1] if runs else (0, 0, 0)
        if length == 1 and index != start:
            runs[-1] = (start, index - start, 2)
        elif length > 1 and index == start + length * step:
            runs[-1] = (start, step, length + 1)
        else:
            runs.append((index, 1, 1))

    def shape(length: int) -> Shape:
        return (*x.shape[:axis], Size(length), *x.shape[axis + 1 :])

    if len(runs) > MOST_RUNS:
        table = permuted(c, node, x, moved(len(x.shape), axis, 0))
        numbers = constant(f"{node.name}_numbers", np.array(indices, np.float32))
        rows = c.emit("gather", node, [numbers, table], (Size(len(indices)), *table.shape[1:]))
        return permuted(c, node, rows, moved(len(x.shape), 0, axis))

    parts = [part(c, node, x, shape(length), {axis: (start, step)}) for start, step, length in runs]
    return parts[0] if len(parts) == 1 else c.emit("concat", node, parts, shape(len(indices)), numbers=(axis,))


def _selected(c: Translation, node: fx.Node, x: Value, axis: int, index: int, made: Shape) -> Value:
    shape = (*x.shape[:axis], Size(1), *x.shape[axis + 1 :])
    return c.view(node, part(c, node, x, shape, {axis: (_begin(index, x.shape[axis]), 1)}), made)


@rule("unbind")
def _unbind(c: Translation, node: fx.Node, a: Bound) -> list[Value]:
    x = c.value(a["self"])
    return [_selected(c, node, x, int(a["dim"]) % len(x.shape), i, made) for i, made in enumerate(c.shapes(node))]


@rule("split", "split_with_sizes", "chunk", "tensor_split")
def _split(c: Translation, node: fx.Node, a: Bound) -> list[Value]:
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    if x.shape[axis].per_item:
        raise RefusedError("of the batch")
    parts, start = [], 0
    for shape in c.shapes(node):
        parts.append(part(c, node, x, shape, {axis: (start, 1)}))
        start += shape[axis].fixed
    return parts


# --- more of it


@rule("pad", "constant_pad_nd")
def _pad(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("mode", "constant") != "constant":
        raise RefusedError(f"mode {a['mode']!r}; constant is covered")
    x, pads = c.value(a["self"]), [int(n) for n in a["pad"]]
    around = {len(x.shape) - 1 - i: (pads[2 * i], pads[2 * i + 1]) for i in range(len(pads) // 2)}
    kept = list(x.shape)
    for axis, (before, after) in around.items():
        if x.shape[axis].per_item and (before or after):
            raise RefusedError("along the batch")
        kept[axis] = Size(x.shape[axis].fixed + min(before, 0) + min(after, 0), x.shape[axis].per_item)
    x = part(c, node, x, tuple(kept), {axis: (max(-before, 0), 1) for axis, (before, _) in around.items()})
    numbers = [max(n, 0) for axis in range(len(kept)) for n in around.get(axis, (0, 0))]
    if not any(numbers):
        return c.copied(node, x)
    number = 0.0 if a.get("value") is None else float(a["value"])
    return c.emit("pad", node, [x, c.value(number)], numbers=tuple(numbers))


@rule("expand", "expand_as", "broadcast_to")
def _expand(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, shape = c.value(a["self"]), c.shape(node)
    return x if x.shape == shape else c.seen(x, c.emit("expand", node, [x]))


@rule("repeat", "tile")
def _repeat(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    times = [int(n) for n in (a["repeats"] if "repeats" in a else a["dims"])]
    times = [1] * (len(x.shape) - len(times)) + times
    shape = (*(Size(1),) * (len(times) - len(x.shape)), *x.shape)
    alone = tuple(made if old == Size(1) else old for old, made in zip(shape, c.shape(node), strict=True))  # may grow
    x = c.view(node, x, shape)
    if alone != shape:
        x = c.emit("expand", node, [x], None if alone == c.shape(node) else alone)
        if alone == c.shape(node):
            return x
    return repeated(c, node, x, [1 if old == Size(1) else n for old, n in zip(shape, times, strict=True)], inside=False)


def repeated(c: Translation, node: fx.Node, x: Value, times: list[int], inside: bool) -> Value:
    """Each axis so many times: all of it one after another, or every element (`inside`)."""
    before: list[Size] = []
    after: list[Size] = []
    for size, n in zip(x.shape, times, strict=True):
        if n != 1 and size.per_item:
            raise RefusedError("of the batch")
        added = [] if n == 1 else [Size(1)]
        before += [size, *added] if inside else [*added, size]
        after += [size, *(Size(n) for _ in added)] if inside else [*(Size(n) for _ in added), size]
    if tuple(before) == tuple(after):
        return c.copied(node, x)
    return c.view(node, c.emit("expand", node, [c.view(node, x, tuple(before))], tuple(after)))


@rule("cat", "concat", "concatenate")
def _concat(c: Translation, node: fx.Node, a: Bound) -> Value:
    values = [c.value(v) for v in a["tensors"]]
    empty = (Size(0),)  # of one axis, which torch leaves out beside tensors of any other number
    values = [v for v in values if v.shape != empty] or values[:1]
    if len(values) == 1:
        return c.copied(node, values[0])
    return c.emit("concat", node, values, numbers=(int(a["dim"]) % len(values[0].shape),))


@rule("stack")
def _stack(c: Translation, node: fx.Node, a: Bound) -> Value:
    axis = int(a["dim"]) % len(c.shape(node))
    values = [c.value(v) for v in a["tensors"]]
    return c.emit("concat", node, [_with_axis(c, node, v, axis) for v in values], numbers=(axis,))


def _with_axis(c: Translation, node: fx.Node, x: Value, axis: int) -> Value:
    return c.view(node, x, (*x.shape[:axis], Size(1), *x.shape[axis:]))

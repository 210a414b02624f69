"""What only moves elements: views, copies, padding, repetition, concatenation."""

import torch
from torch import Tensor, fx

from ..graph import Size, Value
from .arithmetic import combined
from .parts import part
from .registry import Bound, RefusedError, name_of, rule
from .translation import INTEGERS, Translation


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
    if kept.dtype in INTEGERS:
        return _truncated(c, node, x)
    raise RefusedError(f"from {known.dtype} to {kept.dtype}; values are float32")


def _truncated(c: Translation, node: fx.Node, x: Value) -> Value:
    """Towards zero: what is above it rounded down, without what is below it, whose magnitude is rounded down."""
    above = c.emit("activation", node, [x], x.shape, activation="relu")
    below = c.emit("activation", node, [combined(c, node, "subtract", above, x, x.shape)], x.shape, activation="floor")
    return combined(c, node, "subtract", c.emit("activation", node, [above], x.shape, activation="floor"), below, x.shape)


@rule("clone", "contiguous")
def _copy(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, source = c.value(a["self"]), node.args[0]
    known = source.meta.get("val") if isinstance(source, fx.Node) else None
    if name_of(node) == "contiguous" and isinstance(known, Tensor) and known.is_contiguous():
        return x  # torch returns the very same
    return c.copied(node, x)


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

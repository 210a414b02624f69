"""Parts of values: slices, selections, and what is put together of them."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import fx

from ..graph import Shape, Size, Value
from .permutations import listed, moved, permuted
from .registry import Bound, RefusedError, rule
from .translation import Translation, constant

MOST_RUNS = 16  # parts that a selection is put together of; of more it is looked up


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


@rule("flip")
def _flip(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    for axis in (int(d) % len(x.shape) for d in a["dims"]):
        x = taken(c, node, x, axis, range(x.shape[axis].fixed)[::-1])
    return x


@rule("roll")
def _roll(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if not a["dims"]:
        raise RefusedError("of all axes as one")
    for shift, dim in zip(listed(a["shifts"]), listed(a["dims"]), strict=True):
        axis = int(dim) % len(x.shape)
        size = x.shape[axis].fixed
        x = taken(c, node, x, axis, [(i - int(shift)) % size for i in range(size)])
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

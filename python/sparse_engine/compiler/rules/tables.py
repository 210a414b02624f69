"""Rows looked up by their numbers: embeddings, indexing, and the numbers themselves."""

from math import prod

import numpy as np
import torch
from torch import fx

from ..graph import Size, Value
from .arithmetic import combined
from .parts import taken
from .permutations import moved, permuted
from .reductions import axes_of, largest
from .registry import Bound, RefusedError, rule
from .translation import Translation, constant


@rule("embedding")
def _embedding(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.emit("gather", node, [c.value(a["indices"]), c.value(a["weight"])])


@rule("arange")
def _numbers(c: Translation, node: fx.Node, a: Bound) -> Value:
    """Those over the batch: others are known beforehand."""
    if c.shape(node) != (Size(0, 1),) or a.get("start", 0) != 0 or a.get("step", 1) != 1:
        raise RefusedError("over something else than the items of the batch")
    made = Value(node.name, c.shape(node))
    c.item_numbers[made] = node
    return made


@rule("index")
def _index(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    given = [(axis, index) for axis, index in enumerate(a["indices"]) if index is not None]
    if len(given) == 2 and [axis for axis, _ in given] == [0, 1] and c.base_of(c.value(given[0][1])) in c.item_numbers:
        return _of_each_item(c, node, x, c.value(given[0][1]), given[1][1])
    if len(given) != 1:
        raise RefusedError(f"by {len(given)} tensors; one is covered")
    axis, index = given[0]
    if c.is_parameter(index):
        if c.parameter(index, "index").ndim != 1:
            raise RefusedError("by something else than a list of integers")
        return taken(c, node, x, axis, _integers(c, index, x.shape[axis]))
    if axis != 0 or x.shape[0].per_item:
        raise RefusedError("by computed numbers along another axis than the first of a table")
    return c.emit("gather", node, [c.value(index), x])


def _integers(c: Translation, index: fx.Node, size: Size) -> list[int]:
    numbers = c.parameter(index, "index")
    if numbers.dtype.is_floating_point or numbers.dtype == torch.bool:
        raise RefusedError("by something else than integers")
    return [int(i) + (size.fixed if i < 0 else 0) for i in numbers.reshape(-1)]


def _of_each_item(c: Translation, node: fx.Node, x: Value, items: Value, index: fx.Node) -> Value:
    """x[items, index], every item of the batch in its turn: along the second axis, the same for all or one of each."""
    if items.shape[0] != Size(0, 1) or any(size != Size(1) for size in items.shape[1:]) or x.shape[1].per_item:
        raise RefusedError("by two tensors, the first of which is not the items in their order")
    if c.is_parameter(index):
        numbers = c.parameter(index, "index")
        if numbers.ndim == len(items.shape) and numbers.shape[0] != 1:
            raise RefusedError("by two tensors that both change with the batch")
        return c.view(node, taken(c, node, x, 1, _integers(c, index, x.shape[1])))
    chosen = c.value(index)
    if chosen.shape != (Size(0, 1),):
        raise RefusedError("by computed numbers of more than one axis")
    # A product with 1 at the number of each item, and 0 elsewhere.
    count, width = x.shape[1].fixed, prod(size.fixed for size in x.shape[2:])
    numbers_of = constant(f"{node.name}_numbers", np.arange(count, dtype=np.float32))
    ones = combined(c, node, "equal", c.view(node, chosen, (Size(0, 1), Size(1))), numbers_of, (Size(0, 1), Size(count)))
    ones = c.view(node, ones, (Size(0, 1), Size(1), Size(count)))
    table = c.view(node, x, (Size(0, 1), Size(count), Size(width)))
    return c.view(node, c.emit("matmul", node, [ones, table], (Size(0, 1), Size(1), Size(width)), numbers=(0,)))


@rule("gather")
def _gather(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, axis = c.value(a["self"]), int(a["dim"])
    axis %= len(x.shape)
    source = c.maker(x)
    table = x.constant if source is None or source.op != "expand" else source.inputs[0].constant
    if table is None or table.size != x.shape[axis].fixed:
        raise RefusedError("of a value that is no row of constants, the same for all")
    return c.emit("gather", node, [c.value(a["index"]), constant(f"{node.name}_table", table.reshape(-1))])


@rule("argmax")
def _argmax(c: Translation, node: fx.Node, a: Bound) -> Value:
    """The first place of the largest: n less the largest of n, n − 1, … 1 where it stands."""
    x = c.value(a["self"])
    if a["dim"] is None:
        raise RefusedError("over all axes")
    (axis,) = axes_of(x, int(a["dim"]))
    last = len(x.shape) - 1
    along = permuted(c, node, x, moved(len(x.shape), axis, last))
    count = x.shape[axis].fixed
    kept = (*along.shape[:-1], Size(1))
    most = c.view(node, largest(c, node, along, [last]), kept)
    here = combined(c, node, "equal", along, most, along.shape)
    places = constant(f"{node.name}_places", np.arange(count, 0, -1, dtype=np.float32))
    first = largest(c, node, combined(c, node, "keep", places, here, along.shape), [last])
    return combined(c, node, "subtract", c.value(float(count)), c.view(node, first), c.shape(node))


@rule("diff")
def _difference(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("n", 1) != 1 or a.get("append") is not None:
        raise RefusedError("of another order than 1, or with something appended")
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    if x.shape[axis].per_item:
        raise RefusedError("along the batch")

    def sized(n: int) -> "tuple[Size, ...]":
        return (*x.shape[:axis], Size(n), *x.shape[axis + 1 :])

    if a.get("prepend") is not None:
        before = c.value(a["prepend"])
        x = c.emit("concat", node, [before, x], sized(before.shape[axis].fixed + x.shape[axis].fixed), numbers=(axis,))
    size = x.shape[axis].fixed - 1
    later, earlier = (taken(c, node, x, axis, range(start, start + size)) for start in (1, 0))
    return (
        combined(c, node, "subtract", later, earlier, sized(size))
        if sized(size) != c.shape(node)
        else combined(c, node, "subtract", later, earlier)
    )

"""What operations that only move data do to channels: they are carried out on the slots themselves."""

from typing import Any

import numpy as np
import torch

from .channel_rules import argument, rule
from .coupling import Doubt
from .tracing import Axis, Held, Tracer, Value, operation, size_of

MOVES = """
    view _unsafe_view reshape flatten unflatten permute transpose t squeeze unsqueeze slice select narrow cat stack
    chunk split split_with_sizes unbind expand expand_as repeat pad constant_pad_nd flip roll pixel_shuffle
    pixel_unshuffle channel_shuffle movedim swapaxes numpy_T tile repeat_interleave view_as reshape_as concat hstack
    index_select
"""
PADS = ("pad", "constant_pad_nd")
SIZED = ("view", "_unsafe_view", "reshape", "expand", "unflatten", "repeat", "roll")  # told sizes


@rule("getitem")
def getitem(tracer: Tracer, node: Any) -> Value:
    """One of several results."""
    values = tracer.value(node.args[0])
    return values[node.args[1]] if isinstance(values, list) else None


@rule(*MOVES.split())
def moves(tracer: Tracer, node: Any) -> Value:
    """What only moves data moves slots likewise: the operation itself is carried out on them."""
    values = [tracer.value(given) for given in node.all_input_nodes]
    axis = next((value for value in values if isinstance(value, Axis)), None)
    if axis is None:
        return permuted(tracer, node, values)
    if operation(node) in PADS and argument(node, 2, "mode", "constant") not in ("constant", 0, 0.0):
        added = argument(node, 1, "pad")[2 * (len(size_of(node)) - 1 - axis.dim) :][:2]
        tracer.fix(*[axis] if any(added) else [])

    def carried(given: Any) -> Any:
        if isinstance(given, torch.fx.Node):
            return tracer.spread(tracer.value(given), size_of(given), axis.dim).contiguous()  # as a view may need it
        return given

    if operation(node) in ("chunk", "split", "split_with_sizes"):
        parts_alike(tracer, node, axis)
    arguments, options = torch.fx.node.map_arg(node.args, carried), torch.fx.node.map_arg(node.kwargs, carried)
    if operation(node) in PADS:
        arguments, options = (*arguments[:2], *(["constant"] if operation(node) == "pad" else []), 0), {}
    moved = node.target(*arguments, **options)
    if isinstance(moved, (tuple, list)):
        return [tracer.gather(part) for part in moved]
    result = tracer.gather(moved, 1 if operation(node) == "pixel_shuffle" else flexible(node))
    in_code(tracer, node, axis, result)
    return result


def flexible(node: Any) -> int | None:
    """The dimension of a view whose size is worked out."""
    sizes = argument(node, 1, "size") if operation(node) in ("view", "reshape", "expand") else None
    return list(sizes).index(-1) if isinstance(sizes, (list, tuple)) and -1 in sizes else None


def parts_alike(tracer: Tracer, node: Any, axis: Axis) -> None:
    """Pieces of a split keep equal sizes: their channels go by position."""
    sizes, dim = argument(node, 1, "chunks"), int(argument(node, 2, "dim", 0)) % len(size_of(node.args[0]))
    if dim != axis.dim:
        return
    pieces = [len(part) for part in np.split(axis.slots, np.cumsum([v.shape[dim] for v in node.meta["val"]])[:-1])]
    if len(set(pieces)) > 1:
        tracer.fix(axis, reason=f"{tracer.where()} into pieces of {sizes}")
        return
    rows = axis.slots.reshape(len(pieces), -1)
    for later in rows[1:]:
        tracer.join(rows[0], later)
    if operation(node) != "chunk":
        tracer.doubts.append(Doubt(axis.slots, tracer.where()))


def in_code(tracer: Tracer, node: Any, axis: Axis, result: Value) -> None:
    """Note where channels pass a size or place that stands in the code, or may."""
    name, left = operation(node), result.slots if isinstance(result, Axis) else np.zeros(0, np.int64)
    if name in ("slice", "narrow", "select", "index_select") and not np.isin(axis.slots, left).all():
        tracer.fix(axis, reason=f"{tracer.where()} takes channels by number")
    elif name in SIZED and not (isinstance(result, Axis) and flexible(node) == result.dim):
        tracer.doubts.append(Doubt(axis.slots, tracer.where()))


def permuted(tracer: Tracer, node: Any, values: list[Value]) -> Value:
    """Of a parameter: its dimensions in another order; anything else done to it keeps it whole."""
    held, name = values[0] if len(values) == 1 else None, operation(node)
    if isinstance(held, Held) and name in ("t", "numpy_T", "transpose", "permute", "unsqueeze", "expand"):
        places: Any = torch.zeros([1 + d for d in range(len(held.dims))])  # sizes that name dimensions
        if name == "expand":
            new = len(size_of(node)) - len(held.dims)
            return Held(held.name, (*[None] * new, *held.dims))
        if name == "unsqueeze":
            at = int(node.args[1]) % (len(held.dims) + 1)
            return Held(held.name, (*held.dims[:at], None, *held.dims[at:]))
        moved = node.target(places, *node.args[1:])
        return Held(held.name, tuple(held.dims[size - 1] for size in moved.shape))
    tracer.fix(*values)
    return None

"""What operations that only move data do to channels: they are carried out on the slots themselves."""

from typing import Any

import numpy as np
import torch

from ..groups import Doubt
from ..tracer import Axis, Held, Tracer, Value, operation, size_of
from .registry import argument, rule

MOVES = """
    view _unsafe_view reshape flatten unflatten permute transpose t squeeze unsqueeze slice select narrow cat stack
    chunk split split_with_sizes unbind expand expand_as repeat flip roll pixel_shuffle pixel_unshuffle movedim swapaxes
    numpy_T tile repeat_interleave view_as reshape_as concat hstack
"""
PADS = """
    pad constant_pad_nd _pad_enum _pad_circular reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d
    replication_pad2d replication_pad3d
"""
CONSTANT = ("pad", "constant_pad_nd")  # those of PADS that add a constant unless told otherwise
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

    def carried(given: Any) -> Any:
        if isinstance(given, torch.fx.Node):
            return tracer.spread(tracer.value(given), size_of(given), axis.dim).contiguous()  # as a view may need it
        return given

    if operation(node) in ("chunk", "split", "split_with_sizes"):
        parts_alike(tracer, node, axis)
    arguments, options = torch.fx.node.map_arg(node.args, carried), torch.fx.node.map_arg(node.kwargs, carried)
    moved = node.target(*arguments, **options)
    if isinstance(moved, (tuple, list)):
        return [tracer.gather(part) for part in moved]
    result = tracer.gather(moved, 1 if operation(node) == "pixel_shuffle" else flexible(node))
    in_code(tracer, node, axis, result)
    return result


@rule(*PADS.split())
def padding(tracer: Tracer, node: Any) -> Value:
    """Around positions each channel by itself; of channels that are added or cut off the number stands in the code."""
    x = tracer.value(node.args[0])
    if not isinstance(x, Axis):
        tracer.fix(x)
        return None
    before, after = (*argument(node, 1, "pad")[2 * (len(size_of(node)) - 1 - x.dim) :][:2], 0, 0)[:2]
    if not before and not after:
        return x
    constant = operation(node) in CONSTANT and argument(node, 2, "mode", "constant") in ("constant", 0, 0.0)
    if not constant or before < 0 or after < 0:
        tracer.fix(x, reason=f"{tracer.where()} adds or cuts off channels")
        return None
    return Axis(x.dim, np.pad(x.slots, (before, after)))  # slot 0: cannot go


@rule("channel_shuffle", "native_channel_shuffle")
def channel_shuffle(tracer: Tracer, node: Any) -> Value:
    """Channels of groups take turns, so that from each group the same dims go."""
    x = tracer.value(node.args[0])
    if not isinstance(x, Axis):
        tracer.fix(x)
        return None
    if x.dim != 1:
        return x
    rows = x.slots.reshape(int(argument(node, 1, "groups")), -1)
    for later in rows[1:]:
        tracer.join(rows[0], later)
    return Axis(1, rows.T.reshape(-1).copy())


@rule("index_select", "index")
def taken(tracer: Tracer, node: Any) -> Value:
    """Taken by number along some dimensions: channels that are taken so stay, those along others pass by."""
    x, rank = tracer.value(node.args[0]), len(size_of(node.args[0]))
    if operation(node) == "index_select":
        along, ranks = [int(argument(node, 1, "dim")) % rank], [1]
    else:
        along = [dim for dim, index in enumerate(node.args[1]) if index is not None]
        numbers = [node.args[1][dim].meta["val"] for dim in along]
        ranks = [0 if index.dtype is torch.bool else index.dim() for index in numbers]
    given = [tracer.value(index) for index in node.all_input_nodes[1:]]
    tracer.fix(*(value for value in given if isinstance(value, Axis)))
    if isinstance(x, Held):
        return picked(tracer, x, node, along, max(ranks))
    if not isinstance(x, Axis):
        tracer.fix(x)
        return None
    if x.dim in along or 0 in ranks or along != list(range(along[0], along[-1] + 1)):
        tracer.fix(x, reason=f"{tracer.where()} takes channels by number")
        return None
    return Axis(x.dim if x.dim < along[0] else x.dim - len(along) + max(ranks), x.slots)


def picked(tracer: Tracer, held: Held, node: Any, along: list[int], rank: int) -> Value:
    """Rows of a table that is a parameter, such as position biases: its last dimension may be channels."""
    last = len(held.dims) - 1
    if along == [0] and last == 1 and rank and None not in held.dims:
        return Axis(len(size_of(node)) - 1, tracer.at(held, 1))
    tracer.fix(held)
    return None


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
    if name in ("slice", "narrow", "select") and not np.isin(axis.slots, left).all():
        tracer.fix(axis, reason=f"{tracer.where()} takes channels by number")
    elif name in SIZED and not (isinstance(result, Axis) and flexible(node) == result.dim):
        tracer.doubts.append(Doubt(axis.slots, tracer.where()))


def permuted(tracer: Tracer, node: Any, values: list[Value]) -> Value:
    """Of a parameter: its dimensions in another order; anything else done to it keeps it whole."""
    held, name = values[0] if len(values) == 1 else None, operation(node)
    if isinstance(held, Held) and name in ("t", "numpy_T", "transpose", "permute", "unsqueeze", "expand"):
        dims: Any = torch.zeros([1 + d for d in range(len(held.dims))])  # sizes that name dimensions
        if name == "expand":
            new = len(size_of(node)) - len(held.dims)
            return Held(held.name, (*[None] * new, *held.dims))
        if name == "unsqueeze":
            at = int(node.args[1]) % (len(held.dims) + 1)
            return Held(held.name, (*held.dims[:at], None, *held.dims[at:]))
        moved = node.target(dims, *node.args[1:])
        return Held(held.name, tuple(held.dims[size - 1] for size in moved.shape))
    tracer.fix(*values)
    return None

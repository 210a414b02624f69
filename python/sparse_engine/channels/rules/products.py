"""What operations that multiply by weights do to channels: they read the ones before and make others."""

from typing import Any

import numpy as np

from ..groups import Slots
from ..tracer import Axis, Held, Tracer, Value, operation, size_of
from .registry import argument, rule


@rule("linear")
def linear(tracer: Tracer, node: Any) -> Value:
    """(..., in) times (out, in)."""
    x, weight, bias = (tracer.value(argument(node, i, n)) for i, n in enumerate(("input", "weight", "bias")))
    last = len(size_of(node)) - 1
    if not isinstance(weight, Held):
        tracer.fix(x, weight, bias)
        return None
    tracer.used(weight, int(np.prod(size_of(node)[:-1])))
    rows = tracer.makes(weight, 0)
    tracer.tie(bias, 0, rows)
    if isinstance(x, Axis) and x.dim != last:  # channels that are not what is multiplied pass by
        tracer.fix(weight, bias)
        return x
    reads(tracer, weight, 1, x)
    return Axis(last, rows)


def reads(tracer: Tracer, weight: Held, dim: int, x: Value) -> None:
    """A weight's dimension runs over the channels of x."""
    if isinstance(x, Axis):
        tracer.tie(weight, dim, x.slots)
    else:
        tracer.fix(x)
        tracer.slotting.fix(tracer.at(weight, dim), "it reads the model's input or a tensor of fixed size")


@rule("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def convolution(tracer: Tracer, node: Any) -> Value:
    """Channels in one dimension before the spatial ones; groups keep equal sizes, so their channels go by position."""
    x, weight, bias = (tracer.value(argument(node, i, n)) for i, n in enumerate(("input", "weight", "bias")))
    transposed = "transpose" in operation(node)
    axes = int(operation(node)[-2])
    channel = len(size_of(node)) - 1 - axes
    if not isinstance(weight, Held) or (isinstance(x, Axis) and x.dim != channel):
        tracer.fix(x, weight, bias)
        return None
    groups = int(argument(node, 6, "groups", 1))
    inputs, outputs = size_of(node.args[0])[channel], size_of(node)[channel]
    positions = np.prod(size_of(node.args[0] if transposed else node)) // (inputs if transposed else outputs)
    tracer.used(weight, int(positions))
    one, other = (1, 0) if transposed else (0, 1)
    rows = tracer.makes(weight, one)
    if groups == 1:
        reads(tracer, weight, other, x)
    else:
        rows = grouped(tracer, weight, x, rows, groups, (inputs, outputs), transposed)
    tracer.tie(bias, 0, rows)
    return Axis(channel, rows)


def grouped(
    tracer: Tracer, weight: Held, x: Value, made: Slots, groups: int, channels: tuple[int, int], transposed: bool
) -> Slots:
    """The output channels of a grouped convolution, each in its place, once inputs and outputs are tied."""
    inputs, outputs = channels
    incoming = x.slots if isinstance(x, Axis) else np.zeros(inputs, np.int64)
    if inputs == groups:  # depthwise: a channel and what is made of it
        rows = np.repeat(incoming, outputs // inputs)
        if transposed:
            tracer.fix(Axis(0, made))
            tracer.tie(weight, 0, incoming)
        else:
            tracer.join(made, rows)
        return rows
    by_group = incoming.reshape(groups, -1)
    for later in by_group[1:]:
        tracer.join(by_group[0], later)
    if transposed:  # (in, out / groups, ...): the same outputs in every group
        tracer.tie(weight, 0, incoming)
        return np.tile(made, groups)
    tracer.tie(weight, 1, by_group[0])
    for later in made.reshape(groups, -1)[1:]:
        tracer.join(made.reshape(groups, -1)[0], later)
    return made


@rule("embedding")
def embedding(tracer: Tracer, node: Any) -> Value:
    """Rows of a table; its columns are channels."""
    table = tracer.value(node.args[0])
    if not isinstance(table, Held):
        tracer.fix(table)
        return None
    return Axis(len(size_of(node)) - 1, tracer.at(table, 1))


@rule("matmul", "mm", "bmm", "addmm", "baddbmm")
def matmul(tracer: Tracer, node: Any) -> Value:
    """(..., m, k) times (..., k, n): what is summed over is joined."""
    nodes = node.args[-2:]
    a, b = (tracer.value(given) for given in nodes)
    ranks = [len(size_of(given)) for given in nodes]
    added = tracer.value(node.args[0]) if len(node.args) == 3 else None
    bias = isinstance(added, Held) and len(added.dims) == 1 and isinstance(b, Held) and ranks[1] == 2
    if min(ranks) < 2 or isinstance(a, (Held, list)) or isinstance(b, list) or not (added is None or bias):
        tracer.fix(a, b, added)
        return None
    rank = len(size_of(node))
    left = (a.dim - ranks[0], a.slots) if isinstance(a, Axis) else None
    if isinstance(b, Held):
        summed, made = (tracer.at(b, 0), tracer.makes(b, 1)) if ranks[1] == 2 and None not in b.dims else (None, None)
        if summed is None or made is None or left is None or left[0] != -1:
            tracer.fix(a, b, added)
            return None
        tracer.used(b, int(np.prod(size_of(node)[:-1])))
        tracer.tie(added, 0, made)
        tracer.join(summed, left[1])
        return Axis(rank - 1, made)
    right = (b.dim - ranks[1], b.slots) if isinstance(b, Axis) else None
    if (left and left[0] == -1) or (right and right[0] == -2):
        if left and right and (left[0], right[0]) == (-1, -2):
            tracer.join(left[1], right[1])
            return None
        tracer.fix(a, b)
        return None
    if left and right and left[0] != right[0]:
        tracer.fix(b)
        right = None
    if left and right:
        tracer.join(left[1], right[1])
    kept = left or right
    return Axis(rank + kept[0], kept[1]) if kept else None


@rule("scaled_dot_product_attention")
def attention(tracer: Tracer, node: Any) -> Value:
    """softmax(q kᵀ · scale) v over (..., positions, width); the usual scale depends on the width of q and k."""
    q, k, v = (tracer.value(given) for given in node.args[:3])
    rank = len(size_of(node))
    scale = argument(node, 6, "scale")
    widths = [value for value in (q, k) if isinstance(value, Axis) and value.dim == rank - 1]
    if scale is None or len(widths) != 2:
        tracer.fix(*widths, reason=f"{tracer.where()} scales by the width of its heads")
    else:
        tracer.join(widths[0].slots, widths[1].slots)
    heads = [value for value in (q, k, v) if isinstance(value, Axis) and value.dim < rank - 2]
    tracer.fix(*(value for value in (q, k, v) if isinstance(value, Axis) and value.dim == rank - 2))
    same = len(heads) == 3 and len({(value.dim, len(value.slots)) for value in heads}) == 1
    mask_node = argument(node, 3, "attn_mask")
    mask = tracer.value(mask_node)
    behind = rank - len(size_of(mask_node)) if mask is not None else 0
    if heads and same:
        if isinstance(mask, Axis) and mask.dim + behind == heads[0].dim and len(mask.slots) == len(heads[0].slots):
            tracer.join(mask.slots, heads[0].slots)
        elif mask is not None:  # such as a bias for every head that is a parameter
            tracer.fix(mask, *heads)
        tracer.join(heads[0].slots, heads[1].slots)
        tracer.join(heads[0].slots, heads[2].slots)
        return heads[0]
    tracer.fix(mask, *heads)
    return v if isinstance(v, Axis) and v.dim == rank - 1 else None


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def recurrent(tracer: Tracer, node: Any) -> Value:
    """Hidden units: a row of every gate, a column of the recurrent weight, the same in all layers and directions."""
    x, states, weights = node.args[0], node.args[1], [tracer.value(w) for w in node.args[2]]
    layer = next(iter(reversed(node.meta.get("nn_module_stack", {}).values())), None)
    given = []
    for state in states if isinstance(states, (list, tuple)) else [states]:
        own = next(iter(reversed(state.meta.get("nn_module_stack", {}).values())), None)
        if own != layer or state.all_input_nodes:  # not the zeros that the layer itself makes
            given.append(state)
    directions = 2 if node.args[7] else 1
    per_direction = 4 if node.args[3] else 2
    if len(node.args[2]) != per_direction * directions * int(node.args[4]) or not all(isinstance(w, Held) for w in weights):
        tracer.fix(tracer.value(x), *weights, reason=f"{tracer.where()} with a projection")
        return [None] * 3
    held: list[Any] = weights
    gates = {"lstm": 4, "gru": 3}.get(operation(node), 1)
    hidden = tracer.at(held[1], 1)
    if given:  # as many as it has hidden units
        tracer.fix(*map(tracer.value, given), Axis(0, hidden), reason=f"{tracer.where()} is given its states")
    steps = int(np.prod(size_of(x)[:2]))
    below = tracer.value(x)
    for layer_number in range(int(node.args[4])):
        for direction in range(directions):
            ih, hh, *biases = held[per_direction * (layer_number * directions + direction) :][:per_direction]
            for weight in (ih, hh):
                tracer.join(tracer.makes(weight, 0), np.tile(hidden, gates))
                tracer.used(weight, steps)
            tracer.tie(hh, 1, hidden)
            reads(tracer, ih, 1, below if isinstance(below, Axis) and below.dim == 2 else None)
            for bias in biases:
                tracer.tie(bias, 0, np.tile(hidden, gates))
        below = Axis(2, np.tile(hidden, directions))
    return [below, *[Axis(2, hidden)] * (len(node.meta["val"]) - 1)]

"""LSTM and GRU: the input's product of all steps at once, then the recurrence through them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import fx

from ..graph import Array, Shape, Size, Value
from .constants import is_zero
from .parts import part
from .permutations import permuted
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation

GATES = {"lstm": 4, "gru": 3}


class Weights(NamedTuple):
    """One layer's parameters: of the input, of the state, and the biases of both or None; one for each direction."""

    of_input: Sequence[Any]
    of_state: Sequence[Any]
    biases: "tuple[Sequence[Any], Sequence[Any]] | None"


@rule("lstm", "gru")
def _layers(c: Translation, node: fx.Node, a: Bound) -> list[Value]:
    op = name_of(node)
    if "batch_sizes" in a:
        raise RefusedError("of a packed sequence: pad it")
    if a["train"] and a["dropout"]:
        raise RefusedError("in training mode")
    directions, layers = 2 if a["bidirectional"] else 1, int(a["num_layers"])
    each = 4 if a["has_biases"] else 2
    params = list(a["params"])
    if len(params) != each * layers * directions:
        raise RefusedError("with projections (proj_size)")
    axis, x = 0 if a["batch_first"] else 1, c.value(a["input"])
    given = [c.value(state) for state in (a["hx"] if op == "lstm" else [a["hx"]])]
    if all(is_zero(c, state) for state in given):
        given = []
    read = {user.args[1] for user in node.users if _is_read(user)}
    hidden: list[Value] = []
    cells: list[Value] = []
    for layer in range(layers):
        first = layer * directions
        own = params[first * each : (first + directions) * each]
        biases = (own[2::each], own[3::each]) if a["has_biases"] else None
        states = [_rows(c, node, state, first, directions) for state in given]
        made = _recurrence(c, node, op, x, axis, Weights(own[::each], own[1::each], biases), states, op == "lstm" and 2 in read)
        x, steps = made, made.shape[1 - axis]
        if op == "lstm" and 2 in read:
            cells += _last(c, node, made, axis, directions, (steps.fixed - 1,) * 2)
            steps = Size(steps.fixed - 1, steps.per_item)
            shape = tuple(steps if i == 1 - axis else size for i, size in enumerate(made.shape))
            x = part(c, node, made, shape, {1 - axis: (0, 1)})
        if 1 in read:
            hidden += _last(c, node, x, axis, directions, (steps.fixed - 1, 0))
    return [x, *(_joined(c, node, parts) if parts else x for parts in (hidden, cells)[: len(c.shapes(node)) - 1])]


@rule("lstm_cell", "gru_cell")
def _cell(c: Translation, node: fx.Node, a: Bound) -> "Value | list[Value]":
    op = name_of(node).removesuffix("_cell")
    x = c.value(a["input"])
    given = [c.value(state) for state in (a["hx"] if op == "lstm" else [a["hx"]])]
    states = [] if all(is_zero(c, s) for s in given) else [c.view(node, s, (Size(1), *s.shape)) for s in given]
    biases = None if a["b_ih"] is None else ([a["b_ih"]], [a["b_hh"]])
    x = c.view(node, x, (Size(1), *x.shape))
    made = _recurrence(c, node, op, x, 1, Weights([a["w_ih"]], [a["w_hh"]], biases), states, op == "lstm")
    if op == "gru":
        return c.view(node, made)
    parts = [_rows(c, node, made, i, 1) for i in range(2)]
    return [c.view(node, value, shape) for value, shape in zip(parts, c.shapes(node), strict=True)]


def _is_read(node: fx.Node) -> bool:
    """Whether an output depends on it: torch.export keeps operations whose results nobody wants."""
    seen: set[fx.Node] = set()
    left = [node]
    while left:
        for user in left.pop().users:
            if user.op == "output" or name_of(user).endswith("_"):
                return True
            if user not in seen:
                seen.add(user)
                left.append(user)
    return False


def _recurrence(
    c: Translation, node: fx.Node, op: str, x: Value, axis: int, w: Weights, states: list[Value], keeps_cells: bool
) -> Value:
    """One layer, its directions beside each other. `axis`: of the batch. `states`: (directions, N, H) each."""
    of_input, of_state = c.joined(w.of_input), c.joined(w.of_state)
    biases: list[Array | None] = [None, None]
    if w.biases is not None:
        biases = [c.joined(part)[:, 0] for part in w.biases]
        if op == "lstm":
            biases = [biases[0] + biases[1], None]  # type: ignore[operator]
    steps, hidden = x.shape[1 - axis], of_state.shape[1]

    def shape(features: int, more: int = 0) -> Shape:
        length = Size(steps.fixed + more, steps.per_item)
        return (x.shape[0], length, Size(features)) if axis == 0 else (length, x.shape[1], Size(features))

    gates = c.emit("linear", node, [x], shape(of_input.shape[0]), weight=of_input, bias=biases[0])
    state = [_joined(c, node, states)] if states else []
    numbers = (axis, int(keeps_cells)) if op == "lstm" else (axis,)
    made = shape(hidden * (of_state.shape[0] // (GATES[op] * hidden)), int(keeps_cells))
    return c.emit(op, node, [gates, *state], made, weight=of_state, bias=biases[1], numbers=numbers)


def _rows(c: Translation, node: fx.Node, x: Value, first: int, count: int) -> Value:
    return part(c, node, x, (Size(count), *x.shape[1:]), {0: (first, 1)})


def _last(c: Translation, node: fx.Node, x: Value, axis: int, directions: int, times: tuple[int, int]) -> list[Value]:
    """Of each direction the states at its time, (1, N, H)."""
    if x.shape[1 - axis].per_item:
        raise RefusedError("whose steps depend on the batch size, and whose last state is read")
    hidden, found = x.shape[2].fixed // directions, []
    for direction in range(directions):
        shape = (x.shape[0], Size(1), Size(hidden)) if axis == 0 else (Size(1), x.shape[1], Size(hidden))
        value = part(c, node, x, shape, {1 - axis: (times[direction], 1), 2: (direction * hidden, 1)})
        found.append(permuted(c, node, value, [1, 0, 2], (Size(1), x.shape[axis], Size(hidden))) if axis == 0 else value)
    return found


def _joined(c: Translation, node: fx.Node, parts: list[Value]) -> Value:
    """Along the first axis."""
    if len(parts) == 1:
        return parts[0]
    length = sum(value.shape[0].fixed for value in parts)
    return c.emit("concat", node, parts, (Size(length), *parts[0].shape[1:]), numbers=(0,))

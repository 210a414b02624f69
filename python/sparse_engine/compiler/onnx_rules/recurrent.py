"""LSTM and GRU."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import Call, RefusedError, rule

# Of ONNX's gates, which one is torch's first, second, …: input, output, forget, cell; update, reset, new.
ORDERS = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
FUNCTIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"]}
MOST_STEPS = 64  # of a GRU that is unrolled: each takes about ten operations


@rule("LSTM", "GRU")
def _recurrent(c: Call) -> list[Tensor]:
    way, batch_first = c.text("direction", "forward"), bool(c.get("layout", 0))
    directions = 2 if way == "bidirectional" else 1
    x = c.x(0).transpose(0, 1) if batch_first else c.x(0)
    _check(c, directions, x.shape[0], x.shape[1])
    if c.op == "GRU" and not c.get("linear_before_reset", 0):
        y, last = _reset_first(c, x, way)
        states = [last]
    else:
        y, states = _by_torch(c, x, way)
    apart = y.reshape(y.shape[0], y.shape[1], directions, -1)
    if batch_first:
        return [apart.transpose(0, 1), *(state.transpose(0, 1) for state in states)]
    return [apart.transpose(1, 2), *states]


def _check(c: Call, directions: int, steps: int, batch: int) -> None:
    given = [f.decode() if isinstance(f, bytes) else str(f) for f in c.get("activations", [])]
    if given and [f.lower() for f in given] != FUNCTIONS[c.op] * directions:
        raise RefusedError(f"with activations {', '.join(given)}; {', '.join(FUNCTIONS[c.op])} are covered")
    if c.get("clip") is not None or c.get("input_forget", 0):
        raise RefusedError("with clip or input_forget")
    if c.has(4) and c.integers(4, "sequence_lens") != [steps] * batch:
        raise RefusedError("with sequences of different lengths")
    if c.has(7):
        raise RefusedError("with peepholes")


def _initial(c: Call, index: int, x: Tensor, directions: int, hidden: int) -> Tensor:
    if not c.has(index):
        return torch.zeros(directions, x.shape[1], hidden)
    state = c.x(index)
    return state.transpose(0, 1) if c.get("layout", 0) else state


def _by_torch(c: Call, x: Tensor, way: str) -> tuple[Tensor, list[Tensor]]:
    """(steps, batch, directions · hidden), and the states after the last step."""
    w, r, order = c.x(1), c.x(2), ORDERS[c.op]
    directions, hidden = r.shape[0], r.shape[2]
    params: list[Tensor] = []
    for direction in range(directions):
        params += [_in_order(m[direction], order) for m in (w, r)]
        if c.has(3):
            params += [_in_order(b, order) for b in _cut(c.x(3)[direction], 2)]
    x = x.flip(0) if way == "reverse" else x
    h = _initial(c, 5, x, directions, hidden)
    if c.op == "LSTM":
        state = [h, _initial(c, 6, x, directions, hidden)]
        y, *states = torch.lstm(x, state, params, c.has(3), 1, 0.0, False, directions == 2, False)
    else:
        y, *states = torch.gru(x, h, params, c.has(3), 1, 0.0, False, directions == 2, False)
    return (y.flip(0) if way == "reverse" else y), states


def _in_order(gates: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = _cut(gates, len(order))
    return torch.cat([parts[i] for i in order])


def _cut(rows: Tensor, count: int) -> list[Tensor]:
    """`count` equal parts. Slices, unlike what chunk gives, are parameters where `rows` is one."""
    each = rows.shape[0] // count
    return [rows[i * each : (i + 1) * each] for i in range(count)]


def _reset_first(c: Call, x: Tensor, way: str) -> tuple[Tensor, Tensor]:
    """A GRU that resets the state before its product, which no layer of torch does: step by step."""
    steps = x.shape[0]
    if steps > MOST_STEPS:
        raise RefusedError(f"with linear_before_reset = 0 over {steps} steps; up to {MOST_STEPS} are covered")
    w, r = c.x(1), c.x(2)
    hidden = r.shape[2]
    states = _initial(c, 5, x, r.shape[0], hidden)
    outputs, last = [], []
    for direction in range(r.shape[0]):
        of_x, of_h = _cut(c.x(3)[direction], 2) if c.has(3) else (None, None)
        biases = (None, None) if of_h is None else (of_h[: 2 * hidden], of_h[2 * hidden :])
        given = F.linear(x, w[direction], of_x)
        h = states[direction]
        made: dict[int, Tensor] = {}
        for t in range(steps)[:: -1 if way == "reverse" or direction == 1 else 1]:
            both = torch.sigmoid(given[t][:, : 2 * hidden] + F.linear(h, r[direction][: 2 * hidden], biases[0]))
            update, reset = both[:, :hidden], both[:, hidden:]
            product = F.linear(reset * h, r[direction][2 * hidden :], biases[1])
            fresh = torch.tanh(given[t][:, 2 * hidden :] + product)
            h = fresh + update * (h - fresh)
            made[t] = h
        outputs.append(torch.stack([made[t] for t in range(steps)]))
        last.append(h)
    return torch.cat(outputs, 2), torch.stack(last)

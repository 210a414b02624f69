"""Multiplications and additions of an exported operation, from the shapes in its graph."""

from collections.abc import Callable
from math import prod
from typing import Any

from torch import Tensor, fx

from .rules.registry import name_of

Sizes = tuple[int, ...]


def multiply_adds(node: fx.Node) -> int:
    """Of products, convolutions, attention and recurrent layers, at the batch that was exported.

    0 of anything else, and where a size depends on values.
    """
    name = name_of(node).rstrip("_")
    found = COUNTS.get(name) if node.op == "call_function" else None
    try:
        return found(node) if found is not None else 0
    except (_OpenError, IndexError):
        return 0


class _OpenError(Exception):
    """A size that is no number."""


def _sizes(argument: Any) -> Sizes:
    known = argument.meta.get("val") if isinstance(argument, fx.Node) else None
    known = known[0] if isinstance(known, (list, tuple)) and known else known
    if not isinstance(known, Tensor) or not all(isinstance(size, int) for size in known.shape):
        raise _OpenError
    return tuple(known.shape)


def _linear(node: fx.Node) -> int:
    return prod(_sizes(node)) * _sizes(node.args[1])[-1]


def _matmul(node: fx.Node) -> int:
    return prod(_sizes(node)) * _sizes(node.args[0])[-1]


def _added(node: fx.Node) -> int:
    return prod(_sizes(node)) * _sizes(node.args[1])[-1]


def _convolution(node: fx.Node) -> int:
    turned = "transpose" in name_of(node) or (name_of(node) == "convolution" and bool(node.args[6]))
    counted = _sizes(node.args[0]) if turned else _sizes(node)
    return prod(counted) * prod(_sizes(node.args[1])[1:])


def _attention(node: fx.Node) -> int:
    query, key, value = (_sizes(argument) for argument in node.args[:3])
    return prod(query) * key[-2] + prod(query[:-1]) * key[-2] * value[-1]


def _recurrent(node: fx.Node) -> int:
    lists = [argument for argument in node.args if isinstance(argument, (list, tuple))]
    weights = [prod(_sizes(weight)) for several in lists for weight in several if len(_sizes(weight)) == 2]
    return prod(_sizes(node.args[0])[:-1]) * sum(weights)


def _cell(node: fx.Node) -> int:
    return _sizes(node.args[0])[0] * sum(prod(_sizes(weight)) for weight in node.args[2:4])


def _einsum(node: fx.Node) -> int:
    equation, operands = node.args[:2]
    terms = str(equation).replace(" ", "").split("->")[0].split(",")
    assert isinstance(operands, (list, tuple))
    if len(terms) < 2 or "." in str(equation):
        return 0
    labels: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        labels |= dict(zip(term, _sizes(operand), strict=True))
    return prod(labels.values())


COUNTS: dict[str, Callable[[fx.Node], int]] = {
    "linear": _linear,
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "dot"), _matmul),
    **dict.fromkeys(("addmm", "addbmm", "baddbmm", "addmv"), _added),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    "scaled_dot_product_attention": _attention,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    **dict.fromkeys(("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), _cell),
    "einsum": _einsum,
}

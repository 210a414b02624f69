"""Comparisons and what is chosen by them. A truth value is 1 or 0 here."""

import torch
from torch import Tensor, fx

from ..graph import Shape, Value
from .arithmetic import combined
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation

_COMPARED = {"lt": "less", "le": "less_equal", "eq": "equal", "less": "less", "less_equal": "less_equal"}
_TURNED = {"gt": "less", "ge": "less_equal", "greater": "less", "greater_equal": "less_equal"}  # a > b is b < a


@rule(*_COMPARED, *_TURNED, "ne", "not_equal")
def _compared(c: Translation, node: fx.Node, a: Bound) -> Value:
    name, left, right = name_of(node), c.value(a["self"]), c.value(a["other"])
    if name in _TURNED:
        return combined(c, node, _TURNED[name], right, left)
    if name in _COMPARED:
        return combined(c, node, _COMPARED[name], left, right)
    return _opposite(c, node, combined(c, node, "equal", left, right, c.shape(node)))


def _opposite(c: Translation, node: fx.Node, x: Value, shape: Shape | None = None) -> Value:
    """1 where x is 0, and 0 where it is not."""
    return c.emit("equal", node, [x, c.value(0.0)], shape)


@rule("logical_not", "bitwise_not")
def _not(c: Translation, node: fx.Node, a: Bound) -> Value:
    return _opposite(c, node, _truth(c, a["self"]))


@rule("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor", "__and__", "__or__", "__xor__")
def _logical(c: Translation, node: fx.Node, a: Bound) -> Value:
    left, right = _truth(c, a["self"]), _truth(c, a["other"])
    kind = name_of(node).rstrip("_").rsplit("_", 1)[-1]
    op = {"and": "multiply", "or": "maximum"}.get(kind, "subtract")
    made = combined(c, node, op, left, right, c.shape(node))
    return _opposite(c, node, _opposite(c, node, made, made.shape))


def _truth(c: Translation, argument: object) -> Value:
    """An operand that is 1 or 0 as torch sees it."""
    known = argument.meta.get("val") if isinstance(argument, fx.Node) else None
    if not isinstance(known, Tensor) or known.dtype != torch.bool:
        raise RefusedError("of something else than truth values")
    return c.value(argument)


@rule("where")
def _where(c: Translation, node: fx.Node, a: Bound) -> Value:
    condition, shape = _truth(c, a["condition"]), c.shape(node)
    chosen = _kept(c, node, c.value(a["self"]), condition, shape)
    other = _kept(c, node, c.value(a["other"]), _opposite(c, node, condition, condition.shape), shape)
    return combined(c, node, "add", chosen, other)


def _kept(c: Translation, node: fx.Node, x: Value, condition: Value, shape: Shape) -> Value:
    """x where the condition holds, 0 elsewhere, whatever stands there."""
    return combined(c, node, "keep", x, condition, shape)


@rule("masked_fill")
def _masked_fill(c: Translation, node: fx.Node, a: Bound) -> Value:
    mask, shape = _truth(c, a["mask"]), c.shape(node)
    kept = _kept(c, node, c.value(a["self"]), _opposite(c, node, mask, mask.shape), shape)
    return combined(c, node, "add", kept, _kept(c, node, c.value(a["value"]), mask, shape))

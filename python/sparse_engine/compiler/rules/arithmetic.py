"""Operations on elements, of one tensor or two, with broadcast."""

from torch import fx

from ..graph import Shape, Size, Value
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation

_BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "true_divide": "divide",
    "maximum": "maximum",
    "minimum": "minimum",
}
_COMMUTES = ("add", "multiply", "maximum", "minimum")


@rule(*_BINARY)
def _binary(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("rounding_mode"):
        raise RefusedError("with a rounding mode")
    left, right = c.value(a["self"]), c.value(a["other"])
    alpha = a.get("alpha", 1)
    if alpha != 1:
        right = combined(c, node, "multiply", right, c.value(alpha), right.shape)
    return combined(c, node, _BINARY[name_of(node).rstrip("_")], left, right)


@rule("rsub")
def _subtract_from(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    if a["alpha"] != 1:
        x = combined(c, node, "multiply", x, c.value(a["alpha"]), x.shape)
    return combined(c, node, "subtract", c.value(a["other"]), x)


def combined(c: Translation, node: fx.Node, op: str, left: Value, right: Value, shape: Shape | None = None) -> Value:
    """`left` op `right`, broadcast to the node's shape, or to another.

    The program broadcasts its second operand along whole leading and trailing axes; what lies otherwise is expanded first.
    """
    target = c.shape(node) if shape is None else shape
    if left.shape != target and right.shape == target:
        if op == "subtract":  # a − b is exactly −b + a
            right = c.emit("multiply", node, [right, c.value(-1.0)], target)
            op = "add"
        if op in _COMMUTES:
            left, right = right, left
    if left.shape != target:
        left = c.emit("expand", node, [left], target)
    if not lies_under(right.shape, target):
        right = c.emit("expand", node, [right], target)
    return c.emit(op, node, [left, right], shape)


def lies_under(small: Shape, large: Shape) -> bool:
    """Whether `small` is broadcast to `large` along whole leading and trailing axes alone."""
    one = Size(1)
    aligned = [one] * (len(large) - len(small)) + list(small)
    middle = [i for i, size in enumerate(aligned) if size != one]
    return not middle or all(aligned[i] == large[i] for i in range(middle[0], middle[-1] + 1))


@rule("neg", "negative")
def _negative(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.emit("multiply", node, [c.value(a["self"]), c.value(-1.0)])


@rule("ceil")
def _ceiling(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    below = c.emit("activation", node, [_turned(c, node, x)], x.shape, activation="floor")
    return c.emit("multiply", node, [below, c.value(-1.0)])


def _turned(c: Translation, node: fx.Node, x: Value) -> Value:
    return c.emit("multiply", node, [x, c.value(-1.0)], x.shape)


@rule("abs", "absolute")
def _magnitude(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    return c.emit("maximum", node, [x, _turned(c, node, x)])


@rule("clamp", "clip", "clamp_min", "clamp_max", "hardtanh")
def _clamp(c: Translation, node: fx.Node, a: Bound) -> Value:
    low, high = (next((a[name] for name in names if a.get(name) is not None), None) for names in _BOUNDS)
    x = c.value(a["self"])
    if low == 0 and high in (None, 6):  # a tensor is equal to no number
        return c.emit("activation", node, [x], activation="relu" if high is None else "relu6")
    if low is not None:
        x = combined(c, node, "maximum", x, c.value(low))
    return x if high is None else combined(c, node, "minimum", x, c.value(high))


_BOUNDS = (("min", "min_val"), ("max", "max_val"))


@rule("sqrt", "rsqrt")
def _root(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    root = c.emit("activation", node, [x], x.shape, activation="sqrt")
    return root if name_of(node).rstrip("_") == "sqrt" else combined(c, node, "divide", c.value(1.0), root)


@rule("reciprocal")
def _reciprocal(c: Translation, node: fx.Node, a: Bound) -> Value:
    return combined(c, node, "divide", c.value(1.0), c.value(a["self"]))


@rule("square", "pow")
def _power(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, exponent = c.value(a["self"]), a.get("exponent", 2)
    if exponent == 2:
        return c.emit("multiply", node, [x, x])
    if exponent == 3:
        return c.emit("multiply", node, [c.emit("multiply", node, [x, x], x.shape), x])
    if exponent == 0.5:
        return c.emit("activation", node, [x], activation="sqrt")
    raise RefusedError(f"with exponent {exponent}; 2, 3 and 0.5 are covered")

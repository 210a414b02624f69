"""What is computed of constants alone is a constant, as small as broadcasting leaves it."""

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Array, Graph, Node, Shape, Size, Value
from ..rules.arithmetic import lies_under
from .drop_dead import drop_dead

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "less": np.less,
    "less_equal": np.less_equal,
    "equal": np.equal,
    "keep": lambda a, b: np.where(b != 0, a, 0),
}


def fold_constants(graph: Graph) -> None:
    """Masks above all: made of ones for every item, they are often the same for all, and often hide nothing."""
    known: dict[Value, Array] = {}  # with as many axes as the value, of length 1 where all along an axis are the same
    for node in list(graph):
        made = _folded(node, known)
        if made is not None:
            known[node.output] = made
    if not known:
        return
    for node in graph:
        for i, value in enumerate(node.inputs):
            small = known.get(value)
            if small is None:
                continue
            is_mask = node.op == "attention" and i == 3
            is_operand = node.op in _FUNCTIONS and i == 1 and _fits(small, node.output.shape)
            if is_mask or is_operand or small.shape == _fixed(value.shape):
                node.inputs[i] = _constant(value, small)
        if node.op == "attention" and len(node.inputs) == 4:
            mask = node.inputs[3].constant
            if mask is not None and not mask.any():
                del node.inputs[3]
    drop_dead(graph)


def _folded(node: Node, known: "dict[Value, Array]") -> "Array | None":
    arrays = [known.get(value, value.constant) for value in node.inputs]
    if node.activation != "none" or any(array is None for array in arrays):
        return None
    found = [array for array in arrays if array is not None]
    if node.op == "expand":
        return _aligned(found[0], len(node.output.shape))
    if node.op == "reshape":
        sizes = list(node.output.shape)
        if found[0].shape == _fixed(node.inputs[0].shape) and (shape := _fixed(node.output.shape)) is not None:
            return found[0].reshape(shape)
        # Axes of length 1 come and go.
        before = [size for size in node.inputs[0].shape if size != Size(1)]
        after = [size for size in sizes if size != Size(1)]
        if before != after or len(found[0].shape) != len(node.inputs[0].shape):
            return None
        lengths = iter(n for n, size in zip(found[0].shape, node.inputs[0].shape, strict=True) if size != Size(1))
        return found[0].reshape([1 if size == Size(1) else next(lengths) for size in sizes])
    if node.op in _FUNCTIONS:
        rank = len(node.output.shape)
        with np.errstate(all="ignore"):
            made = _FUNCTIONS[node.op](*(_aligned(array, rank) for array in found))
        return np.asarray(made, np.float32)
    return None


def _aligned(array: Array, rank: int) -> Array:
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def _fixed(shape: Shape) -> "tuple[int, ...] | None":
    return None if any(size.per_item for size in shape) else tuple(size.fixed for size in shape)


def _fits(small: Array, shape: Shape) -> bool:
    return lies_under(tuple(Size(n) for n in small.shape), shape)


def _constant(value: Value, array: Array) -> Value:
    return Value(value.name, tuple(Size(n) for n in array.shape), array)

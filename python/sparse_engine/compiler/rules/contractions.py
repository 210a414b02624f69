"""Contractions in Einstein's notation, as products of matrices."""

from collections.abc import Sequence
from math import prod
from string import ascii_letters
from typing import Any

from torch import fx

from ..graph import Size, Value
from .permutations import permuted
from .products import joined, product
from .registry import Bound, RefusedError, rule
from .translation import Translation, array_of


@rule("einsum")
def _einsum(c: Translation, node: fx.Node, a: Bound) -> Value:
    equation, operands = str(a["equation"]), list(a["tensors"])
    if len(operands) > 2:
        raise RefusedError(f"of {len(operands)} operands; one or two are covered")
    terms, result = _terms(equation, [len(operand.meta["val"].shape) for operand in operands])
    sizes: dict[str, Any] = {}
    for operand, term in zip(operands, terms, strict=True):
        for axis, size in zip(term, operand.meta["val"].shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise RefusedError(f"'{equation}', with an axis of {sizes[axis]} and of {size}")
    for i, term in enumerate(terms):
        others = set(result).union(*terms[:i], *terms[i + 1 :])
        if len(set(term)) != len(term) or not set(term) <= others:
            raise RefusedError(f"'{equation}', with a diagonal or a sum of one operand alone")
    if len(operands) == 1:
        return permuted(c, node, c.value(operands[0]), [terms[0].index(axis) for axis in result])
    if c.is_parameter(operands[0]):
        operands, terms = operands[::-1], terms[::-1]
    return _contracted(c, node, operands, terms, result)


def _contracted(c: Translation, node: fx.Node, operands: Sequence[Any], terms: Sequence[str], result: str) -> Value:
    x, (of_x, of_y) = c.value(operands[0]), terms
    summed = [axis for axis in of_x if axis not in result]
    both = [axis for axis in of_x if axis in of_y and axis in result]
    rows, columns = ([axis for axis in term if axis in result and axis not in both] for term in terms)
    left = _ordered(c, node, x, of_x, [*both, *rows, *summed])
    made = [*both, *rows, *columns]
    if c.is_parameter(operands[1]) and not both:
        tensor = c.parameter(operands[1], "second operand")
        tensor = tensor.permute([of_y.index(axis) for axis in (*columns, *summed)])
        outputs, inputs = (prod(tensor.shape[start:end]) for start, end in ((0, len(columns)), (len(columns), None)))
        flat = c.view(node, left, (*left.shape[: len(rows)], Size(inputs)))
        y = c.emit("linear", node, [flat], (*flat.shape[:-1], Size(outputs)), weight=array_of(tensor).reshape(outputs, inputs))
        sizes = (*flat.shape[:-1], *(Size(int(size)) for size in tensor.shape[: len(columns)]))
    else:
        right = c.value(operands[1])
        turned = [axis for axis in of_y if axis not in both] != [*summed, *columns]
        right = _ordered(c, node, right, of_y, [*both, *columns, *summed] if turned else [*both, *summed, *columns])
        n, m, k = len(both), len(rows), len(columns)
        first = k if turned else len(summed)
        of_columns = right.shape[n:][:k] if turned else right.shape[n:][first:]
        sizes = (*left.shape[: n + m], *of_columns)
        x = c.view(node, left, (*left.shape[:n], joined(left.shape[n : n + m]), joined(left.shape[n + m :])))
        right = c.view(node, right, (*right.shape[:n], joined(right.shape[n:][:first]), joined(right.shape[n:][first:])))
        y = product(c, node, x, right, turned, (*left.shape[:n], joined(left.shape[n : n + m]), joined(of_columns)))
    return _ordered(c, node, c.view(node, y, sizes), "".join(made), list(result))


def _ordered(c: Translation, node: fx.Node, x: Value, axes: str, order: Sequence[str]) -> Value:
    return permuted(c, node, x, [axes.index(axis) for axis in order])


def _terms(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The axes of each operand and of the result, a letter each; those that '...' stands for have letters of their own."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    given = left.split(",")
    free = [letter for letter in ascii_letters if letter not in equation]
    counts = [rank - len(term.replace("...", "")) for term, rank in zip(given, ranks, strict=True)]
    more = "".join(free[: max(counts)])
    terms = [term.replace("...", more[len(more) - count :]) for term, count in zip(given, counts, strict=True)]
    if not arrow:
        every = "".join(terms)
        return terms, more + "".join(sorted(axis for axis in set(every) - set(more) if every.count(axis) == 1))
    return terms, result.replace("...", more)

"""Planes of another size: by their nearest cell, or between neighbouring ones."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import fx

from ..graph import Value
from .moves import repeated
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation, constant

Places = NDArray[np.float64]


@rule("upsample_nearest1d", "upsample_nearest2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d")
def _nearest(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, sizes = _planes(c, node, a)
    if all(new % old == 0 for old, new in sizes):  # every cell so many times, exact or not
        return repeated(c, node, x, [1, 1, *(new // old for old, new in sizes)], inside=True)
    middle = 0.5 if "exact" in name_of(node) else 0.0
    places = []
    for (old, new), scale in zip(sizes, _scales(a, len(sizes)), strict=True):
        step = np.float32(1 / scale if scale else old / new)  # torch's own arithmetic decides which cell is nearest
        at = np.floor((np.arange(new, dtype=np.float32) + np.float32(middle)) * step)
        places.append(np.stack([np.minimum(at.astype(np.float64), old - 1), np.zeros(new)]))
    return _resized(c, node, x, places)


@rule("upsample_linear1d", "upsample_bilinear2d")
def _linear(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, sizes = _planes(c, node, a)
    places = []
    for (old, new), scale in zip(sizes, _scales(a, len(sizes)), strict=True):
        at = np.arange(new, dtype=np.float64)
        if a["align_corners"]:
            at *= (old - 1) / (new - 1) if new > 1 else 0.0
        else:
            at = np.maximum((at + 0.5) * (1 / scale if scale else old / new) - 0.5, 0.0)
        before = np.minimum(np.floor(at), old - 1)
        places.append(np.stack([before, np.clip(at - before, 0.0, 1.0)]))
    return _resized(c, node, x, places)


def _planes(c: Translation, node: fx.Node, a: Bound) -> tuple[Value, list[tuple[int, int]]]:
    """What is resized, and the old and new sizes of each axis of a plane."""
    x, made = c.value(a["input"] if "input" in a else a["self"]), c.shape(node)
    if any(size.per_item for size in (*x.shape[1:], *made[1:])):
        raise RefusedError("to a size that depends on the batch")
    return x, [(old.fixed, new.fixed) for old, new in zip(x.shape[2:], made[2:], strict=True)]


def _scales(a: Bound, axes: int) -> list[Any]:
    """The factor of each axis, None where the sizes say it."""
    if a.get("scale_factors") is not None:
        return list(a["scale_factors"])
    return [a.get("scales")] if axes == 1 else [a.get("scales_h"), a.get("scales_w")]


def _resized(c: Translation, node: fx.Node, x: Value, places: list[Places]) -> Value:
    if len(places) == 1:
        places = [np.zeros((2, 1)), *places]
    rows, columns = (constant(f"{node.name}_places", place.astype(np.float32)) for place in places)
    return c.emit("resize", node, [x, rows, columns])

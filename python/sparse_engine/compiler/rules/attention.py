"""Attention as one operation of torch."""

from math import isclose, sqrt

import torch
from torch import Tensor, fx

from ..graph import Size, Value
from .arithmetic import combined
from .registry import Bound, RefusedError, rule
from .translation import Translation


@rule("scaled_dot_product_attention")
def _attention(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("dropout_p"):
        raise RefusedError("with dropout")
    values = [c.value(a[name]) for name in ("query", "key", "value")]
    q, k, v = (_with_four_axes(c, node, x) for x in values)
    if a.get("enable_gqa") is not True and q.shape[1] != k.shape[1]:
        raise RefusedError("with fewer heads of keys than of queries, without enable_gqa")
    inputs = [scaled_queries(c, node, q, a.get("scale")), k, v]
    if a.get("attn_mask") is not None:
        inputs.append(_mask(c, node, a["attn_mask"]))
    shape = (*q.shape[:3], v.shape[3])
    plain = shape == c.shape(node)
    numbers = (1, 1, 1, 1, int(bool(a.get("is_causal"))))
    y = c.emit("attention", node, inputs, None if plain else shape, numbers=numbers)
    return y if plain else c.view(node, y)


def scaled_queries(c: Translation, node: fx.Node, q: Value, scale: "float | None") -> Value:
    """Queries so that a program's scale, one over the root of their features, comes to `scale`."""
    factor = 1.0 if scale is None else float(scale) * sqrt(q.shape[-1].fixed)
    return q if isclose(factor, 1.0, rel_tol=1e-6) else c.emit("multiply", node, [q, c.value(factor)], q.shape)


def _with_four_axes(c: Translation, node: fx.Node, x: Value) -> Value:
    if len(x.shape) == 3:
        return c.view(node, x, (x.shape[0], Size(1), *x.shape[1:]))
    if len(x.shape) != 4:
        raise RefusedError(f"of {len(x.shape)} axes; 3 and 4 are covered")
    return x


def _mask(c: Translation, node: fx.Node, argument: fx.Node) -> Value:
    """What is added to the scores, of four axes."""
    x, known = c.value(argument), argument.meta.get("val")
    if isinstance(known, Tensor) and known.dtype == torch.bool:
        hidden = c.emit("equal", node, [x, c.value(0.0)], x.shape)
        x = combined(c, node, "keep", c.value(float("-inf")), hidden, x.shape)
    axes = [Size(1)] * (4 - len(x.shape)) + list(x.shape)
    if len(x.shape) == 3 and len(c.shape(node)) == 3:
        axes = [x.shape[0], Size(1), *x.shape[1:]]  # the batch comes first, not heads
    return c.view(node, x, tuple(axes))

"""Normalisations."""

from collections.abc import Sequence
from math import prod

import numpy as np
from torch import fx

from ..graph import Size, Value
from .arithmetic import combined
from .registry import Bound, RefusedError, rule
from .translation import Translation, constant


@rule("batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
def _batch_norm(c: Translation, node: fx.Node, a: Bound) -> Value:
    if a.get("training") or a["running_mean"] is None:
        raise RefusedError("normalises by the batch's own statistics")
    mean = c.parameter(a["running_mean"], "mean").double().numpy()
    var = c.parameter(a["running_var"], "variance").double().numpy()
    gamma = np.ones_like(mean) if a["weight"] is None else c.parameter(a["weight"], "weight").detach().double().numpy()
    beta = np.zeros_like(mean) if a["bias"] is None else c.parameter(a["bias"], "bias").detach().double().numpy()
    scale = gamma / np.sqrt(var + float(a["eps"]))
    return c.emit("batch_norm", node, [c.value(a["input"])], scale=scale, shift=beta - mean * scale)


@rule("layer_norm")
def _layer_norm(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, axes = c.value(a["input"]), len(a["normalized_shape"])
    last = x.shape[-axes:]
    weight = constant("ones", np.ones([n.fixed for n in last], np.float32)) if a["weight"] is None else c.value(a["weight"])
    bias = constant("zeros", np.zeros([n.fixed for n in last], np.float32)) if a["bias"] is None else c.value(a["bias"])
    affine = [] if a["weight"] is None and a["bias"] is None else [weight, bias]
    return _over_rows(c, node, "layer_norm", x, axes, float(a["eps"]), affine)


@rule("rms_norm")
def _rms_norm(c: Translation, node: fx.Node, a: Bound) -> Value:
    eps = float(np.finfo(np.float32).eps) if a.get("eps") is None else float(a["eps"])
    weight = [] if a.get("weight") is None else [c.value(a["weight"])]
    return _over_rows(c, node, "rms_norm", c.value(a["input"]), len(a["normalized_shape"]), eps, weight)


@rule("group_norm")
def _group_norm(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, groups = c.value(a["input"]), int(a["num_groups"])
    if len(x.shape) < 2 or any(size.per_item for size in x.shape[1:]):
        raise RefusedError("of a value whose first axis alone is not the batch")
    channels, *plane = (size.fixed for size in x.shape[1:])
    rows = (x.shape[0], Size(groups), Size(channels // groups * prod(plane)))
    y = c.view(node, _over_rows(c, node, "layer_norm", c.view(node, x, rows), 1, float(a["eps"])), x.shape)
    for op, argument in (("multiply", a["weight"]), ("add", a["bias"])):
        if argument is not None:
            per_channel = c.value(argument)
            if per_channel.constant is None:
                raise RefusedError("its weight or bias is computed, not a parameter")
            array = per_channel.constant.reshape(-1, *(1 for _ in plane))
            y = combined(c, node, op, y, Value(per_channel.name, tuple(Size(n) for n in array.shape), array), x.shape)
    return y


def _over_rows(c: Translation, node: fx.Node, op: str, x: Value, axes: int, eps: float, affine: Sequence[Value] = ()) -> Value:
    """Layer norm or RMS norm over the last `axes`, times a weight and plus a bias where they are given."""
    if any(size.per_item for size in x.shape[-axes:]):
        raise RefusedError(f"over {axes} axes of {len(x.shape)}; the batch must not be among them")
    if axes == len(x.shape):
        return c.view(node, _over_rows(c, node, op, c.view(node, x, (Size(1), *x.shape)), axes, eps, affine), x.shape)
    shape = None if c.shape(node) == x.shape else x.shape
    return c.emit(op, node, [x, c.value(eps), *affine], shape, numbers=(axes,))

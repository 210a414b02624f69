"""Functions of every element that the program fuses into what comes before them, and those made of them."""

import numpy as np
from torch import fx

from ..graph import Size, Value
from .arithmetic import combined
from .parts import part
from .registry import Bound, RefusedError, name_of, rule
from .translation import Translation, constant

_OF_THE_PROGRAM = ("relu", "relu6", "silu", "sigmoid", "tanh", "hardswish", "hardsigmoid", "mish")
_FUNCTIONS = ("exp", "log", "floor", "erf", "sin", "cos")


@rule(*_OF_THE_PROGRAM, *_FUNCTIONS)
def _activation(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.emit("activation", node, [c.value(a["self"])], activation=name_of(node).rstrip("_"))


@rule("leaky_relu")
def _leaky_relu(c: Translation, node: fx.Node, a: Bound) -> Value:
    return c.emit("activation", node, [c.value(a["self"])], activation="leaky_relu", slope=float(a["negative_slope"]))


@rule("prelu")
def _prelu(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, weight = c.value(a["self"]), c.parameter(a["weight"], "weight").detach()
    if weight.numel() == 1:
        return c.emit("activation", node, [x], activation="leaky_relu", slope=float(weight))
    trailing = (1,) * (len(x.shape) - 2)
    slopes = constant(f"{node.name}_slopes", weight.numpy().astype(np.float32).reshape(-1, *trailing))
    below = combined(c, node, "multiply", c.emit("minimum", node, [x, c.value(0.0)], x.shape), slopes, x.shape)
    return c.emit("add", node, [c.emit("activation", node, [x], x.shape, activation="relu"), below])


@rule("elu", "celu", "selu")
def _elu(c: Translation, node: fx.Node, a: Bound) -> Value:
    name, x = name_of(node).rstrip("_"), c.value(a["self"])
    alpha, scale, inner = float(a.get("alpha", 1)), float(a.get("scale", 1)), float(a.get("input_scale", 1))
    if name == "selu":  # Klambauer et al., 2017
        alpha, scale = 1.6732632423543772, 1.0507009873554805
    if name == "celu":  # Barron, 2017
        inner, scale = 1 / alpha, alpha
        alpha = 1.0
        x = combined(c, node, "multiply", x, c.value(inner))
    elif inner != 1:
        raise RefusedError(f"with input_scale {inner}")
    y = c.emit("activation", node, [x], x.shape, activation="elu", slope=alpha)
    return y if scale == 1 else combined(c, node, "multiply", y, c.value(scale))


@rule("softplus")
def _softplus(c: Translation, node: fx.Node, a: Bound) -> Value:
    x, beta = c.value(a["self"]), float(a["beta"])
    if float(a["threshold"]) < 20:
        raise RefusedError(f"with a threshold of {a['threshold']}; below 20 it changes what is computed")
    if beta != 1:
        x = combined(c, node, "multiply", x, c.value(beta))
    y = c.emit("activation", node, [x], x.shape, activation="softplus")
    return y if beta == 1 else combined(c, node, "multiply", y, c.value(1 / beta))


@rule("gelu")
def _gelu(c: Translation, node: fx.Node, a: Bound) -> Value:
    name = "gelu" if a["approximate"] == "none" else "gelu_tanh"
    return c.emit("activation", node, [c.value(a["self"])], activation=name)


@rule("glu")
def _glu(c: Translation, node: fx.Node, a: Bound) -> Value:
    x = c.value(a["self"])
    axis = int(a["dim"]) % len(x.shape)
    half = c.shape(node)[axis].fixed
    if x.shape[axis].per_item:
        raise RefusedError("along the batch")
    shape = (*x.shape[:axis], Size(half), *x.shape[axis + 1 :])
    halves = [part(c, node, x, shape, {axis: (start, 1)}) for start in (0, half)]
    gate = c.emit("activation", node, [halves[1]], halves[1].shape, activation="sigmoid")
    return c.emit("multiply", node, [halves[0], gate])

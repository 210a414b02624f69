"""Functions of every element, of one tensor or of several with broadcast."""

from collections.abc import Callable
from functools import reduce
from math import isclose

import torch
from torch import Tensor
from torch.nn import functional as F

from .registry import DTYPES, Call, Known, RefusedError, rule

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "HardSwish": F.hardswish,
    "Log": torch.log,
    "Floor": torch.floor,
    "Ceil": torch.ceil,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Sin": torch.sin,
    "Softplus": F.softplus,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}
_PAIRS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div}


@rule(*_UNARY)
def _unary(c: Call) -> Tensor:
    return _UNARY[c.op](c.x())


@rule("Selu")
def _selu(c: Call) -> Tensor:
    alpha, gamma = c.get("alpha", 1.6732632423543772), c.get("gamma", 1.0507009873554805)
    y: Tensor = F.elu(c.x(), alpha) * gamma
    return y


@rule(*_PAIRS)
def _pair(c: Call) -> Tensor:
    if c.opset < 7 and c.get("broadcast", 0):  # named its axis then
        return _PAIRS[c.op](c.x(0), _along(c.x(0), c.x(1), c.get("axis")))
    return _PAIRS[c.op](c.x(0), c.x(1))


def _along(x: Tensor, small: Tensor, axis: "int | None") -> Tensor:
    """`small` with axes of length 1 behind, so that its first one is that axis of x."""
    if axis is None or small.ndim == 0:
        return small
    return small.reshape(*small.shape, *(1,) * (x.ndim - axis % x.ndim - small.ndim))


@rule("Max", "Min", "Sum", "Mean")
def _several(c: Call) -> Tensor:
    function = {"Max": torch.maximum, "Min": torch.minimum}.get(c.op, torch.add)
    result = reduce(function, [c.x(i) for i in range(len(c.inputs))])
    return result / len(c.inputs) if c.op == "Mean" else result


@rule("LeakyRelu")
def _leaky_relu(c: Call) -> Tensor:
    return F.leaky_relu(c.x(), c.get("alpha", 0.01))


@rule("Elu")
def _elu(c: Call) -> Tensor:
    return F.elu(c.x(), c.get("alpha", 1.0))


@rule("Celu")
def _celu(c: Call) -> Tensor:
    return F.celu(c.x(), c.get("alpha", 1.0))


@rule("PRelu")
def _prelu(c: Call) -> Tensor:
    x, slope = c.x(0), c.x(1)
    if not isinstance(c.inputs[1], Known):
        raise RefusedError("its slope is computed, not a constant")
    channels = x.shape[1] if x.ndim > 1 else 1
    if slope.numel() == 1 or (slope.numel() == channels and slope.ndim == x.ndim - 1 and slope.shape[0] == channels):
        return F.prelu(x, slope.reshape(-1))
    if slope.ndim == 1 and slope.numel() == channels and c.opset < 7:
        return F.prelu(x, slope)
    return torch.relu(x) + torch.clamp_max(x, 0.0) * slope


@rule("HardSigmoid")
def _hard_sigmoid(c: Call) -> Tensor:
    alpha, beta = c.get("alpha", 0.2), c.get("beta", 0.5)
    if isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid(c.x())
    return torch.clamp(c.x() * alpha + beta, 0.0, 1.0)


@rule("Gelu")
def _gelu(c: Call) -> Tensor:
    return F.gelu(c.x(), approximate=c.text("approximate", "none"))


@rule("Swish")
def _swish(c: Call) -> Tensor:
    alpha = c.get("alpha", 1.0)
    return F.silu(c.x()) if alpha == 1 else c.x() * torch.sigmoid(c.x() * alpha)


@rule("Softsign")
def _softsign(c: Call) -> Tensor:
    return c.x() / (torch.abs(c.x()) + 1.0)


@rule("ThresholdedRelu")
def _thresholded_relu(c: Call) -> Tensor:
    return torch.where(c.x() > c.get("alpha", 1.0), c.x(), 0.0)


@rule("Shrink")
def _shrink(c: Call) -> Tensor:
    x, bias, bound = c.x(), c.get("bias", 0.0), c.get("lambd", 0.5)
    return torch.where(x < -bound, x + bias, 0.0) + torch.where(x > bound, x - bias, 0.0)


@rule("Sign")
def _sign(c: Call) -> Tensor:
    return torch.where(c.x() > 0, 1.0, 0.0) - torch.where(c.x() < 0, 1.0, 0.0)


@rule("Clip")
def _clip(c: Call) -> Tensor:
    low, high = c.get("min"), c.get("max")
    if c.has(1):
        low = c.known(1, "lower bound").item()
    if c.has(2):
        high = c.known(2, "upper bound").item()
    if low is None and high is None:
        return c.x()
    return torch.clamp(c.x(), low, high)


@rule("Pow")
def _pow(c: Call) -> Tensor:
    exponent = c.known(1, "exponent")
    if exponent.size != 1:
        raise RefusedError(f"with exponents of shape {exponent.shape}; one number for all elements is covered")
    return power(c.x(), float(exponent.item()))


def power(x: Tensor, exponent: float) -> Tensor:
    """Whole numbers by multiplication and quarters by roots, which are right for every x that has such a power."""
    if exponent < 0:
        return torch.reciprocal(power(x, -exponent))
    whole, rest = divmod(exponent, 1)
    if whole > 16 or rest not in (0.0, 0.25, 0.5, 0.75):
        raise RefusedError(f"with exponent {exponent}; multiples of 1/4 up to 16 are covered")
    factors = [x] * int(whole)
    root = torch.sqrt(x) if rest else x
    factors += [root] if rest in (0.5, 0.75) else []
    factors += [torch.sqrt(root)] if rest in (0.25, 0.75) else []
    return reduce(torch.mul, factors) if factors else x * 0.0 + 1.0


_COMPARED = {"Less": torch.lt, "LessOrEqual": torch.le, "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Equal": torch.eq}


@rule(*_COMPARED)
def _compared(c: Call) -> Tensor:
    return _COMPARED[c.op](c.x(0), c.x(1))


@rule("And", "Or", "Xor")
def _logical(c: Call) -> Tensor:
    return {"And": torch.logical_and, "Or": torch.logical_or, "Xor": torch.logical_xor}[c.op](c.x(0), c.x(1))


@rule("Not")
def _not(c: Call) -> Tensor:
    return torch.logical_not(c.x())


@rule("Where")
def _where(c: Call) -> Tensor:
    return torch.where(c.x(0), c.x(1), c.x(2))


@rule("Cast", "CastLike")
def _cast(c: Call) -> Tensor:
    x, target = c.x(), c.get("to", 1)
    if c.op == "CastLike":
        kept = c.x(1).dtype
    elif target in DTYPES:
        kept = DTYPES[target]
    else:
        raise RefusedError(f"to ONNX's data type {target}")
    if x.dtype.is_floating_point and not kept.is_floating_point and kept != torch.bool:
        raise RefusedError(f"from {x.dtype} to {kept}; values are float32")
    if kept == torch.bool and x.dtype != torch.bool:
        return x != 0
    return x.to(kept)


@rule("QuickGelu")
def _quick_gelu(c: Call) -> Tensor:
    return c.x() * torch.sigmoid(c.x() * c.get("alpha", 1.702))


@rule("FastGelu")
def _fast_gelu(c: Call) -> Tensor:
    x = c.x() + c.x(1) if c.has(1) else c.x()
    return F.gelu(x, approximate="tanh")

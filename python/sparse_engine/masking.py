"""What keeps a pruned weight at zero, whatever optimizers and loaders do to the parameter."""

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from .mask import Mask

# Which mask a parameter is under, by identity; an entry goes with its parameter.
_masked_parameters: dict[int, tuple["weakref.ref[Tensor]", Mask]] = {}
_step_hook: Any = None

_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def write_zeros(mask: Mask, tensor: Tensor) -> None:
    """Zero `tensor` in place where `mask` is False; any dtype, device and strides."""
    with torch.no_grad():
        if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.element_size() in _SAME_SIZE:
            changed = mask.apply(tensor.detach().view(_SAME_SIZE[tensor.element_size()]).numpy())
            if changed and not tensor.is_inference():
                torch.autograd.graph.increment_version(tensor)
        else:
            tensor.masked_fill_(~mask_tensor(mask).to(tensor.device), 0)


def mask_tensor(mask: Mask) -> Tensor:
    """A new bool tensor of the weight's shape."""
    return torch.from_numpy(mask.to_numpy())


def guard(parameter: Tensor, mask: Mask) -> None:
    """Have optimizer steps keep `parameter` under `mask`."""
    global _step_hook
    key = id(parameter)

    def forget(reference: "weakref.ref[Tensor]") -> None:
        if key in _masked_parameters and _masked_parameters[key][0] is reference:
            del _masked_parameters[key]

    _masked_parameters[key] = (weakref.ref(parameter, forget), mask)
    if _step_hook is None:
        _step_hook = register_optimizer_step_post_hook(_after_step)


def guarded_by(parameter: Tensor) -> Mask | None:
    """The mask that optimizer steps keep `parameter` under."""
    entry = _masked_parameters.get(id(parameter))
    return entry[1] if entry is not None and entry[0]() is parameter else None


def release(parameter: Tensor) -> None:
    """Undo `guard`."""
    _masked_parameters.pop(id(parameter), None)


def _after_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    # Momentum gathered before pruning, or decay towards something else than zero, would bring weights back.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            mask = guarded_by(parameter)
            if mask is not None:
                write_zeros(mask, parameter)


class Watched:
    """The gradient of a whole weight, pruned places included, as the last backward pass gave it."""

    gradient: Tensor | None = None


class MaskGradient(torch.autograd.Function):
    """The identity on a clean weight; its gradient is zero where the mask is False, so clipping sees the real norm."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Mask, watched: Watched | None) -> Tensor:
        """The weight itself, seen through a view."""
        ctx.mask, ctx.watched = mask, watched
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The gradient with zeros where the mask is False."""
        gradient = gradients[0]
        if ctx.watched is not None:
            ctx.watched.gradient = gradient.detach().clone()
        if gradient.requires_grad or not gradient.is_contiguous():
            return gradient.masked_fill(~mask_tensor(ctx.mask).to(gradient.device), 0), None, None
        masked = gradient.clone()
        write_zeros(ctx.mask, masked)
        return masked, None, None

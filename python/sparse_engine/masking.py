"""What keeps a pruned weight at zero, whatever optimizers and loaders do to the parameter."""

import weakref
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from .mask import Mask

# Which mask a parameter is under, by identity, and the hook on its gradient if there is one; an entry goes with its parameter.
_masked_parameters: dict[int, tuple["weakref.ref[Tensor]", Mask, Any]] = {}
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


def guard(parameter: Tensor, mask: Mask, gradient: bool = False) -> None:
    """Have optimizer steps keep `parameter` under `mask`; with `gradient`, whatever becomes its gradient as well.

    Layers whose forward hands out their weight zero its gradient there (`MaskGradient`); the others ask for it here.
    """
    global _step_hook
    key = id(parameter)
    before = _masked_parameters.get(key)
    hook = None
    if before is not None and before[0]() is parameter:
        if before[1] is mask and (before[2] is not None or not gradient):
            return
        if before[2] is not None:
            before[2].remove()
    if gradient and parameter.requires_grad and parameter.is_leaf:
        hook = parameter.register_hook(partial(masked_gradient, mask))  # type: ignore[no-untyped-call]

    def forget(reference: "weakref.ref[Tensor]") -> None:
        if key in _masked_parameters and _masked_parameters[key][0] is reference:
            del _masked_parameters[key]

    _masked_parameters[key] = (weakref.ref(parameter, forget), mask, hook)
    if _step_hook is None:
        _step_hook = register_optimizer_step_post_hook(_after_step)


def guarded_by(parameter: Tensor) -> Mask | None:
    """The mask that optimizer steps keep `parameter` under."""
    entry = _masked_parameters.get(id(parameter))
    return entry[1] if entry is not None and entry[0]() is parameter else None


def guards_gradient(parameter: Tensor) -> bool:
    """Whether the gradient of `parameter`, if it has one, is kept under the mask too."""
    return not parameter.requires_grad or _masked_parameters[id(parameter)][2] is not None


def release(parameter: Tensor) -> None:
    """Undo `guard`."""
    entry = _masked_parameters.pop(id(parameter), None)
    if entry is not None and entry[2] is not None:
        entry[2].remove()


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
        return masked_gradient(ctx.mask, gradient), None, None


def masked_gradient(mask: Mask, gradient: Tensor) -> Tensor:
    """A new gradient, zero where the mask is False."""
    if gradient.requires_grad or not gradient.is_contiguous():
        return gradient.masked_fill(~mask_tensor(mask).to(gradient.device), 0)
    masked = gradient.clone()
    write_zeros(mask, masked)
    return masked

"""Zeros in the memory of tensors where a mask is False, and a fingerprint that tells whether that memory changed."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from .. import _core
from .mask import Mask

_NO_DISPATCH = Tensor.__torch_dispatch__  # of tensors that are memory, and not some other library's wrapper


def masked_gradient(mask: Mask, gradient: Tensor) -> Tensor:
    """A new gradient, zero where the mask is False."""
    return gradient.masked_fill(~alike(mask_tensor(mask), gradient), 0)


def is_spread(tensor: Tensor) -> bool:
    """Whether `tensor` is a DTensor, of which each process holds a part."""
    return type(tensor).__torch_dispatch__ is not _NO_DISPATCH and hasattr(tensor, "device_mesh")


def alike(flags: Tensor, tensor: Tensor) -> Tensor:
    """`flags`, of the shape of `tensor`, on its device and spread over processes as it is; nothing is sent."""
    if not is_spread(tensor):
        return flags.to(tensor.device)
    from torch.distributed.tensor import distribute_tensor

    where: Any = tensor
    return distribute_tensor(flags.to(tensor.device), where.device_mesh, where.placements, src_data_rank=None)


def write_zeros(mask: Mask, tensor: Tensor) -> None:
    """Zero `tensor` in place where `mask` is False; any dtype, device and strides. What is clean already is not written to."""
    if in_order(tensor):
        apply(mask, tensor)
        return
    with torch.no_grad():
        gone: Any = ~alike(mask_tensor(mask), tensor)
        values: Any = Tensor.detach(tensor)
        if is_spread(tensor):  # each process writes to its own part
            tensor, values, gone = values.to_local(), values.to_local(), gone.to_local()
        removed = values[gone]
        if bool((removed != 0).any()):  # NaN is not 0 either
            tensor.masked_fill_(gone, 0)


def apply(mask: Mask, tensor: Tensor) -> None:
    """Zero a tensor whose memory lies in the order of `mask`."""
    changed = _core.apply_mask_at(mask.bits, tensor.data_ptr(), tensor.numel(), tensor.element_size())
    if changed and not tensor.is_inference():
        torch.autograd.graph.increment_version(tensor)


def is_plain(tensor: Tensor) -> bool:
    """Whether memory of the CPU is in one piece, in the order of the dimensions."""
    return tensor.layout is torch.strided and tensor.is_contiguous()


def in_order(tensor: Tensor, order: tuple[int, ...] | None = None) -> bool:
    """Whether `tensor` lies in one piece of the CPU's memory, its dimensions in this order."""
    if not tensor.is_cpu or tensor.layout is not torch.strided or type(tensor).__torch_dispatch__ is not _NO_DISPATCH:
        return False
    return (tensor if order is None else Tensor.detach(tensor).permute(order)).is_contiguous() and tensor.element_size() <= 8


def order_of(tensor: Tensor) -> tuple[int, ...]:
    """The dimensions of `tensor`, those furthest apart in memory first."""
    strides = tensor.stride()
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))


def fingerprint(tensor: Tensor) -> int:
    """64 bits that tell the values of `tensor` and their order in memory."""
    if not in_order(tensor) and not in_order(tensor, order_of(tensor)):
        tensor = Tensor.detach(tensor).contiguous().cpu()
    return _core.fingerprint_at(tensor.data_ptr(), tensor.numel() * tensor.element_size())


def mask_tensor(mask: Mask) -> Tensor:
    """A new bool tensor of the weight's shape."""
    return torch.from_numpy(mask.to_numpy())


def own_copies(state_dict: Any, names: Iterable[str], local_metadata: Any) -> Any:
    """`state_dict` with copies of the tensors called `names` where loading would take the tensors themselves (assign=True): a
    mask writes to them, and they are the caller's."""
    if not local_metadata.get("assign_to_params_buffers", False):
        return state_dict
    found = {name: state_dict[name] for name in names if name in state_dict}
    return dict(state_dict) | {
        name: nn.Parameter(Tensor.detach(value).clone(), value.requires_grad)
        if isinstance(value, nn.Parameter)
        else value.clone()
        for name, value in found.items()
    }

"""What keeps a pruned weight at zero, whatever optimizers, loaders and hand-written loops do to the parameter.

Scanning a weight on every forward would cost as much as the layer. So a weight is scanned when it may have changed, and only
then, which these three tell:

- torch counts in-place operations on a tensor and its views in `_version`;
- `.data`, `.detach()`, `.numpy()` and DLPack hand out memory whose writes are not counted there: a parameter under a mask is a
  `MaskedParameter`, which notes that it gave its memory away;
- while something got from `.data`, `.numpy()` or DLPack is still alive, which the use count of the storage tells, every forward
  looks at the whole weight.

Not seen are writes to a numpy array that was made from `.detach()` and kept over a forward, and those of other processes or of
C code that kept the address.
"""

import weakref
from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from . import _core
from .mask import Mask

_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_UNKNOWN = -1  # no version of a tensor

_step_hook: Any = None


def _storage_uses(tensor: Tensor) -> int:
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))  # type: ignore[attr-defined]


_USES_OF_ONE = _storage_uses(torch.empty(1))  # of a storage that one tensor alone has


class MaskedParameter(nn.Parameter):
    """A parameter under a mask: an `nn.Parameter` in every respect, which also notes when it hands out its memory."""

    _held: "Held"

    @property  # type: ignore[override]
    def data(self) -> Tensor:
        """The memory of the parameter, as of any tensor; what is written through it is found at the next forward."""
        self._held.gave_memory()
        return _DATA.__get__(self)  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: Tensor) -> None:
        self._held.gave_memory()
        _DATA.__set__(self, value)

    def detach(self) -> Tensor:
        """As of any tensor."""
        self._held.version = _UNKNOWN
        return Tensor.detach(self)

    def numpy(self, *, force: bool = False) -> Any:
        """As of any tensor."""
        self._held.gave_memory()
        return Tensor.numpy(self, force=force)

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        self._held.gave_memory()
        return Tensor.__dlpack__(self, *args, **kwargs)

    # Copies are plain parameters: masks belong to layers, which put their own copies under them again.

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = nn.Parameter(_DATA.__get__(self).clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return torch._utils._rebuild_parameter, (_DATA.__get__(self), self.requires_grad, OrderedDict())


_DATA: Any = Tensor.data


class Held:
    """A parameter's mask, and what is known of the parameter.

    Attributes:
        version: `_version` of the parameter when it was last seen with zeros where the mask is False; -1 when it may have been
            written since.
        epoch: counts up whenever the values changed, so that what was made of them is known to be old.
        hooked: whether the gradient, if there is one, is kept under the mask too.
        watched: set while somebody wants the whole gradient.
    """

    __slots__ = ("_fingerprint", "_handles", "_in_order", "_seen", "_shared", "epoch", "hooked", "mask", "version", "watched")

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.version = _UNKNOWN
        self.epoch = 0
        self.watched: Watched | None = None
        self._seen = _UNKNOWN  # version when last looked at, whatever was handed out since
        self._shared = False  # memory was handed out for good
        self._fingerprint: int | None = None  # of the values of this epoch, when somebody asked for it
        self._in_order: tuple[tuple[int, ...], Mask] | None = None  # strides, and the mask in that order of memory
        self.hooked = False
        self._handles: tuple[Any, ...] = ()

    def gave_memory(self) -> None:
        """Note that somebody can write to the parameter without torch's counting it."""
        self.version, self._shared = _UNKNOWN, True

    def settle(self, parameter: Tensor) -> None:
        """See to it that `parameter` has zeros where the mask is False, and count up `epoch` if its values changed."""
        if parameter.requires_grad and not self.hooked and parameter.is_leaf:
            self._hook(parameter)
        version = parameter._version
        if version == self._seen and self._fingerprint is not None and fingerprint(parameter) == self._fingerprint:
            self.version = version
        else:
            self.write_zeros(parameter)
            self.epoch += 1
            self._fingerprint = None
            self.version = self._seen = parameter._version
        if self._shared:
            self._shared = _storage_uses(parameter) > _USES_OF_ONE
            if self._shared or type(parameter) is not MaskedParameter:
                self.version = _UNKNOWN

    def remember_values(self, parameter: Tensor) -> None:
        """Have the next `settle` compare with the values as they are now, where torch has counted no write."""
        self._fingerprint = fingerprint(parameter)

    def write_zeros(self, tensor: Tensor) -> None:
        """Zero `tensor`, of the mask's shape and any dtype, device and strides, where the mask is False."""
        memory, mask = in_memory_order(tensor), self.mask
        if memory is None:
            write_zeros(mask, tensor)
            return
        if memory.stride() != tensor.stride():
            if self._in_order is None or self._in_order[0] != tensor.stride():
                self._in_order = (tensor.stride(), Mask.from_numpy(mask.to_numpy().transpose(_order(tensor)).copy()))
            mask = self._in_order[1]
        _apply(mask, memory, tensor)

    def _hook(self, parameter: Tensor) -> None:
        """Have the gradient of `parameter` be zero where the mask is False, so that clipping sees the norm of what learns."""
        reference = weakref.ref(parameter)

        def on_its_way(gradient: Tensor) -> Tensor | None:
            if self.watched is not None:
                self.watched.gradient = gradient.detach().clone()
            own = reference()
            return None if own is None or _accumulates(own) else masked_gradient(self.mask, gradient)

        def accumulated(own: Tensor) -> None:
            gradient = own.grad
            if gradient is None:
                return
            if gradient.requires_grad or gradient.layout is not torch.strided:
                own.grad = masked_gradient(self.mask, gradient)
            else:
                self.write_zeros(gradient)

        self.hooked = True
        self._handles = (
            parameter.register_hook(on_its_way),  # type: ignore[no-untyped-call]
            parameter.register_post_accumulate_grad_hook(accumulated),  # type: ignore[no-untyped-call]
        )

    def release(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles, self.hooked = (), False


class Watched:
    """The gradient of a whole weight, pruned places included, as the last backward pass gave it."""

    gradient: Tensor | None = None


def hold(parameter: Tensor, mask: Mask) -> Held:
    """Put `parameter` under `mask`: its weights become 0 where that is False, and gradients and optimizer steps keep it so.

    Returns:
        What is known of it from here on; the same for everybody who puts it under the same mask.
    """
    global _step_hook
    held: Held | None = parameter.__dict__.get("_held")
    if held is None or held.mask is not mask:
        if held is not None:
            held.release()
        watched = None if held is None else held.watched
        held = parameter._held = Held(mask)  # type: ignore[attr-defined]
        held.watched = watched
        if type(parameter) is nn.Parameter:
            parameter.__class__ = MaskedParameter
    if _step_hook is None:
        _step_hook = register_optimizer_step_post_hook(_after_step)
    held.settle(parameter)
    return held


def held_by(parameter: Any) -> Held | None:
    """What `hold` made of `parameter`, or None."""
    return None if parameter is None else parameter.__dict__.get("_held")


def release(parameter: Tensor) -> None:
    """Undo `hold`; the zeros stay."""
    held: Held | None = parameter.__dict__.pop("_held", None)
    if held is not None:
        held.release()
    if type(parameter) is MaskedParameter:
        parameter.__class__ = nn.Parameter


def _after_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    # Momentum gathered before pruning, or decay towards something else than zero, would bring weights back.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            held = held_by(parameter)
            if held is not None:  # whatever its version says: fused optimizers do not count their writes
                held.settle(parameter)


def _accumulates(parameter: Tensor) -> bool:
    """Whether the backward pass that is under way adds to `parameter.grad`, rather than hand the gradient to its caller."""
    node = torch.autograd.graph.get_gradient_edge(parameter).node
    try:
        return bool(torch._C._will_engine_execute_node(node))  # type: ignore[attr-defined]
    except RuntimeError:  # does not answer inside torch.autograd.grad
        return False


def masked_gradient(mask: Mask, gradient: Tensor) -> Tensor:
    """A new gradient, zero where the mask is False."""
    return gradient.masked_fill(~mask_tensor(mask).to(gradient.device), 0)


def write_zeros(mask: Mask, tensor: Tensor) -> None:
    """Zero `tensor` in place where `mask` is False; any dtype, device and strides. What is clean already is not written to."""
    memory = in_memory_order(tensor)
    if memory is not None and memory.stride() == tensor.stride():
        _apply(mask, memory, tensor)
        return
    with torch.no_grad():
        gone = ~mask_tensor(mask).to(tensor.device)
        if bool((Tensor.detach(tensor) * gone != 0).any()) or bool(Tensor.detach(tensor)[gone].isnan().any()):
            tensor.masked_fill_(gone, 0)


def _apply(mask: Mask, memory: Tensor, tensor: Tensor) -> None:
    with torch.no_grad():
        changed = mask.apply(memory.view(_SAME_SIZE[memory.element_size()]).numpy())
        if changed and not tensor.is_inference():
            torch.autograd.graph.increment_version(tensor)


def in_memory_order(tensor: Tensor) -> Tensor | None:
    """`tensor` with its dimensions in the order of memory, contiguous; None where there is no such view on the CPU."""
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.element_size() not in _SAME_SIZE:
        return None
    memory = Tensor.detach(tensor)
    if not memory.is_contiguous():
        memory = memory.permute(_order(tensor))
    return memory if memory.is_contiguous() else None


def _order(tensor: Tensor) -> tuple[int, ...]:
    return tuple(sorted(range(tensor.dim()), key=lambda axis: -tensor.stride(axis)))


def fingerprint(tensor: Tensor) -> int:
    """64 bits that tell the values of `tensor` and their order in memory."""
    memory = in_memory_order(tensor)
    if memory is None:
        memory = Tensor.detach(tensor).contiguous().cpu()
    return _core.fingerprint(memory.reshape(-1).view(torch.uint8).numpy())


def mask_tensor(mask: Mask) -> Tensor:
    """A new bool tensor of the weight's shape."""
    return torch.from_numpy(mask.to_numpy())

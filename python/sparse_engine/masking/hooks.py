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

import sys
import weakref
from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .mask import Mask
from .steps import keeps_zeros, kept_by, watch_steps
from .zeros import apply, fingerprint, in_order, is_plain, masked_gradient, order_of, write_zeros

_UNKNOWN = -1  # no version of a tensor

_SCANNED_BELOW = 1 << 16  # weights: to look at them takes less than to find out whether one must


def _storage_uses(tensor: Tensor) -> int:
    return int(torch._C._storage_Use_Count(tensor.untyped_storage()._cdata))


_USES_OF_ONE = _storage_uses(torch.empty(1))  # of a storage that one tensor alone has


class MaskedParameter(nn.Parameter):
    """A parameter under a mask: an `nn.Parameter` in every respect, which also notes when it hands out its memory."""

    @property
    def data(self) -> Tensor:
        """The memory of the parameter, as of any tensor; what is written through it is found at the next forward."""
        _gave_memory(self)
        return _DATA.__get__(self)  # type: ignore[no-any-return]

    @data.setter
    def data(self, value: Tensor) -> None:
        _gave_memory(self)
        _DATA.__set__(self, value)

    @property
    def grad(self) -> Tensor | None:
        """As of any tensor, with zeros where the mask is False: clipping and optimizers see the norm of what learns."""
        gradient: Tensor | None = _GRAD.__get__(self)
        if gradient is None:
            return None
        held = self.__dict__.get("_held")
        if held is not None and gradient.__dict__.get("_masked") != (held, gradient._version):
            gradient = held.mask_gradient(self, gradient)
        return gradient

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        _GRAD.__set__(self, value)

    @grad.deleter
    def grad(self) -> None:
        _GRAD.__delete__(self)

    def detach(self) -> Tensor:
        """As of any tensor."""
        held = held_by(self)
        if held is not None:
            held.version = _UNKNOWN
        result = Tensor.detach(self)
        if sys._getframe(1).f_code is _NEW:  # nn.Parameter(weight) wants its own class back; under no mask, it is a plain one
            result.__class__ = MaskedParameter
        return result

    def numpy(self, *, force: bool = False) -> Any:
        """As of any tensor."""
        _gave_memory(self)
        return Tensor.numpy(self, force=force)

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any:
        _gave_memory(self)
        return Tensor.__dlpack__(self, *args, **kwargs)

    # Copies are plain parameters: masks belong to layers, which put their own copies under them again.

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = nn.Parameter(_DATA.__get__(self).clone(), self.requires_grad)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return torch._utils._rebuild_parameter, (_DATA.__get__(self), self.requires_grad, OrderedDict())


_RUN = torch.autograd.graph._engine_run_backward.__code__
_BACKWARD, _GRADIENTS = torch.autograd.backward.__code__, torch.autograd.grad.__code__
_NEW = nn.Parameter.__new__.__code__
_DATA: Any = Tensor.data
_GRAD: Any = Tensor.grad


def _gave_memory(parameter: Tensor) -> None:
    held = held_by(parameter)
    if held is not None:
        held.gave_memory()


class Held:
    """A parameter's mask, and what is known of the parameter.

    Attributes:
        version: `_version` of the parameter when it was last seen with zeros where the mask is False; -1 when it may have been
            written since.
        epoch: counts up whenever the values changed, so that what was made of them is known to be old.
        hooked: whether the gradient, if there is one, is kept under the mask too.
        watched: set while somebody wants the whole gradient.
    """

    __slots__ = (
        "_cleared",
        "_fingerprint",
        "_handles",
        "_ordered",
        "_seen",
        "_shared",
        "clean_before_step",
        "epoch",
        "hooked",
        "mask",
        "small",
        "version",
        "watched",
    )

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.small = mask.size < _SCANNED_BELOW
        self.version = _UNKNOWN
        self.epoch = 0
        self.watched: Watched | None = None
        self._seen = _UNKNOWN  # version when last looked at, whatever was handed out since
        self._shared = False  # memory was handed out for good
        self._fingerprint: int | None = None  # of the values of this epoch, when somebody asked for it
        self._ordered: tuple[tuple[int, ...], Mask] | None = None  # an order of dimensions, and the mask in it
        self.clean_before_step = False  # whether nobody but the optimizer under way wrote to the parameter
        self.hooked = False
        self._handles: tuple[Any, ...] = ()
        self._cleared: tuple[Any, ...] = ()  # what optimizers keep of the parameter, made zero under the mask too

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
            if self._shared:
                self.version = _UNKNOWN

    def remember_values(self, parameter: Tensor) -> None:
        """Have the next `settle` compare with the values as they are now, where torch has counted no write."""
        self._fingerprint = fingerprint(parameter)

    def write_zeros(self, tensor: Tensor) -> None:
        """Zero `tensor`, of the mask's shape and any dtype, device and strides, where the mask is False."""
        mask = self.mask
        # In small layers most of a step goes into finding out what to do: the usual case is seen first.
        if tensor.dtype is torch.float32 and type(tensor) in (Tensor, MaskedParameter) and tensor.is_cpu and is_plain(tensor):
            apply(mask, tensor)
            return
        if not in_order(tensor):
            order = order_of(tensor)
            if not in_order(tensor, order):
                write_zeros(mask, tensor)
                return
            if self._ordered is None or self._ordered[0] != order:
                self._ordered = (order, Mask.from_numpy(np.ascontiguousarray(mask.to_numpy().transpose(order))))
            mask = self._ordered[1]
        apply(mask, tensor)

    def _hook(self, parameter: Tensor) -> None:
        """Have the gradient of `parameter` be zero where the mask is False, so that clipping sees the norm of what learns."""
        reference = weakref.ref(parameter)

        def on_its_way(gradient: Tensor) -> Tensor | None:
            if self.watched is not None:
                self.watched.gradient = gradient.detach().clone()
            own = reference()
            if own is None or (type(own) is MaskedParameter and _accumulates(own)):
                return None  # and `MaskedParameter.grad` masks what it is added to
            return masked_gradient(self.mask, gradient)

        self.hooked = True
        self._handles = (parameter.register_hook(on_its_way),)  # type: ignore[no-untyped-call]

    def mask_gradient(self, parameter: Tensor, gradient: Tensor) -> Tensor:
        """The accumulated gradient of `parameter`, made zero where the mask is False."""
        if gradient.requires_grad or gradient.layout is not torch.strided:
            gradient = masked_gradient(self.mask, gradient)
            _GRAD.__set__(parameter, gradient)
        else:
            self.write_zeros(gradient)
        gradient._masked = (self, gradient._version)  # type: ignore[attr-defined]
        return gradient

    def after_step(self, parameter: Tensor, optimizer: torch.optim.Optimizer) -> None:
        """Zero what a step of `optimizer` may have brought back: momentum from before pruning, decay elsewhere than to 0.

        Where weight, gradient and all that the optimizer keeps are zero, a step of those in `KEEP_ZEROS` leaves zero.
        """
        if self._stays(parameter, optimizer):
            self.epoch += 1
            self._fingerprint = None
            self.version = self._seen = parameter._version
        else:
            self.settle(parameter)

    def _stays(self, parameter: Tensor, optimizer: torch.optim.Optimizer) -> bool:
        if self.small or not self.clean_before_step or not keeps_zeros(optimizer):
            return False
        gradient: Tensor | None = _GRAD.__get__(parameter)
        if gradient is None or gradient.__dict__.get("_masked") != (self, gradient._version):
            return False
        kept = kept_by(optimizer, parameter)
        if len(kept) == len(self._cleared) and all(known() is value for known, value in zip(self._cleared, kept, strict=True)):
            return True
        for value in kept:
            self.write_zeros(value)
        self._cleared = tuple(map(weakref.ref, kept))
        return False  # this step still saw what was there before

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
    held: Held | None = parameter.__dict__.get("_held")
    if held is None or held.mask is not mask:
        if held is not None:
            held.release()
        watched = None if held is None else held.watched
        held = parameter._held = Held(mask)  # type: ignore[attr-defined]
        held.watched = watched
        # On other devices torch's optimizers are slow with classes that are not its own.
        if type(parameter) is nn.Parameter and parameter.is_cpu:
            parameter.__class__ = MaskedParameter
    watch_steps()
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
        setattr(parameter, "__class__", nn.Parameter)  # noqa: B010 - mypy takes it for the class of all


def _accumulates(parameter: Tensor) -> bool:
    """Whether the backward pass that is under way adds to `parameter.grad`, rather than hand the gradient to its caller."""
    running = sys._getframe(2)  # who called the hook, by way of the engine
    if running.f_code is _RUN and running.f_back is not None and running.f_back.f_code in (_BACKWARD, _GRADIENTS):
        return running.f_back.f_code is _BACKWARD
    node = torch.autograd.graph.get_gradient_edge(parameter).node
    try:
        return bool(torch._C._will_engine_execute_node(node))
    except RuntimeError:  # does not answer inside torch.autograd.grad
        return False

"""What every pruned layer has: a mask that holds, and the way to native kernels when no gradient is needed.

A layer keeps its parameters, their names and its `state_dict` keys; only its class changes, and one plain attribute holds the
mask and what is derived from it. `weight` itself holds zeros where the mask is False, so dense arithmetic needs no mask. What
keeps it so: every step of a torch optimizer, loading a state dict and moving the module write the zeros again, and a forward
looks whether the weight changed since it was last seen clean.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from . import _core
from .choice import Choice, Choices
from .formats import DENSE, FORMATS, candidates, fitting, modelled
from .mask import Mask
from .masking import MaskGradient, Watched, guard, guarded_by, mask_tensor, write_zeros
from .parametrized import under
from .quantisation import NotQuantised

TRAINING = "training or gradients needed: model.eval() and torch.inference_mode()"
PARAMETRIZED = "the weight is computed by a parametrization"
DISABLED = "engine.dense_only() is active"
SAMPLES = 16  # weights looked at on every call

_native_enabled = True


@contextmanager
def dense_only() -> Iterator[None]:
    """Run pruned layers with torch's dense arithmetic inside the `with` block, for comparison. Process-wide."""
    global _native_enabled
    before, _native_enabled = _native_enabled, False
    try:
        yield
    finally:
        _native_enabled = before


def native_enabled() -> bool:
    """Whether no `dense_only` block is active."""
    return _native_enabled


class Packed:
    """A layer's weight as native kernels read it, in the formats asked for so far."""

    def __init__(self, weight: Tensor) -> None:
        self.key = (weight._version, weight.data_ptr())
        self.dense = weight.detach().reshape(weight.shape[0], -1).contiguous().numpy()
        flat = self.dense.reshape(-1)
        stored = np.flatnonzero(flat)
        self._places = stored[np.linspace(0, len(stored) - 1, min(SAMPLES, len(stored))).astype(np.int64)]
        self._sampled = flat[self._places].tobytes()
        self.matrices: dict[str, _core.Matrix] = {}

    def matrix(self, kernel: str) -> _core.Matrix:
        """The weight in the format of `kernel`."""
        found = self.matrices.get(kernel)
        if found is None:
            found = self.matrices[kernel] = FORMATS[kernel].pack(self.dense)
        return found

    def is_of(self, weight: Tensor) -> bool:
        """Whether `weight` is what was packed, by its version and some of the weights themselves."""
        same: bool = self.key == (weight._version, weight.data_ptr())
        return same and self.dense.reshape(-1)[self._places].tobytes() == self._sampled


class PrunedState:
    """What a pruned layer keeps beside its parameters. Mask and decisions are copied and pickled, the rest made again."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.clean: tuple[int, int] | None = None  # version and address of the weight when last seen masked
        self.packed: Packed | None = None
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}  # reason -> calls
        self.watched: Watched | None = None  # set while somebody wants the whole gradient
        self._fitting: tuple[str, ...] | None = None

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what the mask keeps."""
        if self._fitting is None:
            self._fitting = fitting(self.mask)
        return self._fitting

    def __getstate__(self) -> dict[str, Any]:
        return {"bits": self.mask.bits, "shape": self.mask.shape, "decisions": self.choices.buckets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Mask(state["bits"], state["shape"]))  # type: ignore[misc]
        self.choices.buckets.update(state.get("decisions", {}))

    def fall_back(self, reason: str) -> None:
        """Count a call that ran dense, for the report."""
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1


class Pruned(NotQuantised, nn.Module):
    """Mixin of a pruned layer. `plain` is the class it had before."""

    plain: ClassVar[type[nn.Module]]
    _sparse: PrunedState

    @property
    def mask(self) -> Mask:
        """Which weights stay."""
        return self._sparse.mask

    def _dense(self, x: Tensor, weight: Tensor) -> Tensor:
        """Torch's arithmetic with `weight` in place of the layer's own."""
        raise AssertionError("every pruned layer defines this")

    def forward(self, x: Tensor) -> Tensor:
        """The layer's result, dense on the masked weight."""
        if self.training or torch.is_grad_enabled():
            return self._dense(x, self._training_weight())
        return self._dense(x, self._weight())

    def _weight(self) -> Tensor:
        """The weight with zeros in place, as dense arithmetic needs it; gradients of pruned weights are zero."""
        state = self._sparse
        weight: Tensor | None = self._parameters.get("weight")
        if weight is None:  # a parametrization came after pruning: what it yields is masked
            return under(self.weight, mask_tensor(state.mask))  # type: ignore[arg-type]
        if torch.compiler.is_compiling():
            return weight
        ours = type(weight) is nn.Parameter and weight.is_leaf and not weight.is_inference()
        if not ours or torch._C._functorch.is_functorch_wrapped_tensor(weight):
            # torch.func.functional_call passes a tensor of its own: that one is not ours to write to.
            return torch.where(mask_tensor(state.mask).to(weight.device), weight, weight.new_zeros(()))
        if state.clean != (weight._version, weight.data_ptr()) or guarded_by(weight) is not state.mask:
            self._clean(weight)
        if weight.requires_grad and torch.is_grad_enabled():
            return MaskGradient.apply(weight, state.mask, state.watched)  # type: ignore[no-untyped-call, no-any-return]
        return weight

    def _training_weight(self) -> Tensor:
        if not torch.compiler.is_compiling():
            # Training may write through `.data`, which no version counter sees: look at the weight itself, pack again later.
            self._sparse.clean = self._sparse.packed = None
            self._sparse.fall_back(TRAINING)
        return self._weight()

    def _clean(self, weight: Any) -> None:
        if weight is None or weight.device.type == "meta":
            return
        state = self._sparse
        write_zeros(state.mask, weight)
        if type(weight) is nn.Parameter and not weight.is_inference():
            guard(weight, state.mask)
            state.clean = (weight._version, weight.data_ptr())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the mask again after a copy or a load (deepcopy and pickle come here)."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._clean(self._parameters.get("weight"))

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._clean(self._parameters.get("weight"))
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._clean(self._parameters.get("weight"))

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        return f"{super().extra_repr()}, density={self.mask.density:.4g}"


class NativePruned(Pruned):
    """Mixin of a pruned layer that native kernels can compute."""

    def _geometry(self, x: Tensor) -> Any:
        """What the native call needs to know of this input; ValueError when the layer does not take such an input."""
        raise AssertionError("every native layer defines this")

    def _bucket(self, x: Tensor) -> tuple[int, ...]:
        """The sizes that decide which kernel is fastest; the first one varies with the batch."""
        raise AssertionError("every native layer defines this")

    def _columns(self, geometry: Any, x: Tensor) -> int:
        """Columns of the product that this input makes."""
        raise AssertionError("every native layer defines this")

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: Any) -> Tensor:
        raise AssertionError("every native layer defines this")

    def forward(self, x: Tensor) -> Tensor:
        """The layer's result: dense while gradients are needed, else with the kernel that measured fastest."""
        parameters: dict[str, Any] = self._parameters
        weight, bias = parameters.get("weight"), parameters["bias"]
        if weight is None:
            self._sparse.fall_back(PARAMETRIZED)
            return self._dense(x, self._weight())
        if torch.compiler.is_compiling():
            return self._dense(x, weight)
        state = self._sparse
        if self.training or (
            torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad))
        ):
            return self._dense(x, self._training_weight())
        choice = state.choices.exact.get((x.shape, torch.get_num_threads()))
        if choice is not None and not choice.native and state.clean == (weight._version, weight.data_ptr()):
            return self._dense(x, weight)
        weight = self._weight()
        reason = self._unfit(x, weight)
        if reason is not None:
            state.fall_back(reason)
            return self._dense(x, weight)
        try:
            geometry = self._geometry(x)
        except ValueError:
            return self._dense(x, weight)  # torch refuses it in its own words
        packed = self._packed(weight)
        if choice is None:
            choice = self._decide(x, geometry, packed)
        return self._native(x, packed.matrix(choice.kernel), bias, geometry) if choice.native else self._dense(x, weight)

    def _decide(self, x: Tensor, geometry: Any, packed: Packed) -> Choice:
        state = self._sparse
        columns, density = self._columns(geometry, x), state.mask.density
        kernels = candidates(state.fitting, density, columns)
        key = (x.shape, torch.get_num_threads())

        def call(kernel: str) -> Any:
            # A whole call, not the product alone: in small layers most of the time goes into finding out what to do.
            state.choices.exact[key] = Choice(kernel, {})
            return self.forward(x)

        ways: dict[str, Any] = {kernel: partial(call, kernel) for kernel in (*kernels, DENSE)}
        choice = state.choices.decide(x.shape, self._bucket(x), ways, modelled(kernels, density, columns))
        # What no decision needs gives its memory back.
        used = {decided.kernel for decided in state.choices.buckets.values()}
        packed.matrices = {kernel: matrix for kernel, matrix in packed.matrices.items() if kernel in used}
        return choice

    def _packed(self, weight: Tensor) -> Packed:
        """The weight packed, made again when it changed."""
        state = self._sparse
        # The version counter misses writes through `.data`; some of the weights themselves are looked at for these.
        if state.packed is None or not state.packed.is_of(weight):
            write_zeros(state.mask, weight)
            state.packed = Packed(weight)
        return state.packed

    def _unfit(self, x: Tensor, weight: Tensor) -> str | None:
        """Why native code does not take this input, or None."""
        if not _native_enabled:
            return DISABLED
        if x.dtype is not torch.float32 or weight.dtype is not torch.float32:
            return f"dtype {x.dtype if x.dtype is not torch.float32 else weight.dtype}: native kernels take torch.float32"
        if not x.is_cpu or not weight.is_cpu:
            return f"device {x.device}: native kernels run on the CPU"
        if x.layout is not torch.strided:
            return f"layout {x.layout}: native kernels take dense inputs"
        if type(x) is not Tensor and type(x) is not nn.Parameter:
            return f"input of type {type(x).__name__}"
        if x.numel() == 0 or weight.numel() == 0:
            return "empty input or weight"
        if type(weight) is not nn.Parameter or weight.is_inference():
            return "the weight is not a plain parameter (functional_call, or created in inference mode)"
        if torch.is_autocast_enabled("cpu"):
            return "autocast chooses another dtype"
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        if tracing or torch._C._functorch.is_functorch_wrapped_tensor(x):
            return "a torch transform or trace is active"
        return None

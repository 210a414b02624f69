"""What every pruned layer has: a mask that holds, and the way to native kernels when no gradient is needed.

A layer keeps its parameters, their names and its `state_dict` keys; only its class changes, and one plain attribute holds the
mask and what is derived from it. `weight` itself holds zeros where the mask is False, so dense arithmetic needs no mask; what
keeps it so is in `masking.py`. A forward compares two numbers to know that nothing was written since.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F  # noqa: F401 - for torch.jit.script, see `script_as`

from .. import _core
from ..masking.hooks import Held, hold
from ..masking.mask import Mask
from ..masking.zeros import is_spread, mask_tensor, own_copies
from .dispatch import Choice, Choices
from .formats import DENSE, FORMATS, candidates, fitting, modelled
from .parametrized import under
from .quantization import NotQuantised
from .scripted import script_as

TRAINING = "training or gradients needed: model.eval() and torch.inference_mode()"
PARAMETRIZED = "the weight is computed by a parametrization"
NOT_OWN = "the weight is not the layer's own (functional_call, fully_shard)"
DISABLED = "engine.nn.dense_only() is active"


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


def transformed(x: Tensor) -> bool:
    """Whether torch follows what becomes of `x` in a way that native code would cut: a trace, a transform, forward-mode AD."""
    tracing = torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
    return tracing or forward_ad._current_level >= 0 or torch._C._functorch.is_functorch_wrapped_tensor(x)


class Packed:
    """A weight as native kernels read it, in the formats asked for so far."""

    def __init__(self, weight: Tensor, held: Held) -> None:
        self.epoch, self._weight = held.epoch, weight
        held.remember_values(weight)
        self.matrices: dict[str, _core.Matrix] = {}

    def matrix(self, kernel: str) -> _core.Matrix:
        """The weight in the format of `kernel`."""
        found = self.matrices.get(kernel)
        if found is None:
            found = self.matrices[kernel] = FORMATS[kernel].pack(self.dense())
        return found

    def dense(self) -> Any:
        """The weight as a numpy matrix, (out, in · kernel)."""
        weight = Tensor.detach(self._weight)
        return weight.reshape(weight.shape[0], -1).contiguous().numpy()


class PrunedState:
    """What a pruned layer keeps beside its parameters. Mask and decisions are copied and pickled, the rest made again."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.parameter: Any = None  # the weight that is under the mask, a Tensor
        self.held = Held(mask)  # what is known of it
        self.packed: Packed | None = None
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}  # reason -> calls
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
    __jit_unused_properties__ = ("mask", "qconfig")
    __jit_ignored_attributes__ = ("_sparse", "plain")
    _sparse: PrunedState

    @property
    def mask(self) -> Mask:
        """Which weights stay."""
        return self._sparse.mask

    def _dense(self, input: Tensor, weight: Tensor) -> Tensor:
        """Torch's arithmetic with `weight` in place of the layer's own."""
        raise AssertionError("every pruned layer defines this")

    def forward(self, input: Tensor) -> Tensor:
        """The layer's result, dense on the masked weight."""
        return self._dense(input, self._weight())

    def _weight(self) -> Any:
        """The weight with zeros in place, as dense arithmetic needs it."""
        state = self._sparse
        weight: Any = self._parameters.get("weight")
        if weight is None:  # a parametrization came after pruning: what it yields is masked
            return under(self.weight, mask_tensor(state.mask))  # type: ignore[arg-type]
        if torch.compiler.is_compiling():
            return weight
        if weight is not state.parameter:
            if tuple(weight.shape) != state.mask.shape:
                raise ValueError(
                    f"the weight has shape {tuple(weight.shape)}, its mask {state.mask.shape}: call engine.remove_masks before "
                    f"putting a weight of another shape here"
                )
            # torch.func.functional_call passes a tensor of its own, fully_shard one during calls: not ours to write to.
            return under(weight, mask_tensor(state.mask))
        held = state.held
        if (
            held.version != weight._version
            or (weight.requires_grad and not held.hooked)
            or (self.training and not weight.is_cpu)
        ):
            held.settle(weight)
        return weight

    def _clean(self) -> None:
        """Take the parameter that the layer has now under the mask."""
        weight: Any = self._parameters.get("weight")
        state = self._sparse
        state.parameter = state.packed = None
        if weight is None or weight.device.type == "meta" or tuple(weight.shape) != state.mask.shape:
            return
        if weight.is_inference():
            # No version counts what is written to such a tensor.
            with torch.inference_mode(False):
                weight = self._parameters["weight"] = nn.Parameter(weight.clone(), weight.requires_grad)
        state.held, state.parameter = hold(weight, state.mask), weight

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the mask again after a copy or a load (deepcopy and pickle come here)."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._clean()

    def register_parameter(self, name: str, param: Any) -> None:
        """As torch's; a new weight comes under the mask."""
        super().register_parameter(name, param)
        if name == "weight" and "_sparse" in self.__dict__:
            self._clean()

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._clean()
        return result

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        given = own_copies(state_dict, [f"{prefix}weight"], local_metadata)
        super()._load_from_state_dict(given, prefix, local_metadata, *args)
        self._clean()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        weight = self._parameters.get("weight")
        if weight is not None and weight is not self._sparse.parameter and is_spread(weight):  # of fully_shard since
            self._clean()
        elif weight is not None:
            self._weight()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "plain" in cls.__dict__:
            script_as(cls, cls.plain.forward)

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        return f"{super().extra_repr()}, density={self.mask.density:.4g}"


class NativePruned(Pruned):
    """Mixin of a pruned layer that native kernels can compute."""

    def _geometry(self, x: Tensor) -> Any:
        """What the native call needs to know of this input; ValueError when the layer does not take such an input."""
        raise AssertionError("every native layer defines this")

    def _columns(self, geometry: Any, x: Tensor) -> int:
        """Columns of the product that this input makes."""
        raise AssertionError("every native layer defines this")

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: Any) -> Tensor:
        raise AssertionError("every native layer defines this")

    def forward(self, input: Tensor) -> Tensor:
        """The layer's result: dense while gradients are needed, else with the kernel that measured fastest."""
        parameters: dict[str, Any] = self._parameters
        weight: Any = parameters.get("weight")
        if weight is None:
            self._sparse.fall_back(PARAMETRIZED)
            return self._dense(input, self._weight())
        if torch.compiler.is_compiling():
            return self._dense(input, weight)
        state = self._sparse
        held = state.held
        if weight is not state.parameter or held.version != weight._version:
            weight = self._weight()
        if self.training or torch.is_grad_enabled():
            bias = parameters["bias"]
            if self.training or weight.requires_grad or (bias is not None and bias.requires_grad) or input.requires_grad:
                if not held.hooked and weight.requires_grad:
                    weight = self._weight()
                state.packed = None
                state.fall_back(TRAINING)
                return self._dense(input, weight)
        choice = state.choices.exact.get((input.shape, torch.get_num_threads()))
        if choice is not None:
            choice.left -= 1
            if not choice.native and choice.left >= 0:
                return self._dense(input, weight)
        reason = self._unfit(input, weight)
        if reason is not None:
            state.fall_back(reason)
            return self._dense(input, weight)
        try:
            geometry = self._geometry(input)
        except ValueError:
            return self._dense(input, weight)  # torch refuses it in its own words
        if choice is None:
            return self._decide(input, geometry)
        if choice.left < 0:
            return self._look_again(choice, input, geometry)
        return self._native(input, self._packed().matrix(choice.kernel), parameters["bias"], geometry)

    def _decide(self, x: Tensor, geometry: Any) -> Tensor:
        """Choose a kernel for inputs of this size, and give the result for this one."""
        state = self._sparse
        columns, density = self._columns(geometry, x), state.mask.density
        kernels = candidates(state.fitting, density, columns)
        ways = self._ways(x, kernels)
        kernel, result = state.choices.decide(x.shape, (columns,), ways, modelled(kernels, density, columns))
        if result is None:
            result = self._ways(x, [kernel])[kernel]()  # taken over from elsewhere, it need not be a candidate here
        self._drop_unused()
        return result  # type: ignore[no-any-return]

    def _look_again(self, choice: Choice, x: Tensor, geometry: Any) -> Tensor:
        state = self._sparse
        kernels = candidates(state.fitting, state.mask.density, self._columns(geometry, x))
        result: Tensor = state.choices.look_again(choice, self._ways(x, [*kernels, choice.kernel]))
        self._drop_unused()
        return result

    def _drop_unused(self) -> None:
        """Give back the memory of formats that no decision needs."""
        state = self._sparse
        if state.packed is not None and not state.choices.undecided:
            used = {decided.kernel for decided in state.choices.buckets.values()}
            state.packed.matrices = {kernel: matrix for kernel, matrix in state.packed.matrices.items() if kernel in used}

    def _ways(self, x: Tensor, kernels: Sequence[str]) -> dict[str, Any]:
        """The calls to choose among, dense first."""
        weight = self._weight()

        def call(kernel: str) -> Tensor:
            # Packing and questions too: in small layers most of the time goes into finding out what to do.
            self._unfit(x, weight)
            return self._native(x, self._packed().matrix(kernel), self._parameters["bias"], self._geometry(x))

        return {DENSE: partial(self._dense, x, weight)} | {name: partial(call, name) for name in kernels if name != DENSE}

    def _packed(self) -> Packed:
        """The weight packed, made again when it changed."""
        state = self._sparse
        assert state.parameter is not None
        if state.packed is None or state.packed.epoch != state.held.epoch:
            state.packed = Packed(state.parameter, state.held)
        return state.packed

    def _unfit(self, input: Tensor, weight: Tensor) -> str | None:
        """Why native code does not take this input, or None."""
        if not _native_enabled:
            return DISABLED
        if input.dtype is not torch.float32 or weight.dtype is not torch.float32:
            return (
                f"dtype {input.dtype if input.dtype is not torch.float32 else weight.dtype}: native kernels take torch.float32"
            )
        if not input.is_cpu or not weight.is_cpu:
            return f"device {input.device}: native kernels run on the CPU"
        if input.layout is not torch.strided:
            return f"layout {input.layout}: native kernels take dense inputs"
        if type(input) is not Tensor and type(input) is not nn.Parameter:
            return f"input of type {type(input).__name__}"
        if input.numel() == 0 or weight.numel() == 0:
            return "empty input or weight"
        if weight is not self._sparse.parameter:
            return NOT_OWN
        if torch.is_autocast_enabled("cpu"):
            return "autocast chooses another dtype"
        if transformed(input):
            return "a torch transform or trace is active"
        return None


def become(layer: nn.Module, pruned: type[nn.Module]) -> None:
    """Give `layer` the class of a pruned one."""
    # torch.fx takes a layer for a leaf of the graph by the module that its class comes from.
    layer.__dict__["__module__"] = type(layer).__module__
    layer.__class__ = pruned

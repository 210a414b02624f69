"""Pruned layers with one weight that native kernels compute while no gradient is needed."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: F401 - for torch.jit.script, see `script_as`

from .. import _core
from ..masking.mask import Mask
from .base import UNHELD, PrunedState, PrunedWeight, packed_key
from .dispatch import Choice
from .fallback import DISABLED, NOT_OWN, PARAMETRIZED, TRAINING, native_enabled, transformed
from .formats import DENSE, candidates, fitting, modelled
from .tracing import takes_operators
from .value_types import NATIVE_TYPES, as_float32, name_of, unfit_types


class NativeState(PrunedState):
    """The formats that fit the mask, besides."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        super().__init__(masks)
        self._fitting: tuple[str, ...] | None = None

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what the mask keeps."""
        if self._fitting is None:
            self._fitting = fitting(self.masks["weight"])
        return self._fitting


class NativePruned(PrunedWeight):
    """Mixin of a pruned layer that native kernels can compute."""

    State: ClassVar[type[PrunedState]] = NativeState

    def _geometry(self, x: Tensor) -> Any:
        """What the native call needs to know of this input; ValueError when the layer does not take such an input."""
        raise AssertionError("every native layer defines this")

    def _columns(self, geometry: Any, x: Tensor) -> int:
        """Columns of the product that this input makes."""
        raise AssertionError("every native layer defines this")

    def _native(self, x: Tensor, matrix: _core.Matrix, bias: Tensor | None, geometry: Any) -> Tensor:
        """The layer's result for float32 tensors, in float32."""
        raise AssertionError("every native layer defines this")

    def forward(self, input: Tensor) -> Tensor:
        """The layer's result: dense while gradients are needed, else with the kernel that measured fastest."""
        parameters: dict[str, Any] = self._parameters
        if torch.compiler.is_compiling():
            return self._traced(input)
        weight: Any = parameters.get("weight")
        if weight is None:
            self._sparse.fall_back(PARAMETRIZED)
            return self._dense(input, self._masked("weight"), self._bias())
        state = self._sparse
        own, held = state.under.get("weight", UNHELD)
        if weight is not own or held.version != weight._version:
            weight = self._masked("weight")
        try:
            bias: Any = parameters["bias"]
        except KeyError:
            bias = self._bias()
        if self.training or (
            torch.is_grad_enabled()
            and (weight.requires_grad or (bias is not None and bias.requires_grad) or input.requires_grad)
        ):
            if held is not None and not held.hooked and weight.requires_grad:
                weight = self._masked("weight")
            state.packed.clear()
            state.fall_back(TRAINING)
            return self._dense(input, weight, bias)
        return self._infer(input, weight, bias)

    def _infer(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The result with the kernel that measured fastest; `weight` is what `_masked` gave."""
        state = self._sparse
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else weight.dtype  # `computing_type`
        choice = state.choices.exact.get((input.shape, torch.get_num_threads(), dtype))
        if choice is not None:
            choice.left -= 1
            if not choice.native and choice.left >= 0:
                return self._dense(input, weight, bias)
        reason = self._unfit(input, weight, bias, dtype)
        if reason is not None:
            state.fall_back(reason)
            return self._dense(input, weight, bias)
        try:
            geometry = self._geometry(input)
        except ValueError:
            return self._dense(input, weight, bias)  # torch refuses it in its own words
        if choice is None:
            return self._decide(input, bias, geometry, dtype)
        if choice.left < 0:
            return self._look_again(choice, input, bias, geometry, dtype)
        if dtype is torch.float32:  # as `_multiply`, a call more than short products bear
            return self._native(input, state.pack("weight").matrix(choice.kernel), bias, geometry)
        return self._multiply(input, choice.kernel, bias, geometry, dtype)

    def _multiply(self, x: Tensor, kernel: str, bias: Tensor | None, geometry: Any, dtype: torch.dtype) -> Tensor:
        """The result of a native kernel as `dtype`: values of that type, float32 arithmetic, rounded once."""
        matrix = self._sparse.pack("weight", dtype=dtype).matrix(kernel)
        if dtype is torch.float32:
            return self._native(x, matrix, bias, geometry)
        added = None if bias is None else as_float32(bias, dtype)
        return self._native(as_float32(x, dtype), matrix, added, geometry).to(dtype)

    def _traced(self, x: Tensor) -> Tensor:
        """The result in a graph that torch is tracing."""
        weight, bias = self._parameters.get("weight"), self._bias()
        if weight is None:
            return self._dense(x, self._masked("weight"), bias)
        if weight.dtype not in NATIVE_TYPES or not takes_operators(self, [x], [weight, bias], weight.dtype):
            return self._dense(x, weight, bias)
        return self._operator(x, weight, bias)

    def _operator(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The result as an operator of torch."""
        raise AssertionError("every native layer defines this")

    def _decide(self, x: Tensor, bias: Tensor | None, geometry: Any, dtype: torch.dtype) -> Tensor:
        """Choose a kernel for inputs of this size, and give the result for this one."""
        state = self._sparse
        columns, density = self._columns(geometry, x), state.density
        kernels = candidates(state.fitting, density, columns, dtype)
        ways = self._ways(x, bias, kernels, dtype)
        expected = modelled(kernels, density, columns, dtype)
        kernel, result = state.choices.decide(x.shape, (columns,), ways, expected, dtype)
        if result is None:  # taken over from elsewhere, the kernel need not be a candidate here
            only = self._ways(x, bias, [kernel], dtype)
            result = only[kernel]()
        self._drop_unused(dtype)
        return result  # type: ignore[no-any-return]

    def _look_again(self, choice: Choice, x: Tensor, bias: Tensor | None, geometry: Any, dtype: torch.dtype) -> Tensor:
        state = self._sparse
        kernels = candidates(state.fitting, state.density, self._columns(geometry, x), dtype)
        result: Tensor = state.choices.look_again(choice, self._ways(x, bias, [*kernels, choice.kernel], dtype))
        self._drop_unused(dtype)
        return result

    def _drop_unused(self, dtype: torch.dtype) -> None:
        """Give back the memory of formats that no decision needs."""
        state = self._sparse
        packed, own = state.packed.get(packed_key("weight", dtype)), name_of(dtype)
        if packed is not None and not state.choices.undecided:
            used = {decided.kernel for (*_, type_), decided in tuple(state.choices.buckets.items()) if type_ == own}
            packed.matrices = {kernel: matrix for kernel, matrix in tuple(packed.matrices.items()) if kernel in used}

    def _ways(self, x: Tensor, bias: Tensor | None, kernels: Sequence[str], dtype: torch.dtype) -> dict[str, Any]:
        """The calls to choose among, dense first."""
        weight: Any = self._parameters["weight"]

        def call(kernel: str) -> Tensor:
            # Packing and questions too: in small layers most of the time goes into finding out what to do.
            self._unfit(x, weight, bias, dtype)
            return self._multiply(x, kernel, bias, self._geometry(x), dtype)

        return {DENSE: partial(self._dense, x, weight, bias)} | {name: partial(call, name) for name in kernels if name != DENSE}

    def _unfit(self, input: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> str | None:
        """Why native code does not take this input, or None."""
        if not native_enabled():
            return DISABLED
        if dtype is not torch.float32 or input.dtype is not torch.float32:
            types = unfit_types(weight, input, bias)
            if types is not None:
                return types
        if not input.is_cpu or not weight.is_cpu:
            return f"device {input.device}: native kernels run on the CPU"
        if input.layout is not torch.strided:
            return f"layout {input.layout}: native kernels take dense inputs"
        if type(input) is not Tensor and type(input) is not nn.Parameter:
            return f"input of type {type(input).__name__}"
        if input.numel() == 0 or weight.numel() == 0:
            return "empty input or weight"
        if weight is not self._sparse.under.get("weight", UNHELD)[0]:
            return NOT_OWN
        if transformed(input):
            return "a torch transform or trace is active"
        return None

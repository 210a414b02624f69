"""Pruned layers whose own forward runs as it is; where it multiplies by a masked weight, native kernels do that."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from .. import _core
from ..masking.mask import Mask
from ..matrices.conv_shape import native_shape
from ..matrices.functional import native_conv1d, native_conv2d, native_conv3d, native_linear
from . import operators
from .base import Pruned, PrunedState, on_stand_ins
from .fallback import DISABLED, NOT_OWN, TRAINING, native_enabled, transformed
from .formats import DENSE, FORMATS, NARROW_COLUMNS, candidates, fitting, modelled
from .products import Convolution, Factor, Product, Products
from .tracing import takes_operators
from .value_types import NATIVE_TYPES, as_float32, computing_type, unfit_types

ANY_MASK = ("csr", "bitmask")  # formats that fit every mask
UNROUTED = "masked; its own forward does not multiply by its weights as they are"


class OwnState(PrunedState):
    """What was found out about the forward, besides."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        super().__init__(masks)
        self.factors: tuple[Factor, ...] | None = None  # weights it multiplies by; none is an empty tuple

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what every mask keeps."""
        if self.factors is None:  # which way round the weights are multiplied by is not known yet
            masks = [mask for mask in self.masks.values() if len(mask.shape) == 2]
            either = [{*fitting(mask), *fitting(_turned(mask))} for mask in masks]
            return tuple(kernel for kernel in FORMATS if kernel in ANY_MASK or all(kernel in fit for fit in either))
        factors = self.factors
        if not factors or any(factor.matrix is not None for factor in factors):
            return ANY_MASK  # experts that were not called yet may have other masks
        own = [fitting(_matrix_mask(self.masks[factor.parameter], factor)) for factor in factors]
        return tuple(kernel for kernel in FORMATS if all(kernel in fit for fit in own))


class OwnForward(Pruned):
    """Mixin of a pruned layer of any class, put before that class."""

    State: ClassVar[type[PrunedState]] = OwnState

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the plain class gives for the same arguments, on the masked weights."""
        plain = partial(super().forward, *args, **kwargs)
        if torch.compiler.is_compiling():
            return self._traced(plain, list(_tensors((args, kwargs))))
        state: Any = self._sparse
        stand_ins = self._stand_ins()
        if stand_ins:
            state.fall_back(NOT_OWN)
            return on_stand_ins(stand_ins, plain)
        inputs = list(_tensors((args, kwargs)))
        reason = self._unfit(inputs)
        if reason is None and state.factors is None:
            return self._first(plain)
        if reason is None and not state.factors:
            reason = UNROUTED
        if reason is not None:
            state.fall_back(reason)
            return plain()
        x = inputs[0]
        dtype = self._type()
        choice = state.choices.exact.get((x.shape, torch.get_num_threads(), dtype))
        if choice is None:
            return self._decide(x, plain, dtype)
        choice.left -= 1
        if choice.left < 0:
            return state.choices.look_again(choice, self._ways(choice.seconds, plain))
        return self._routed(choice.kernel, plain) if choice.native else plain()

    def _traced(self, plain: Any, inputs: list[Tensor]) -> Any:
        """The result in a graph that torch is tracing: products with masked weights become operators."""
        weights = [self._parameters.get(name) for name in self.masks]
        if any(weight is None for weight in weights):
            return plain()
        dtype = weights[0].dtype  # type: ignore[union-attr]
        if dtype not in NATIVE_TYPES or not takes_operators(self, inputs, [*self._parameters.values()], dtype):
            return plain()
        with Products(self._weights(), self._operator):
            return plain()

    def _operator(self, product: Product) -> Tensor | None:
        factor, weight = product.factor, self._parameters[product.factor.parameter]
        assert weight is not None
        if product.convolution is None:
            size = weight.shape[-2]
            rows = (0, None) if factor.matrix is None else (factor.matrix * size, (factor.matrix + 1) * size)
            return operators.linear(product.x, weight, product.bias, *rows, factor.transposed)  # type: ignore[no-any-return]
        how, axes = product.convolution, weight.dim() - 2
        sides = [(side,) * axes if isinstance(side, int) else tuple(side) for side in (how.stride, how.padding, how.dilation)]
        if isinstance(how.padding, str) or product.x.dim() != weight.dim() or any(len(side) != axes for side in sides):
            return None
        return operators.convolution(product.x, weight, product.bias, *sides, how.groups)  # type: ignore[no-any-return]

    def _first(self, plain: Any) -> Any:
        """The first call in inference finds out what the forward multiplies by."""
        state: Any = self._sparse
        found: dict[Factor, None] = {}

        def watch(product: Product) -> None:
            if product.factor.parameter in state.masks:
                found[product.factor] = None

        with Products(self._weights(), watch):
            result = plain()
        state.factors = tuple(found)
        fit = (DENSE, *state.fitting)
        decided = state.choices.buckets  # taken up from elsewhere
        for bucket in [bucket for bucket, choice in tuple(decided.items()) if choice.kernel not in fit]:
            del decided[bucket]
        if not found:
            state.fall_back(UNROUTED)
        return result

    def _decide(self, x: Tensor, plain: Any, dtype: torch.dtype) -> Any:
        state: Any = self._sparse
        density = state.density
        wide = any(f.matrix is None and getattr(self, f.parameter).dim() > 2 for f in state.factors)  # convolutions
        columns = NARROW_COLUMNS + 1 if wide else x.numel() // max(1, x.shape[-1])
        kernels = candidates(state.fitting, density, columns, dtype)
        ways = self._ways(kernels, plain)
        size = tuple(x.shape) if wide else (columns,)
        expected = modelled(kernels, density, columns, dtype)
        kernel, result = state.choices.decide(x.shape, size, ways, expected, dtype)
        return self._ways([kernel], plain)[kernel]() if result is None else result

    def _ways(self, kernels: Iterable[str], plain: Any) -> dict[str, Any]:
        return {DENSE: plain} | {kernel: partial(self._routed, kernel, plain) for kernel in kernels if kernel != DENSE}

    def _type(self) -> torch.dtype:
        """What the layer computes in; its weights under masks are all of one type."""
        return computing_type(getattr(self, next(iter(self.masks))))

    def _weights(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in self.masks}

    def _routed(self, kernel: str, plain: Any) -> Any:
        with Products(self._weights(), partial(self._native, kernel)):
            return plain()

    def _native(self, kernel: str, product: Product) -> Tensor | None:
        x, bias = product.x, product.bias
        if type(x) not in (Tensor, nn.Parameter) or not x.numel() or transformed(x):
            return None
        if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
            return None  # a module inside may learn while this one does not
        if product.factor not in self._sparse.factors and kernel not in ANY_MASK:  # type: ignore[attr-defined]
            return None  # not seen when the formats were looked for
        weight: Tensor = getattr(self, product.factor.parameter)
        dtype = computing_type(weight)
        if dtype is not torch.float32:
            if unfit_types(weight, x, bias) is not None:
                return None
            x, bias = as_float32(x, dtype), None if bias is None else as_float32(bias, dtype)
        matrix = self._matrix(product.factor, kernel, dtype)
        try:
            if product.convolution is None:
                return native_linear(x, matrix, bias).to(dtype)  # type: ignore[no-any-return]
            shape = _shape_of(product.convolution, weight.shape[2:])
            if shape is None or x.dim() not in (weight.dim(), weight.dim() - 1):
                return None
            convolve: Any = (native_conv1d, native_conv2d, native_conv3d)[weight.dim() - 3]
            return convolve(x, matrix, shape, bias).to(dtype)  # type: ignore[no-any-return]
        except (TypeError, ValueError):
            return None  # torch computes it, or refuses it in its own words

    def _matrix(self, factor: Factor, kernel: str, dtype: torch.dtype) -> _core.Matrix:
        def view(weight: Tensor) -> Tensor:
            matrix = weight if factor.matrix is None else weight[factor.matrix]
            return matrix.t() if factor.transposed else matrix

        return self._sparse.pack(factor.parameter, factor, view, dtype).matrix(kernel)

    def _unfit(self, inputs: list[Tensor]) -> str | None:
        """Why nothing native takes this call, or None."""
        if not native_enabled():
            return DISABLED
        weights = list(self._parameters.values())
        if self.training or (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*inputs, *weights))):
            return TRAINING
        masked = [self._parameters.get(name) for name in self.masks]
        held = self._sparse.under
        if any(w is None or name not in held or held[name][0] is not w for name, w in zip(self.masks, masked, strict=True)):
            return "a weight is not the layer's own (functional_call, a parametrization)"
        types = unfit_types(*(w for w in masked if w is not None))
        if types is not None or not inputs:
            return types or "no input is a tensor"
        if any(w is not None and not w.is_cpu for w in masked):
            return "native kernels run on the CPU"
        if any(type(t) is not Tensor or transformed(t) for t in inputs):
            return "a torch transform or trace is active, or an input is no plain tensor"
        return None


def _matrix_mask(mask: Mask, factor: Factor) -> Mask:
    return _turned(mask) if factor.transposed else mask


def _turned(mask: Mask) -> Mask:
    return Mask.from_numpy(np.ascontiguousarray(mask.to_numpy().T))


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _tensors(inner)
    elif isinstance(value, (tuple, list)):
        for inner in value:
            yield from _tensors(inner)


def _shape_of(how: Convolution, kernel: tuple[int, ...]) -> Any:
    """The native description of a convolution; None where there is none."""
    stride, padding, dilation = (_sides(value, len(kernel)) for value in (how.stride, how.padding, how.dilation))
    if stride is None or padding is None or dilation is None:
        return None  # padding="same" is left to torch
    return native_shape(kernel, stride, padding, padding, dilation, how.groups)


def _sides(value: Any, count: int) -> tuple[int, ...] | None:
    if isinstance(value, int):
        return (value,) * count
    if isinstance(value, (tuple, list)) and len(value) in (1, count) and all(isinstance(side, int) for side in value):
        return tuple(value) if len(value) == count else (value[0],) * count
    return None

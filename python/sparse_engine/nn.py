"""Pruned layers: dense torch arithmetic while gradients are needed, native sparse kernels otherwise.

A layer keeps its parameters, their names and its `state_dict` keys; only its class changes, and one plain attribute holds the
mask and what is derived from it. `weight` itself holds zeros where the mask is False, so dense arithmetic needs no mask. What
keeps it so: every step of a torch optimizer, loading a state dict and moving the module write the zeros again, and a forward
looks whether the weight changed since it was last seen clean.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook

from . import _core
from .choice import Choice, Choices
from .mask import Mask
from .ops import empty_like_format

# Which mask a parameter is under, by identity; an entry goes with its parameter.
_masked_parameters: dict[int, tuple["weakref.ref[Tensor]", Mask]] = {}
_step_hook: Any = None
_native_enabled = True

TRAINING = "training or gradients needed: model.eval() and torch.inference_mode()"
DISABLED = "engine.dense_only() is active"


@contextmanager
def dense_only() -> Iterator[None]:
    """Run pruned layers with torch's dense arithmetic inside the `with` block, for comparison. Process-wide."""
    global _native_enabled
    before, _native_enabled = _native_enabled, False
    try:
        yield
    finally:
        _native_enabled = before


def write_zeros(mask: Mask, tensor: Tensor) -> None:
    """Zero `tensor` in place where `mask` is False; any dtype, device and strides."""
    with torch.no_grad():
        if tensor.device.type == "cpu" and tensor.is_contiguous() and tensor.element_size() in (1, 2, 4, 8):
            integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
            changed = mask.apply(tensor.detach().view(integers).numpy())
            if changed and not tensor.is_inference():
                torch.autograd.graph.increment_version(tensor)
        else:
            tensor.masked_fill_(~mask_tensor(mask).to(tensor.device), 0)


def mask_tensor(mask: Mask) -> Tensor:
    """A new bool tensor of the weight's shape."""
    return torch.from_numpy(mask.to_numpy())


def _guard(parameter: Tensor, mask: Mask) -> None:
    """Have optimizer steps keep `parameter` under `mask`."""
    global _step_hook
    key = id(parameter)

    def forget(reference: "weakref.ref[Tensor]") -> None:
        if key in _masked_parameters and _masked_parameters[key][0] is reference:
            del _masked_parameters[key]

    _masked_parameters[key] = (weakref.ref(parameter, forget), mask)
    if _step_hook is None:
        _step_hook = register_optimizer_step_post_hook(_after_step)


def _after_step(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
    # Momentum gathered before pruning, or decay towards something else than zero, would bring weights back.
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            entry = _masked_parameters.get(id(parameter))
            if entry is not None and entry[0]() is parameter:
                write_zeros(entry[1], parameter)


class _MaskGradient(torch.autograd.Function):
    """The identity on a clean weight; its gradient is zero where the mask is False, so clipping sees the real norm."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, mask: Mask) -> Tensor:
        ctx.mask = mask
        return weight.view_as(weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0]
        if gradient.requires_grad or not gradient.is_contiguous():
            return gradient.masked_fill(~mask_tensor(ctx.mask).to(gradient.device), 0), None
        masked = gradient.clone()
        write_zeros(ctx.mask, masked)
        return masked, None


class PrunedState:
    """What a pruned layer keeps beside its parameters. Only the mask is copied and pickled; the rest is made again."""

    def __init__(self, mask: Mask) -> None:
        self.mask = mask
        self.clean: tuple[int, int] | None = None  # version and address of the weight when last seen masked
        self.packed: tuple[tuple[int, int], _core.Csr] | None = None
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}  # reason -> calls

    def __getstate__(self) -> dict[str, Any]:
        return {"bits": self.mask.bits, "shape": self.mask.shape}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(Mask(state["bits"], state["shape"]))  # type: ignore[misc]

    def fall_back(self, reason: str) -> None:
        """Count a call that ran dense, for the report."""
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1


class Pruned(nn.Module):
    """Mixin of a pruned layer. `plain` is the class it had before."""

    plain: ClassVar[type[nn.Module]]
    _sparse: PrunedState

    @property
    def mask(self) -> Mask:
        """Which weights stay."""
        return self._sparse.mask

    def _weight(self) -> Tensor:
        """The weight with zeros in place, as dense arithmetic needs it; gradients of pruned weights are zero."""
        weight = self._parameters["weight"]
        assert weight is not None
        if torch.compiler.is_compiling():
            return weight
        state = self._sparse
        entry = _masked_parameters.get(id(weight))
        ours = type(weight) is nn.Parameter and weight.is_leaf and not weight.is_inference()
        if not ours or torch._C._functorch.is_functorch_wrapped_tensor(weight):
            # torch.func.functional_call passes a tensor of its own: that one is not ours to write to.
            return torch.where(mask_tensor(state.mask).to(weight.device), weight, weight.new_zeros(()))
        if state.clean != (weight._version, weight.data_ptr()) or entry is None or entry[1] is not state.mask:
            self._clean(weight)
        if weight.requires_grad and torch.is_grad_enabled():
            return _MaskGradient.apply(weight, state.mask)  # type: ignore[no-untyped-call, no-any-return]
        return weight

    def _training_weight(self) -> Tensor:
        if torch.compiler.is_compiling():
            return self._weight()
        # Training code may write through `.data`, which no version counter sees: look at the weight itself, pack again later.
        self._sparse.clean = self._sparse.packed = None
        self._sparse.fall_back(TRAINING)
        return self._weight()

    def _clean(self, weight: Tensor) -> None:
        state = self._sparse
        write_zeros(state.mask, weight)
        if isinstance(weight, nn.Parameter):
            _guard(weight, state.mask)
        state.clean = (weight._version, weight.data_ptr())

    def _csr(self, weight: Tensor) -> _core.Csr:
        """The weight packed, made again when it changed."""
        state = self._sparse
        key = (weight._version, weight.data_ptr())
        packed = state.packed
        if packed is None or packed[0] != key:
            dense = weight.detach().reshape(weight.shape[0], -1).contiguous().numpy()
            packed = state.packed = (key, _core.Csr.from_dense(dense))
        return packed[1]

    def _unfit(self, x: Tensor, weight: Tensor) -> str | None:
        """Why native code does not take this input, or None."""
        if not _native_enabled:
            return DISABLED
        if x.dtype is not torch.float32 or weight.dtype is not torch.float32:
            return (
                f"dtype {x.dtype if x.dtype is not torch.float32 else weight.dtype}: native kernels take torch.float32"
            )
        if x.device.type != "cpu" or weight.device.type != "cpu":
            return f"device {x.device}: native kernels run on the CPU"
        if x.layout is not torch.strided:
            return f"layout {x.layout}: native kernels take dense inputs"
        if type(x) is not Tensor and type(x) is not nn.Parameter:
            return f"input of type {type(x).__name__}"
        if type(weight) is not nn.Parameter or weight.is_inference():
            return "the weight is not a plain parameter (functional_call, or created in inference mode)"
        if torch.is_autocast_enabled("cpu"):
            return "autocast chooses another dtype"
        if torch._C._functorch.is_functorch_wrapped_tensor(x) or torch.jit.is_tracing():
            return "a torch transform or trace is active"
        return None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the mask again after a copy or a load (deepcopy and pickle come here)."""
        super().__setstate__(state)
        weight = self._parameters["weight"]
        if weight is not None:
            self._clean(weight)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)
        weight = self._parameters["weight"]
        if weight is not None and weight.device.type != "meta":
            self._clean(weight)
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        weight = self._parameters["weight"]
        if weight is not None:
            self._clean(weight)

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        return f"{super().extra_repr()}, density={self.mask.density:.4g}"


def _needs_gradients(x: Tensor, parameters: dict[str, Tensor | None]) -> bool:
    return x.requires_grad or any(p is not None and p.requires_grad for p in parameters.values())


class SparseLinear(Pruned, nn.Linear):
    """A pruned `torch.nn.Linear`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """y = x · Wᵀ + b for x (..., in_features)."""
        parameters = self._parameters
        weight, bias = parameters["weight"], parameters["bias"]
        if torch.compiler.is_compiling():
            return F.linear(x, weight, bias)  # type: ignore[arg-type]
        state = self._sparse
        if self.training or (torch.is_grad_enabled() and _needs_gradients(x, parameters)):
            return F.linear(x, self._training_weight(), bias)
        features = self.in_features
        count = x.numel() // features if features else 0
        choice = state.choices.exact.get((count, torch.get_num_threads()))
        if choice is not None and not choice.native and state.clean == (weight._version, weight.data_ptr()):  # type: ignore[union-attr]
            return F.linear(x, weight, bias)  # type: ignore[arg-type]
        weight = self._weight()
        reason = self._unfit(x, weight)
        if reason is None and (x.dim() == 0 or x.shape[-1] != features or count == 0):
            reason = "empty or mismatched input"
        if reason is not None:
            state.fall_back(reason)
            return F.linear(x, weight, bias)
        matrix = self._csr(weight)
        if choice is None:
            choice = state.choices.decide(
                (count,),
                lambda: self._native(x, matrix, bias),
                lambda: F.linear(x, weight, bias),
            )
        return self._native(x, matrix, bias) if choice.native else F.linear(x, weight, bias)

    def _native(self, x: Tensor, matrix: _core.Csr, bias: Tensor | None) -> Tensor:
        lead = x.shape[:-1]
        x = x.detach() if x.requires_grad else x
        flat = x if len(lead) == 1 else x.reshape(-1, x.shape[-1])
        y = torch.empty((flat.shape[0], matrix.rows), dtype=torch.float32)
        _core.linear(_numpy(flat), matrix, _bias(bias), _core.Activation.none, y.numpy())
        return y if len(lead) == 1 else y.view(*lead, matrix.rows)


class SparseConv2d(Pruned, nn.Conv2d):
    """A pruned `torch.nn.Conv2d`: same parameters, same results within rounding, native sparse kernels in inference."""

    plain = nn.Conv2d

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (N, Cin, H, W) or (Cin, H, W)."""
        parameters = self._parameters
        weight, bias = parameters["weight"], parameters["bias"]
        if torch.compiler.is_compiling():
            return self._conv_forward(x, weight, bias)  # type: ignore[arg-type]
        state = self._sparse
        if self.training or (torch.is_grad_enabled() and _needs_gradients(x, parameters)):
            return self._conv_forward(x, self._training_weight(), bias)
        size = x.shape
        choice = state.choices.exact.get((*size, torch.get_num_threads()))
        if choice is not None and not choice.native and state.clean == (weight._version, weight.data_ptr()):  # type: ignore[union-attr]
            return self._conv_forward(x, weight, bias)  # type: ignore[arg-type]
        weight = self._weight()
        reason = self._unfit(x, weight)
        if reason is None and (x.dim() not in (3, 4) or x.shape[-3] != self.in_channels or x.numel() == 0):
            reason = "empty or mismatched input"
        if reason is not None:
            state.fall_back(reason)
            return self._conv_forward(x, weight, bias)
        try:
            geometry = self._geometry(x)
        except ValueError:
            return self._conv_forward(x, weight, bias)  # torch refuses it in its own words
        matrix = self._csr(weight)
        if choice is None:
            choice = state.choices.decide(
                tuple(size),
                lambda: self._native(x, matrix, bias, geometry),
                lambda: self._conv_forward(x, weight, bias),
            )
        return self._native(x, matrix, bias, geometry) if choice.native else self._conv_forward(x, weight, bias)

    def _geometry(self, x: Tensor) -> tuple[_core.Conv2dShape, tuple[int, int]]:
        """The native description of this convolution and its output size; ValueError where there is none."""
        left, right, top, bottom = self._reversed_padding_repeated_twice
        height, width = x.shape[-2], x.shape[-1]
        pads = (top, left, bottom, right)
        if self.padding_mode != "zeros":  # padded by torch first
            height, width, pads = height + top + bottom, width + left + right, (0, 0, 0, 0)
        shape = _core.Conv2dShape(self.kernel_size, self.stride, pads, self.dilation, self.groups)  # type: ignore[arg-type]
        return shape, shape.output_size(height, width)

    def _native(
        self, x: Tensor, matrix: _core.Csr, bias: Tensor | None, geometry: tuple[_core.Conv2dShape, tuple[int, int]]
    ) -> Tensor:
        shape, (height, width) = geometry
        images = x.detach() if x.requires_grad else x
        if self.padding_mode != "zeros":
            images = F.pad(images, self._reversed_padding_repeated_twice, mode=self.padding_mode)
        if x.dim() == 3:
            images = images.unsqueeze(0)
        y = empty_like_format(images, (images.shape[0], matrix.rows, height, width))
        _core.conv2d(_numpy(images), matrix, shape, _bias(bias), _core.Activation.none, y.numpy())
        return y if x.dim() == 4 else y.squeeze(0)


class MaskedConv1d(Pruned, nn.Conv1d):
    """A pruned `torch.nn.Conv1d`: masked, computed dense."""

    plain = nn.Conv1d

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (N, Cin, L) or (Cin, L)."""
        if self.training or torch.is_grad_enabled():
            return self._conv_forward(x, self._training_weight(), self.bias)
        return self._conv_forward(x, self._weight(), self.bias)


class MaskedConv3d(Pruned, nn.Conv3d):
    """A pruned `torch.nn.Conv3d`: masked, computed dense."""

    plain = nn.Conv3d

    def forward(self, x: Tensor) -> Tensor:
        """The convolution of x (N, Cin, D, H, W) or (Cin, D, H, W)."""
        if self.training or torch.is_grad_enabled():
            return self._conv_forward(x, self._training_weight(), self.bias)
        return self._conv_forward(x, self._weight(), self.bias)


def _numpy(x: Tensor) -> Any:
    return x.resolve_neg().numpy() if x.is_neg() else x.numpy()


def _bias(bias: Tensor | None) -> Any:
    return None if bias is None else bias.detach().contiguous().numpy()


# The class a layer takes when it is pruned. Keyed by exact class: a subclass with a forward of its own must keep it.
PRUNED_CLASSES: dict[type[nn.Module], type[Pruned]] = {
    nn.Linear: SparseLinear,
    nn.modules.linear.NonDynamicallyQuantizableLinear: SparseLinear,
    nn.Conv1d: MaskedConv1d,
    nn.Conv2d: SparseConv2d,
    nn.Conv3d: MaskedConv3d,
}


def attach(layer: nn.Module, mask: Mask) -> None:
    """Put `layer` under `mask`: its class becomes the pruned one, its weight is zeroed where the mask is False."""
    if not isinstance(layer, Pruned):
        layer.__class__ = PRUNED_CLASSES[type(layer)]
    assert isinstance(layer, Pruned)
    layer._sparse = PrunedState(mask)
    layer._clean(layer._parameters["weight"])  # type: ignore[arg-type]


def detach(layer: Pruned) -> None:
    """Undo `attach`; the zeros stay."""
    weight = layer._parameters["weight"]
    _masked_parameters.pop(id(weight), None)
    del layer._sparse
    layer.__class__ = layer.plain


__all__ = [
    "Choice",
    "MaskedConv1d",
    "MaskedConv3d",
    "Pruned",
    "SparseConv2d",
    "SparseLinear",
    "attach",
    "dense_only",
    "detach",
    "mask_tensor",
]

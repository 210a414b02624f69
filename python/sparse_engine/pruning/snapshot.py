"""What a model was, to put it back when something fails halfway: "all or nothing" for what changes a model in many steps."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..masking.hooks import release
from ..nn.base import Pruned
from .attachment import pruned_weights, put_masks

LAYERS = Pruned.__module__.rpartition(".")[0]  # the package of what pruned layers keep


class Snapshot:
    """A model's tensors, masks, channels, decisions, flags and plain attributes as they are now.

    Costs the memory of the model's tensors as long as it lives. Tensors keep their identity: values are copied back in place.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._masks = dict(pruned_weights(model))
        self._classes = [(module, type(module)) for module in model.modules()]
        self._containers: list[tuple[Any, Any]] = []
        self._tensors: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
        seen: set[int] = set()
        for module in model.modules():
            self._keep(vars(module), seen)

    def restore(self) -> None:
        """Put everything back."""
        put_masks(self._model, {})  # as it is now
        for tensor, memory, *_ in self._tensors:
            release(tensor)  # a parameter that was replaced by another since may be under a mask still
            moved = tensor.layout is torch.strided and tensor.data_ptr() != memory.data_ptr()
            if moved or tensor.shape != memory.shape:
                tensor.data = memory
        self._put_back()
        # What guards the weights is renewed; the states of the layers are theirs again after it.
        put_masks(self._model, self._masks)
        self._put_back()
        for module in self._model.modules():
            if isinstance(module, Pruned):
                module._clean()
        for tensor, _, values, gradient in self._tensors:
            with torch.inference_mode(tensor.is_inference()), torch.no_grad():
                if not _overlaps(tensor):  # nobody can have written to one that does
                    tensor.copy_(values)
            if tensor.is_leaf:
                tensor.grad = gradient

    def _put_back(self) -> None:
        for module, kind in self._classes:
            module.__class__ = kind
        for container, copied in self._containers:
            _PUT_BACK[type(container)](container, copied)

    def _keep(self, value: Any, seen: set[int]) -> None:
        if id(value) in seen or isinstance(value, nn.Module):  # modules are gone through one by one
            return
        seen.add(id(value))
        if isinstance(value, Tensor):
            if not nn.parameter.is_lazy(value):
                self._tensors.append((value, value.data, value.detach().clone(), value.grad if value.is_leaf else None))
        elif type(value) in _PUT_BACK:  # a subclass may mean anything by its entries
            self._containers.append((value, value.copy()))
            for inner in list(value.values()) if isinstance(value, dict) else list(value):
                self._keep(inner, seen)
        elif type(value).__module__.startswith(LAYERS) and hasattr(value, "__dict__"):  # what layers keep here
            self._keep(vars(value), seen)


def _overlaps(tensor: Tensor) -> bool:
    """Whether entries share memory, as those of an expanded tensor do."""
    return tensor.layout is torch.strided and any(
        stride == 0 and side > 1 for stride, side in zip(tensor.stride(), tensor.shape, strict=True)
    )


def _refill(container: Any, copied: Any) -> None:
    container.clear()
    container.update(copied)


def _relist(container: Any, copied: Any) -> None:
    container[:] = copied


_PUT_BACK: dict[Any, Callable[[Any, Any], None]] = {dict: _refill, OrderedDict: _refill, set: _refill, list: _relist}

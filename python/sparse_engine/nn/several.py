"""Pruned layers with several weights: a mask that holds for each parameter, as `layer.py` has it for one."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..masking.hooks import Held, hold
from ..masking.mask import Mask
from ..masking.zeros import is_spread, mask_tensor, own_copies
from .dispatch import Choices
from .parametrized import hold_computed, under
from .quantization import NotQuantised

StandIns = list[tuple[nn.Module, str, Tensor]]


class SeveralState:
    """What such a layer keeps beside its parameters. Masks and decisions are copied and pickled, the rest made again."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        self.masks = masks
        self.under: dict[str, tuple[Tensor, Held]] = {}  # the parameters that are under them, and what is known of these
        self.spread: set[str] = set()  # parameters that were a DTensor: fully_shard has whole ones stand in for them in calls
        self.packed: dict[str, Any] = {}
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what every mask keeps, of those that such a layer takes."""
        return ("csr",)

    def __getstate__(self) -> dict[str, Any]:
        masks = {name: (mask.bits, mask.shape) for name, mask in self.masks.items()}
        return {"masks": masks, "decisions": self.choices.buckets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__({name: Mask(*parts) for name, parts in state["masks"].items()})  # type: ignore[misc]
        self.choices.buckets.update(state["decisions"])

    def fall_back(self, reason: str) -> None:
        """Count a call that ran dense, for the report."""
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1


class PrunedSeveral(NotQuantised, nn.Module):
    """Mixin of a pruned layer with several weights. `plain` is the class it had before."""

    plain: ClassVar[type[nn.Module]]
    __jit_unused_properties__: Any = ("masks", "all_weights", "qconfig")
    __jit_ignored_attributes__ = ("_sparse", "plain")
    _sparse: SeveralState

    @property
    def masks(self) -> dict[str, Mask]:
        """Which weights stay, by parameter."""
        return self._sparse.masks

    def _hold(self) -> StandIns:
        """Zeros where the masks are False, whatever wrote to the weights, and in what becomes their gradient.

        Returns:
            Of weights that are not the layer's own (those of functional_call, or of fully_shard for the time of a call), which
            are not ours to write to, a masked tensor to stand in for each: run what reads them with `on_stand_ins`.
        """
        state = self._sparse
        stand_ins: StandIns = []
        for name, (parameter, held) in state.under.items():
            if self._parameters.get(name) is parameter and (
                held.version != parameter._version or (parameter.requires_grad and not held.hooked)
            ):
                held.settle(parameter)
        for name, mask in state.masks.items():
            weight = self._parameters.get(name)
            if name not in self._parameters:
                hold_computed(self, name, mask)
            elif weight is not None and (name not in state.under or state.under[name][0] is not weight):
                if tuple(weight.shape) != mask.shape:
                    raise ValueError(
                        f"{name} has shape {tuple(weight.shape)}, its mask {mask.shape}: call engine.remove_masks before "
                        f"putting a weight of another shape here"
                    )
                stand_ins.append((self, name, under(weight, mask_tensor(mask))))
        return stand_ins

    def _clean(self, name: str) -> None:
        """Take the parameter called `name`, as the layer has it now, under its mask."""
        weight: Any = self._parameters.get(name)
        state = self._sparse
        state.under.pop(name, None)
        state.packed.clear()
        if weight is None or weight.device.type == "meta" or tuple(weight.shape) != state.masks[name].shape:
            return
        if is_spread(weight):
            state.spread.add(name)
        elif name in state.spread:
            return
        if weight.is_inference():
            # No version counts what is written to such a tensor.
            with torch.inference_mode(False):
                weight = nn.Parameter(weight.clone(), weight.requires_grad)
            setattr(self, name, weight)
        else:
            state.under[name] = (weight, hold(weight, state.masks[name]))

    def _clean_all(self) -> None:
        for name in self._sparse.masks:
            self._clean(name)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the masks again after a copy or a load."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._clean_all()

    def register_parameter(self, name: str, param: Any) -> None:
        """As torch's; a new weight comes under its mask."""
        super().register_parameter(name, param)
        if "_sparse" in self.__dict__ and name in self._sparse.masks:
            self._clean(name)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._clean_all()
        return result

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        given = own_copies(state_dict, [f"{prefix}{name}" for name in self._sparse.masks], local_metadata)
        super()._load_from_state_dict(given, prefix, local_metadata, *args)
        self._clean_all()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name in self.masks:
            weight = self._parameters.get(name)
            if weight is not None and is_spread(weight) and self._sparse.under.get(name, (None,))[0] is not weight:
                self._clean(name)  # of fully_shard since
        self._hold()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        kept, size = (sum(getattr(mask, what) for mask in self.masks.values()) for what in ("kept", "size"))
        own = super().extra_repr()
        return f"{own}{', ' * bool(own)}density={kept / size if size else 1.0:.4g}"


def on_stand_ins(stand_ins: StandIns, call: Callable[[], Any]) -> Any:
    """What `call` gives while masked tensors stand in for the weights of `PrunedSeveral._hold`."""
    before = [module._parameters[name] for module, name, _ in stand_ins]
    try:
        for module, name, tensor in stand_ins:
            module._parameters[name] = tensor  # type: ignore[assignment]
        return call()
    finally:
        for (module, name, _), parameter in zip(stand_ins, before, strict=True):
            module._parameters[name] = parameter

"""Pruned layers with several weights: a mask that holds for each parameter, as `layer.py` has it for one."""

from typing import Any, ClassVar

from torch import nn

from .choice import Choices
from .mask import Mask
from .masking import guard, guarded_by, guards_gradient, write_zeros
from .parametrized import hold_computed
from .quantisation import NotQuantised


class SeveralState:
    """What such a layer keeps beside its parameters. Masks and decisions are copied and pickled, the rest made again."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        self.masks = masks
        self.clean: dict[str, tuple[int, int]] = {}  # version and address of each weight when last seen masked
        self.packed: dict[str, Any] = {}
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}

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
    _sparse: SeveralState

    @property
    def masks(self) -> dict[str, Mask]:
        """Which weights stay, by parameter."""
        return self._sparse.masks

    def _hold(self) -> None:
        """Zeros where the masks are False, whatever wrote to the weights, and in what becomes their gradient."""
        state = self._sparse
        for name, mask in state.masks.items():
            if name not in self._parameters:
                hold_computed(self, name, mask)
                continue
            weight: Any = getattr(self, name)
            seen = state.clean.get(name) == (weight._version, weight.data_ptr())
            if self.training or not seen or guarded_by(weight) is not mask or not guards_gradient(weight):
                self._clean(name)

    def _clean(self, name: str) -> None:
        weight: Any = self._parameters.get(name)
        if weight is None or weight.device.type == "meta":
            return
        mask = self._sparse.masks[name]
        write_zeros(mask, weight)
        if type(weight) is nn.Parameter and not weight.is_inference():
            guard(weight, mask, gradient=True)
            self._sparse.clean[name] = (weight._version, weight.data_ptr())

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the masks again after a copy or a load."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for name in self._sparse.masks:
            self._clean(name)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name in self._sparse.masks:
            self._clean(name)
        return result

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        for name in self._sparse.masks:
            self._clean(name)

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        kept, size = (sum(getattr(mask, what) for mask in self.masks.values()) for what in ("kept", "size"))
        own = super().extra_repr()
        return f"{own}{', ' * bool(own)}density={kept / size if size else 1.0:.4g}"

"""What every pruned layer has: masks that hold, one for each of its pruned parameters.

A layer keeps its parameters, their names and its `state_dict` keys; only its class changes, and one plain attribute holds the
masks and what is derived from them. The parameters themselves hold zeros where their masks are False, so dense arithmetic needs
no mask; what keeps them so is in `masking/hooks.py`. A forward compares two numbers to know that nothing was written since.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: F401 - for torch.jit.script, see `script_as`

from ..masking.hooks import Held, hold
from ..masking.mask import Mask
from ..masking.zeros import is_spread, mask_tensor, own_copies
from .dispatch import Choices
from .formats import Packed
from .owners import own
from .parametrized import hold_computed, kept_by, under
from .quantization import NotQuantised
from .scripted import script_as

UNHELD: tuple[Any, Any] = (None, None)  # no parameter, and nothing known of it
StandIns = list[tuple[nn.Module, str, Tensor]]


def packed_key(key: Any, dtype: torch.dtype) -> Any:
    """What a weight is kept under whose values are packed as `dtype`."""
    return key if dtype is torch.float32 else (key, dtype)


class PrunedState:
    """What a pruned layer keeps beside its parameters. Masks and decisions are copied and pickled, the rest made again."""

    def __init__(self, masks: dict[str, Mask]) -> None:
        self.masks = masks
        self.under: dict[str, tuple[Any, Held]] = {}  # the parameters that are under masks, and what is known of them
        self.spread: set[str] = set()  # parameters that were a DTensor: fully_shard has whole ones stand in for them in calls
        self.packed: dict[Any, Packed] = {}
        self.choices = Choices()
        self.fallbacks: dict[str, int] = {}  # reason -> calls

    @property
    def fitting(self) -> tuple[str, ...]:
        """Formats that store exactly what every mask keeps, of those that such a layer takes."""
        return ("csr",)

    @property
    def density(self) -> float:
        """Share of the weights under masks that stay."""
        size = sum(mask.size for mask in self.masks.values())
        return sum(mask.kept for mask in self.masks.values()) / size if size else 1.0

    def __getstate__(self) -> dict[str, Any]:
        masks = {name: (mask.bits, mask.shape) for name, mask in self.masks.items()}
        return {"masks": masks, "decisions": self.choices.buckets}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__({name: Mask(*parts) for name, parts in state["masks"].items()})  # type: ignore[misc]
        self.choices.buckets.update(state["decisions"])

    def with_mask(self, name: str, mask: Mask) -> "PrunedState":
        """The state of a layer that has `mask` on its parameter `name`, and its other masks: nothing is decided yet."""
        state = type(self)({**self.masks, name: mask})
        state.under.update(self.under)
        state.spread.update(self.spread)
        return state

    def pack(
        self,
        name: str,
        key: Any = None,
        view: Callable[[Tensor], Tensor] | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Packed:
        """The parameter `name` as native kernels read it, packed again when its values changed.

        Args:
            key: what it is kept under, its name by default.
            view: the matrix that is packed, made of the whole parameter.
            dtype: what its values are rounded to.
        """
        where = key or name if dtype is torch.float32 else packed_key(key or name, dtype)
        own, held = self.under[name]
        packed = self.packed.get(where)
        if packed is None or packed.epoch != held.epoch:
            packed = self.packed[where] = Packed(own, held, view, dtype)
        return packed

    def fall_back(self, reason: str) -> None:
        """Count a call that ran dense, for the report."""
        self.fallbacks[reason] = self.fallbacks.get(reason, 0) + 1


class Pruned(NotQuantised, nn.Module):
    """Mixin of a pruned layer, put before the class it had, `plain`."""

    plain: ClassVar[type[nn.Module]]
    State: ClassVar[type[PrunedState]] = PrunedState
    __jit_unused_properties__: Any = ("masks", "qconfig")
    __jit_ignored_attributes__ = ("_sparse", "plain", "State")
    _sparse: PrunedState

    @property
    def masks(self) -> dict[str, Mask]:
        """Which weights stay, by parameter."""
        return self._sparse.masks

    def _masked(self, name: str) -> Any:
        """The weight `name` with zeros in place, for dense arithmetic: the parameter, or a tensor to stand in for it."""
        weight: Any = self._parameters.get(name)
        state = self._sparse
        mask = state.masks[name]
        if weight is None:  # a parametrization came after pruning: what it yields is masked
            return under(getattr(self, name), kept_by(mask))
        if torch.compiler.is_compiling():
            return weight
        own, held = state.under.get(name, UNHELD)
        if weight is not own:
            if tuple(weight.shape) != mask.shape:
                raise ValueError(
                    f"{name} has shape {tuple(weight.shape)}, its mask {mask.shape}: call engine.remove_masks before "
                    f"putting a weight of another shape here"
                )
            # torch.func.functional_call passes a tensor of its own, fully_shard one during calls: not ours to write to.
            return under(weight, mask_tensor(mask))
        if (
            held.version != weight._version
            or (weight.requires_grad and not held.hooked)
            or (self.training and not weight.is_cpu)
        ):
            held.settle(weight)
        return weight

    def _serves(self, kind: str, arguments: tuple[Any, ...], weights: Sequence[Tensor]) -> bool:
        """Whether this layer computes what the operator of torch `kind` is called for with `arguments` beside tensors."""
        return False

    def _stand_ins(self) -> StandIns:
        """Zeros where the masks are False, whatever wrote to the weights, for a forward that reads the parameters itself.

        Returns:
            Of weights that are not the layer's own (those of functional_call, or of fully_shard for the time of a call), which
            are not ours to write to, a masked tensor to stand in for each: run the forward with `on_stand_ins`.
        """
        found: StandIns = []
        for name, mask in self._sparse.masks.items():
            if name not in self._parameters:
                hold_computed(self, name, mask)
            elif (weight := self._parameters[name]) is not None and (masked := self._masked(name)) is not weight:
                found.append((self, name, masked))
        return found

    def _clean(self, *names: str) -> None:
        """Take the parameters called `names`, all that have masks by default, as the layer has them now, under their masks."""
        state = self._sparse
        state.packed.clear()
        for name in names or tuple(state.masks):
            weight: Any = self._parameters.get(name)
            state.under.pop(name, None)
            if weight is None or weight.device.type == "meta" or tuple(weight.shape) != state.masks[name].shape:
                continue
            if is_spread(weight):
                state.spread.add(name)
            elif name in state.spread:
                continue
            if weight.is_inference():
                # No version counts what is written to such a tensor.
                with torch.inference_mode(False):
                    weight = nn.Parameter(weight.clone(), weight.requires_grad)
                setattr(self, name, weight)  # and it comes here again
            else:
                state.under[name] = (weight, hold(weight, state.masks[name]))
                own(weight, self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up the masks again after a copy or a load (deepcopy and pickle come here)."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._clean()

    def register_parameter(self, name: str, param: Any) -> None:
        """As torch's; a new weight comes under its mask."""
        super().register_parameter(name, param)
        if "_sparse" in self.__dict__ and name in self._sparse.masks:
            self._clean(name)

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        result = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._clean()
        return result

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, *args: Any) -> None:
        given = own_copies(state_dict, [f"{prefix}{name}" for name in self.masks], local_metadata)
        super()._load_from_state_dict(given, prefix, local_metadata, *args)
        self._clean()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name in self.masks:
            weight = self._parameters.get(name)
            if weight is not None and is_spread(weight) and self._sparse.under.get(name, (None,))[0] is not weight:
                self._clean(name)  # of fully_shard since
            elif weight is not None:
                self._masked(name)
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def extra_repr(self) -> str:
        """The plain layer's, with the share of weights that stay."""
        own = super().extra_repr()
        return f"{own}{', ' * bool(own)}density={self._sparse.density:.4g}"


class PrunedWeight(Pruned):
    """Mixin of a pruned layer with one weight, called `weight`."""

    __jit_unused_properties__ = ("mask", "masks", "qconfig")

    @property
    def mask(self) -> Mask:
        """Which weights stay."""
        return self._sparse.masks["weight"]

    def _dense(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Torch's arithmetic with `weight` and `bias` in place of the layer's own."""
        raise AssertionError("every layer with one weight defines this")

    def forward(self, input: Tensor) -> Tensor:
        """The layer's result, dense on the masked weight."""
        return self._dense(input, self._masked("weight"), self._bias())

    def _bias(self) -> Tensor | None:
        """The bias: the parameter, or what a parametrization makes of it."""
        try:
            return self._parameters["bias"]
        except KeyError:
            return self.bias  # type: ignore[return-value]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "plain" in cls.__dict__:
            script_as(cls, cls.plain.forward)


def on_stand_ins(stand_ins: StandIns, call: Callable[[], Any]) -> Any:
    """What `call` gives while masked tensors stand in for the weights of `Pruned._stand_ins`."""
    before = [module._parameters[name] for module, name, _ in stand_ins]
    try:
        for module, name, tensor in stand_ins:
            module._parameters[name] = tensor  # type: ignore[assignment]
        return call()
    finally:
        for (module, name, _), parameter in zip(stand_ins, before, strict=True):
            module._parameters[name] = parameter


def masks_on(module: nn.Module) -> dict[str, Mask]:
    """The masks that parameters of `module` are under, by name."""
    return dict(module.masks) if isinstance(module, Pruned) else {}


def become(layer: nn.Module, pruned: type[nn.Module]) -> None:
    """Give `layer` the class of a pruned one."""
    # torch.fx takes a layer for a leaf of the graph by the module that its class comes from.
    layer.__dict__["__module__"] = type(layer).__module__
    layer.__class__ = pruned

"""What a layer becomes when it is pruned: a class that takes the place of its own, and is a subclass of it.

Classes of torch have one written out. For a subclass that leaves the arithmetic to torch's one is made of both; any other class
keeps its forward (`OwnForward`). Made classes are not found by name: pickle and copy make them again from the two they are of.
"""

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ..masking.hooks import release
from ..masking.mask import Mask
from .base import Pruned, become
from .own_forward import OwnForward
from .owners import disown
from .parametrized import release_computed

# Classes of torch and their pruned ones; filled where these are written.
KINDS: dict[type[nn.Module], type[Any]] = {}
ARITHMETIC = ("forward", "_conv_forward", "__call__")  # a subclass with one of its own computes something of its own

Class = TypeVar("Class", bound=type[nn.Module])


class Registered(NamedTuple):
    """What was said of a class: names of its weights, and whether they are stored with inputs first."""

    weights: tuple[str, ...]
    transposed: bool | None


_registered: dict[type[nn.Module], Registered] = {}


def register(cls: Class, *, weight: str | Sequence[str] = "weight", transposed: bool | None = None) -> Class:
    """Say that modules of a class of your own hold weights that are pruned like those of a linear layer or a convolution.

    They keep their forward. Where it multiplies by a weight as it is (`F.linear`, `@`, `addmm`, `conv1d`, `conv2d`), native
    kernels do so in inference where they measure faster; elsewhere the weight is masked and the forward runs dense. Can be used
    as a decorator.

    Args:
        cls: a subclass of `torch.nn.Module`; its own subclasses are meant as well.
        weight: name or names of its parameters, each (out, in, ...), or (experts, out, in) to be ranked one expert at a time.
        transposed: True where they are (in, out). By default a weight called "weight" is tried on zeros to see, others are not
            transposed.
    Returns:
        `cls`.
    Raises:
        TypeError: `cls` is not such a class, or a name is no string.
    """
    if not (isinstance(cls, type) and issubclass(cls, nn.Module)):
        raise TypeError(f"cls must be a subclass of torch.nn.Module, not {cls!r}")
    names = (weight,) if isinstance(weight, str) else tuple(weight)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"weight = {weight!r} must be the name of a parameter or a sequence of names")
    _registered[cls] = Registered(names, transposed)
    return cls


def registered(module: nn.Module) -> Registered | None:
    """What was said of the class of `module`, or of the nearest class it derives from."""
    return next((_registered[cls] for cls in type(module).__mro__ if cls in _registered), None)


def plain_class(module: Any) -> type[nn.Module]:
    """The class of `module`, or the one it had before it was pruned."""
    plain: type[nn.Module] = module.plain if isinstance(module, Pruned) else type(module)
    return plain


def pruned_class(module: nn.Module) -> type[Any]:
    """The class that `module` takes when it is pruned, or has taken."""
    if isinstance(module, Pruned):
        return type(module)
    plain = type(module)
    kind = known_kind(module)
    if kind is None:
        return made(OwnForward, plain)
    return kind if kind.plain is plain else made(kind, plain)


def known_kind(module: nn.Module) -> type[Any] | None:
    """The pruned class of torch's class whose arithmetic `module` has, or None where that is its own."""
    if getattr(module, "proj_size", 0):  # a recurrent layer with projections
        return None
    plain = plain_class(module)
    for known, kind in KINDS.items():
        if issubclass(plain, known) and all(getattr(plain, m, None) is getattr(known, m, None) for m in ARITHMETIC):
            return kind
    return None


_made: dict[tuple[type[Any], type[nn.Module]], type[Any]] = {}


def made(kind: type[Any], plain: type[nn.Module]) -> type[Any]:
    """The subclass of both, the same one each time."""
    found = _made.get((kind, plain))
    if found is None:
        found = _made[kind, plain] = _make(kind, plain)
    return found


def _make(kind: type[Any], plain: type[nn.Module]) -> type[Any]:
    def reduced(self: Any, protocol: Any) -> Any:
        parts = super(cls, self).__reduce_ex__(max(2, protocol))
        if type(self) is not cls or not isinstance(parts, tuple):
            return parts
        return (_blank, (kind, plain), *parts[2:])

    @wraps(plain.forward)
    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return kind.forward(self, *args, **kwargs)

    prefix = "Sparse" if kind.__name__.startswith("Sparse") else "Masked"
    names = {"plain": plain, "__reduce_ex__": reduced, "__module__": plain.__module__, "__doc__": kind.__doc__}
    if kind is OwnForward:
        names["forward"] = forward  # with the signature that callers may look at
    cls: type[Any] = type(f"{prefix}{plain.__name__}", (kind, plain), names)
    return cls


def attach(layer: nn.Module, parameter: str, mask: Mask) -> None:
    """Put one parameter of `layer` under `mask`; its class becomes the pruned one. Others keep the masks they have."""
    if not isinstance(layer, Pruned):
        kind = pruned_class(layer)
        become(layer, kind)
        layer._sparse = kind.State({parameter: mask})
    else:
        layer._sparse = layer._sparse.with_mask(parameter, mask)
    assert isinstance(layer, Pruned)
    layer._clean(parameter)


def stand_in(layer: nn.Module, parameters: Mapping[str, Tensor], kept: Mapping[str, Tensor | None]) -> nn.Module:
    """`layer` in eval mode on tensors of somebody else's, those in `kept` under masks: these, or what is not zero now."""
    layer._parameters.update(parameters)  # type: ignore[arg-type]
    for name, flags in kept.items():
        flags = parameters[name] != 0 if flags is None else flags
        attach(layer, name, Mask.from_numpy(flags.contiguous().numpy()))
    return layer.eval()


def detach(layer: nn.Module) -> None:
    """Give a pruned layer the class it had; the zeros stay. Any other is left as it is."""
    if not isinstance(layer, Pruned):
        return
    for weight, _ in layer._sparse.under.values():
        release(weight)
        disown(weight)
    for name in layer.masks:
        if layer._parameters.get(name) is None:
            release_computed(layer, name)
    plain = unpruned_class(layer)
    del layer._sparse
    layer.__dict__.pop("__module__", None)
    setattr(layer, "__class__", plain)  # noqa: B010 - mypy takes it for the class of all


def unpruned_class(layer: Any) -> type[nn.Module]:
    """The class that a pruned layer gets back, between those that others put around it since."""
    wrapped = type(layer).__bases__
    if wrapped[0].__module__.startswith("torch.distributed.") and len(wrapped) == 2:
        # fully_shard put a class of its own before the pruned one: the same one of the plain class.
        return type(f"FSDP{layer.plain.__name__}", (wrapped[0], layer.plain), _own_names(layer))
    if not is_parametrized(layer):
        return plain_class(layer)
    # Torch made a subclass that computes the parametrized tensors: the same one of the plain class.
    return type(f"Parametrized{layer.plain.__name__}", (layer.plain,), _own_names(layer))


def _own_names(layer: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(type(layer)).items() if name not in ("__dict__", "__weakref__")}


def _blank(kind: type[Any], plain: type[nn.Module]) -> Any:
    cls = made(kind, plain)
    return cls.__new__(cls)  # type: ignore[call-overload]

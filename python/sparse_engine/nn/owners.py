"""Which layer multiplies by a weight: an operator of torch is given tensors alone, and asks here what was packed of them.

Weights are known by what they are, not by a key, which would mean nothing in the process that loads an exported program. Where
no pruned layer multiplies by a weight in this way (one of such a program, a part of an attention's), one is made to stand in.
"""

import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..masking.hooks import held_by
from .fallback import native_enabled
from .formats import DENSE

Make = Callable[..., nn.Module]


class Seen:
    """What is known of a weight while it lives.

    Attributes:
        reference: the weight, held weakly.
        owner: the pruned layer whose weight it is, held weakly.
        stand_ins: by what is computed with it, a layer that does so, and the state of the weights it was made of.
        stamp: the state of the weights at the last call that no layer served.
    """

    __slots__ = ("owner", "reference", "stamp", "stand_ins")

    def __init__(self, weight: Tensor) -> None:
        key, known = id(weight), _seen  # which the module forgets before weights do, at the end of a process

        def forget(gone: Any) -> None:
            if (seen := known.get(key)) is not None and seen.reference is gone:
                del known[key]

        self.reference = weakref.ref(weight, forget)
        self.owner: weakref.ref[nn.Module] | None = None
        self.stand_ins: dict[Hashable, tuple[Any, nn.Module]] = {}
        self.stamp: Any = None


_seen: dict[int, Seen] = {}


def own(weight: Tensor, layer: nn.Module) -> None:
    """Note that `weight` is one of `layer`'s, in place of what was noted before."""
    seen = _seen[id(weight)] = Seen(weight)
    seen.owner = weakref.ref(layer)


def disown(weight: Tensor) -> None:
    """Undo `own`."""
    _seen.pop(id(weight), None)


def matrix_of(weight: Tensor, kind: str, arguments: tuple[Any, ...], x: Tensor) -> Any:
    """The short way, where all is known: the owner of `weight` has decided for inputs of the shape of `x`, and packed.

    Python calls cost more inside compiled graphs, where Dynamo looks at each.

    Returns:
        The matrix to multiply by, DENSE, or None where `layer_of` is to be asked.
    """
    seen = _seen.get(id(weight))
    if seen is None or seen.owner is None or seen.reference() is not weight:
        return None
    layer: Any = seen.owner()
    if layer is None or not layer._serves(kind, arguments, (weight,)):
        return None
    if weight.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
        return None  # values to convert: the layer does that
    state, held = layer._sparse, weight.__dict__.get("_held")
    choice = state.choices.exact.get((x.shape, torch.get_num_threads(), torch.float32))
    if choice is None or choice.left < 1 or held is None or held.version != weight._version or not native_enabled():
        return None
    choice.left -= 1
    if choice.kernel == DENSE:
        return DENSE
    packed = state.packed.get("weight")
    return packed.matrices.get(choice.kernel) if packed is not None and packed.epoch == held.epoch else None


def layer_of(weights: Sequence[Tensor], kind: str, arguments: tuple[Any, ...], make: Make) -> Any:
    """The layer that computes what an operator is called for, or None where torch's dense arithmetic is to.

    Args:
        weights: all that are multiplied by; the first one stands for them.
        kind: the operator.
        arguments: what it is called with beside tensors.
        make: weights, their masks (None where they have none) and `arguments` -> a layer to stand in.
    """
    for weight in weights:
        seen = _seen.get(id(weight))
        if seen is None or seen.owner is None or seen.reference() is not weight:
            continue
        owner: Any = seen.owner()
        if owner is not None and owner._serves(kind, arguments, weights):
            for own_weight in weights:
                _settle(own_weight)
            return owner
    first = weights[0]
    seen = _seen.get(id(first))
    if seen is None or seen.reference() is not first:
        seen = _seen[id(first)] = Seen(first)
    if any(weight.is_inference() for weight in weights):
        return None  # no version counts what is written to them
    stamp = [_stamp(weight) for weight in weights]
    key = (kind, arguments)
    found = seen.stand_ins.get(key)
    if found is not None and found[0] == stamp:
        return found[1]
    held = [held_by(weight) for weight in weights]
    if not any(held) and seen.stamp != stamp:
        # Packed when it is seen again: weights that change from call to call, as functional_call's do, are not worth it.
        seen.stamp = stamp
        return None
    with torch.inference_mode(False), torch.no_grad():
        own_memory = [Tensor.detach(weight) for weight in weights]
        layer: Any = make(own_memory, [known and known.mask for known in held], *arguments)
    for weight, known in zip(weights, held, strict=True):
        if known is not None:
            known.remember_values(weight)
    if found is not None:
        layer._sparse.choices.buckets.update(found[1]._sparse.choices.buckets)  # type: ignore[union-attr]
    seen.stand_ins[key] = (stamp, layer)
    return layer


def _settle(weight: Tensor) -> Any:
    """See to it that zeros are where the mask of `weight` is False; what is known of it, or None where it has none."""
    held = held_by(weight)
    if held is not None and held.version != weight._version:
        held.settle(weight)
    return held


def _stamp(weight: Tensor) -> tuple[Any, ...]:
    """What tells whether the values of `weight` are those of before."""
    held = _settle(weight)
    return (held, weight._version if held is None else held.epoch, weight.data_ptr())

"""Prune targets, scored and ranked as one weight each: that of a layer, outputs first, or entries of one or several parameters.

Everything that selects weights (criteria, granularities, budgets) sees the shape (out, in / groups, kernel...). Most layers
store their weight so; a transposed convolution stores its inputs first and is turned; a `PartialTarget` is cut out of
parameters or put together from them: a gate of an LSTM, the heads of an attention layer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..masking.mask import Mask
from ..nn.base import masks_on
from ..nn.convert import plain_class, registered
from ..nn.products import product_of

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)  # layers with one weight that can be pruned

# A module, one of its parameters, an index into it, and which of the entries there stay.
MaskUpdate = tuple[nn.Module, str, Any, NDArray[np.bool_]]


class PartialTarget:
    """Some entries of one or several parameters, ranked like the weight of a layer."""

    owners: list[tuple[nn.Module, str]]  # module and name of each parameter

    def parameters(self) -> list[Tensor]:
        """The whole parameters."""
        return [module._parameters[name] for module, name in self.owners]  # type: ignore[misc]

    def view(self, whole: Sequence[Tensor]) -> Tensor:
        """The target's entries of tensors shaped as the parameters are."""
        raise AssertionError("every partial target defines this")

    def mask_updates(self, kept: NDArray[np.bool_]) -> list[MaskUpdate]:
        """What a mask of this target says of each parameter, in the order of `parameters`."""
        raise AssertionError("every partial target defines this")

    @property
    def weight(self) -> Tensor:
        """The entries as they are now."""
        return self.view(self.parameters())


class Slice(PartialTarget):
    """Some rows of one parameter, or one of the matrices in it.

    Args:
        index: of the rows, a slice; of a matrix, a number; `...` for the whole.
        transposed: what is cut out is (in, out).
    """

    def __init__(self, module: nn.Module, parameter: str, index: Any = ..., transposed: bool = False) -> None:
        self.owners = [(module, parameter)]
        self.index, self.transposed = index, transposed

    def view(self, whole: Sequence[Tensor]) -> Tensor:
        """(out, in, ...)."""
        cut = whole[0][self.index]
        return cut.transpose(0, 1) if self.transposed else cut

    def mask_updates(self, kept: NDArray[np.bool_]) -> list[MaskUpdate]:
        """The rows or the matrix."""
        return [(*self.owners[0], self.index, kept.swapaxes(0, 1) if self.transposed else kept)]


class Gate(PartialTarget):
    """The rows of one gate in one weight of a recurrent layer; scored and ranked like a layer."""

    def __init__(self, layer: Any, parameter: str, index: int) -> None:
        self.owners = [(layer, parameter)]
        self.rows = slice(index * layer.hidden_size, (index + 1) * layer.hidden_size)

    def view(self, whole: Sequence[Tensor]) -> Tensor:
        """The rows of this gate."""
        return whole[0][self.rows]

    def mask_updates(self, kept: NDArray[np.bool_]) -> list[MaskUpdate]:
        """The rows of this gate."""
        return [(*self.owners[0], self.rows, kept)]


def is_turned(layer: Any) -> bool:
    """Whether `layer` is a linear one in all but its class that stores its weight (in, out)."""
    if isinstance(layer, WEIGHTED) or not isinstance(layer, nn.Module):
        return False
    said = registered(layer)
    if said is not None and said.transposed is not None:
        return said.transposed
    product = product_of(layer, plain_class(layer))
    return product is not None and product.factor.transposed


def is_linear(layer: Any) -> bool:
    """Whether `layer` computes what a linear layer does, as far as its inputs meet its weight."""
    if isinstance(layer, nn.Linear):
        return True
    if isinstance(layer, WEIGHTED) or not isinstance(layer, nn.Module):
        return False
    product = product_of(layer, plain_class(layer))
    return product is not None and product.convolution is None


def parameters_of(layer: Any) -> list[Tensor]:
    """The parameters in which a prune target's weights lie."""
    return layer.parameters() if isinstance(layer, PartialTarget) else [layer.weight]


def view_of(layer: Any, whole: Sequence[Tensor]) -> Tensor:
    """Tensors shaped as `parameters_of(layer)` are, as the target is ranked."""
    return layer.view(whole) if isinstance(layer, PartialTarget) else outputs_first(layer, whole[0])


def weight_of(layer: Any) -> Tensor:
    """The weight as it is ranked, (out, in / groups, kernel...)."""
    return view_of(layer, parameters_of(layer))


def outputs_first(layer: Any, weight: Tensor) -> Tensor:
    """A tensor shaped as the weight of `layer`, as (out, in / groups, kernel...)."""
    if isinstance(layer, TRANSPOSED):
        return _swapped(weight, layer.groups)
    return weight.transpose(0, 1) if is_turned(layer) else weight


def as_stored(layer: Any, ranked: Tensor) -> Tensor:
    """The inverse of `outputs_first`."""
    if isinstance(layer, TRANSPOSED):
        return _swapped(ranked, layer.groups)
    return ranked.transpose(0, 1) if is_turned(layer) else ranked


def _swapped(weight: Tensor, groups: int) -> Tensor:
    # (groups · a, b, ...) to (groups · b, a, ...)
    grouped = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    return grouped.reshape(-1, *grouped.shape[2:])


def mask_updates(layer: Any, mask: Mask) -> list[MaskUpdate]:
    """What a mask of the ranked weight says of the parameters."""
    kept = mask.to_numpy()
    if isinstance(layer, PartialTarget):
        return layer.mask_updates(kept)
    return [(layer, "weight", ..., as_stored(layer, torch.from_numpy(kept)).numpy())]


def held_count(layer: Any) -> int:
    """How many of the ranked weights earlier pruning left."""
    held = held_mask(layer)
    return weight_of(layer).numel() if held is None else int(held.sum())


def owners_of(layer: Any) -> list[tuple[nn.Module, str]]:
    """Module and name of each of `parameters_of(layer)`."""
    return layer.owners if isinstance(layer, PartialTarget) else [(layer, "weight")]


def held_mask(layer: Any) -> Tensor | None:
    """Which of the ranked weights earlier pruning left, or None where it took none."""
    found = [masks_on(module).get(name) for module, name in owners_of(layer)]
    if all(mask is None for mask in found):
        return None
    flags = [
        torch.ones(whole.shape, dtype=torch.bool) if mask is None else torch.from_numpy(mask.to_numpy())
        for mask, whole in zip(found, parameters_of(layer), strict=True)
    ]
    return view_of(layer, flags)

"""Optimizers made before channels went: what they keep of a parameter is cut as the parameter was, before their next step."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.weak import WeakTensorKeyDictionary

Left = dict[int, NDArray[np.int64]]  # dimension -> indices that stay
_CUTS: Any = WeakTensorKeyDictionary()  # parameter -> for each time it shrank: its shape before, and what stayed
_registered: list[Any] = []


def remember(parameter: Tensor, left: Mapping[int, NDArray[np.int64]]) -> Callable[[], None]:
    """Note that only `left` of `parameter`, still of its old shape, stays; returns what forgets it again.

    Momenta and the like are found by their shape: that of the parameter before it shrank, or 1 along some dimensions (factored
    second moments). An optimizer made later keeps none of that shape, so that nothing is cut twice.
    """
    if not _registered:
        _registered.append(register_optimizer_step_pre_hook(_follow))
    before = _CUTS.get(parameter, ())
    _CUTS[parameter] = (*before, (tuple(parameter.shape), dict(left)))

    def forget() -> None:
        if before:
            _CUTS[parameter] = before
        else:
            del _CUTS[parameter]

    return forget


def _follow(optimizer: Any, args: Any, kwargs: Any) -> None:
    """Before a step of any optimizer."""
    if not len(_CUTS):
        return
    for parameter, state in optimizer.state.items():
        cuts = _CUTS.get(parameter, ()) if isinstance(parameter, Tensor) else ()
        for shape, left in cuts:
            state.update({key: _cut(value, shape, left) for key, value in state.items() if isinstance(value, Tensor)})


def _cut(value: Tensor, shape: tuple[int, ...], left: Left) -> Tensor:
    if value.dim() != len(shape) or any(side not in (1, whole) for side, whole in zip(value.shape, shape, strict=True)):
        return value
    for dim, stays in left.items():
        if value.shape[dim] == shape[dim]:
            value = value.index_select(dim, torch.from_numpy(stays).to(value.device))
    return value

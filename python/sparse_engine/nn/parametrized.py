"""Weights that something computes since the layer was pruned: weight_norm, LoRA by parametrization, torch's own pruning.

What is computed is put under the mask in its turn, so that the layer stays as sparse as it was.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..masking.mask import Mask
from ..masking.zeros import alike, mask_tensor


class Masked(nn.Module):
    """The last of a weight's parametrizations: zeros where `kept` is False."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.register_buffer("kept", kept, persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight."""
        return under(weight, self.get_buffer("kept"))


def under(weight: Tensor, kept: Tensor) -> Tensor:
    """A new tensor, zero where `kept` is False."""
    return torch.where(alike(kept, weight), weight, weight.new_zeros(()))


def kept_by(mask: Mask) -> Tensor:
    """The mask as a tensor, a constant of graphs that torch traces: Dynamo calls this, and does not look inside."""
    return mask_tensor(mask)


kept_by._dynamo_marked_constant = True  # type: ignore[attr-defined]  # torch.compiler.assume_constant_result, which imports Dynamo


def hold_computed(module: nn.Module, name: str, mask: Mask) -> None:
    """See to it that `module` reads a masked tensor when it reads its computed weight `name`."""
    if parametrize.is_parametrized(module, name):
        steps: Any = module.parametrizations[name]  # type: ignore[index]
        last = steps[-1]
        if not (isinstance(last, Masked) and torch.equal(last.get_buffer("kept").cpu(), mask_tensor(mask))):
            release_computed(module, name)
            parametrize.register_parametrization(module, name, Masked(mask_tensor(mask)), unsafe=True)
    else:  # a hook before the forward has just set it
        setattr(module, name, under(getattr(module, name), mask_tensor(mask)))


def release_computed(module: nn.Module, name: str) -> None:
    """Undo `hold_computed`."""
    if parametrize.is_parametrized(module, name):
        steps: Any = module.parametrizations[name]  # type: ignore[index]
        for index in reversed(range(len(steps))):
            if isinstance(steps[index], Masked):
                del steps[index]

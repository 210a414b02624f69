"""What a weight is worth. To add a criterion: one decorated function; nothing else changes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Criterion = Callable[["torch.nn.Module"], "torch.Tensor"]

CRITERIA: dict[str, Criterion] = {}


def criterion(name: str) -> Callable[[Criterion], Criterion]:
    """Register a function from a layer to scores of its weight's shape. The magnitude of a score counts, not its sign."""

    def register(function: Criterion) -> Criterion:
        CRITERIA[name] = function
        return function

    return register


@criterion("l1")
def l1(layer: "torch.nn.Module") -> "torch.Tensor":
    """The magnitude of the weight itself: |w|.

    Source: Han et al., NeurIPS 2015.
    """
    weight: torch.Tensor = layer.weight  # type: ignore[assignment]
    return weight

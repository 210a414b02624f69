"""How sparse a model has to be for a call to take so long: measured on this machine, by halving."""

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .evidence import evaluating

HIGHEST = 0.99  # sparsity beyond which nothing is tried
STEPS = 9
CLOSE = 0.97  # of the budget: near enough to stop
WARM_UP_CALLS, CALLS = 3, 21


def sparsity_for(
    model: nn.Module, budget_ms: float, example_inputs: Any, prune_to: Callable[[nn.Module, float], nn.Module]
) -> float:
    """The lowest sparsity found at which a call of `model` takes at most `budget_ms`; the model itself is not touched.

    Args:
        prune_to: prunes a copy to a sparsity.
    Raises:
        ValueError: not even the highest sparsity is fast enough.
    """
    if milliseconds(model, example_inputs) <= budget_ms:
        return 0.0
    fastest = milliseconds(prune_to(copy.deepcopy(model), HIGHEST), example_inputs)
    if fastest > budget_ms:
        raise ValueError(
            f"latency_ms = {budget_ms:g} cannot be met: at a sparsity of {HIGHEST:.0%} a call takes {fastest:.3f} ms"
        )
    low, high = 0.0, HIGHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        taken = milliseconds(prune_to(copy.deepcopy(model), middle), example_inputs)
        if taken > budget_ms:
            low = middle
            continue
        high = middle
        if taken >= CLOSE * budget_ms:
            break
    return high


def milliseconds(model: nn.Module, example_inputs: Any) -> float:
    """Median time of a call in eval mode, after some that settle which kernels run."""
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    taken = []
    with evaluating(model), torch.inference_mode():
        for _ in range(WARM_UP_CALLS + CALLS):
            start = time.perf_counter()
            model(*inputs)
            taken.append(time.perf_counter() - start)
    return 1e3 * statistics.median(taken[WARM_UP_CALLS:])

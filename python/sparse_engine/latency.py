"""How sparse a model has to be for a call to take so long: measured on this machine, by halving."""

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
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

    A machine is not equally fast from one second to the next, and a search takes many: so every copy that is tried takes turns
    with the model as it is, and what it takes is its share of that, times the median of all calls of the latter.

    Args:
        prune_to: prunes a copy to a sparsity.
    Raises:
        ValueError: not even the highest sparsity is fast enough.
    """
    whole = [milliseconds(model, example_inputs)]
    if whole[0] <= budget_ms:
        return 0.0

    def taken(sparsity: float) -> float:
        pruned = prune_to(copy.deepcopy(model), sparsity)
        before, now = alternating([model, pruned], example_inputs)
        whole.append(before)
        return now / before * statistics.median(whole)

    fastest = taken(HIGHEST)
    if fastest > budget_ms:
        raise ValueError(
            f"latency_ms = {budget_ms:g} cannot be met: at a sparsity of {HIGHEST:.0%} a call takes {fastest:.3f} ms"
        )
    low, high = 0.0, HIGHEST
    for _ in range(STEPS):
        middle = (low + high) / 2
        now = taken(middle)
        if now > budget_ms:
            low = middle
            continue
        high = middle
        if now >= CLOSE * budget_ms:
            break
    return high


def milliseconds(model: nn.Module, example_inputs: Any) -> float:
    """Median time of a call in eval mode, after some that settle which kernels run."""
    return alternating([model], example_inputs)[0]


def alternating(models: Sequence[nn.Module], example_inputs: Any, calls: int = CALLS) -> list[float]:
    """The same of several models that take turns, so that whatever else the machine does falls on all of them alike."""
    inputs = example_inputs if isinstance(example_inputs, tuple) else (example_inputs,)
    taken: list[list[float]] = [[] for _ in models]
    with ExitStack() as stack, torch.inference_mode():
        for model in models:
            stack.enter_context(evaluating(model))
        for _ in range(WARM_UP_CALLS + calls):
            for model, times in zip(models, taken, strict=True):
                start = time.perf_counter()
                model(*inputs)
                times.append(time.perf_counter() - start)
    return [1e3 * statistics.median(times[WARM_UP_CALLS:]) for times in taken]

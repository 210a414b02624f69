"""How much of a model has to go for a call to take so long: measured on this machine."""

import copy
import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from torch import nn

from .eval_mode import eval_mode
from .search import bisected
from .timing import time_alternating

HIGHEST_SPARSITY = 0.99  # beyond which nothing is tried
HALVINGS, REFINEMENTS = 3, 9
AIM = 0.985  # of the budget: a model that has been measured anew is within it more often than not
CALLS, MOST_CALLS, SECONDS = 20, 500, 0.5  # of one model in a measurement; fast models are called more often, for so long


def share_within(
    model: nn.Module,
    budget_ms: float,
    example_inputs: Any,
    reduce: Callable[[nn.Module, float], nn.Module],
    lowest: float,
    highest: float,
    refusal: str,
) -> float:
    """About the lowest share to remove with which a call of `model` takes at most `budget_ms`; the model stays as it is.

    A machine is not equally fast from one second to the next, and a search takes many: so every copy that is tried takes turns
    with the model as it is, and what it takes is its share of that. No measurement decides alone: halving finds the
    neighbourhood, and the answer is where the falling curve that is nearest to all measurements meets the budget.

    Args:
        reduce: removes a share from a copy, which it may change, and returns it.
        lowest: what goes in any case; `highest`: beyond it nothing is tried.
        refusal: what to say of `highest` when it is not enough, as "at a sparsity of 99%".
    Raises:
        ValueError: not even the highest share is enough.
    """
    whole = [milliseconds(model, example_inputs)]
    ratios = [] if lowest else [(0.0, 1.0)]

    def taken(share: float) -> float:
        before, now = alternating([model, reduce(copy.deepcopy(model), share)], example_inputs)
        whole.append(before)
        ratios.append((share, now / before))
        return now / before * statistics.median(whole)

    if (taken(lowest) if lowest else whole[0]) <= budget_ms:
        return lowest
    if (fastest := taken(highest)) > budget_ms:
        raise ValueError(f"latency_ms = {budget_ms:g} cannot be met: {refusal} a call takes {fastest:.3f} ms")
    bisected(lowest, highest, lambda share: taken(share) <= AIM * budget_ms, HALVINGS)  # what it measures is kept in `ratios`
    for _ in range(REFINEMENTS):
        taken(_meeting(ratios, AIM * budget_ms / statistics.median(whole)))
    return _meeting(ratios, AIM * budget_ms / statistics.median(whole))


def _meeting(points: Sequence[tuple[float, float]], value: float) -> float:
    """Where the nearest never rising curve through (x, y) has `value`: neighbours that rise are drawn together to their mean
    (Ayer, Brunk, Ewing, Reid, Silverman, 1955), and lines run between the means."""
    drawn: list[tuple[int, float, float]] = []  # points, their mean x and y
    for x, y in sorted(points):
        last = (1, x, y)
        while drawn and drawn[-1][2] <= last[2]:
            count, *before = drawn.pop()
            both = count + last[0]
            mean_x, mean_y = ((count * b + last[0] * own) / both for b, own in zip(before, last[1:], strict=True))
            last = (both, mean_x, mean_y)
        drawn.append(last)
    _, xs, ys = zip(*reversed(drawn), strict=True)
    return float(np.interp(value, ys, xs))


def milliseconds(model: nn.Module, example_inputs: Any) -> float:
    """Median time of a call in eval mode, after some that settle which kernels run."""
    return alternating([model], example_inputs)[0]


def alternating(models: Sequence[nn.Module], example_inputs: Any) -> list[float]:
    """Median milliseconds of a call of each of `models`, in eval mode and in turns."""
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(eval_mode(model))
        once = max(time_alternating(models, example_inputs, 1))
        calls = int(min(MOST_CALLS, max(CALLS, SECONDS / max(once, 1e-6))))
        return [1e3 * seconds for seconds in time_alternating(models, example_inputs, calls)]
